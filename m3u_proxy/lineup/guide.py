"""The guides that the lineup names (``url-tvg``): a copy of each on disk, fetched when it is asked for."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from m3u_proxy.errors import InvalidField, NotFound, Unavailable, UpstreamError
from m3u_proxy.lineup.place import OpenSource, Validators, opened
from m3u_proxy.storage.private import PrivateFile

log = logging.getLogger(__name__)

GUIDES = 8
"""Guides of one lineup."""
GUIDE_BYTES = 256 * 2**20
"""Bytes of a guide as it is kept."""
RETRY = 60.0
"""Seconds until one that failed is asked for again."""
PATIENCE = 20.0
"""Seconds that somebody waits for the first copy; it goes on being fetched."""

_SNIFFED = 256
"""Bytes that show whether it is a guide."""
_PACKED = {b"\x1f\x8b": "application/gzip", b"\xfd7zXZ\0": "application/x-xz"}
_XML = "application/xml"
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_NAMED_BY = ("url-tvg", "x-tvg-url")


@dataclass(frozen=True, slots=True)
class Copy:
    """What was fetched."""

    path: Path
    content_type: str
    """XML, or the form in which it came compressed."""


def guide_urls(attributes: Mapping[str, str]) -> list[str]:
    """The addresses of guides that a lineup names; lists are separated by commas."""
    named = (part.strip() for name in _NAMED_BY for part in attributes.get(name, "").split(","))
    urls = dict.fromkeys(url for url in named if url.lower().startswith(("http://", "https://")))
    return list(urls)[:GUIDES]


class Guides:
    """All of them, by their place in the lineup. ``directory`` holds the copies; it is made with them."""

    def __init__(self, directory: Path, open_source: OpenSource, *, refresh: float) -> None:
        """``refresh``: seconds for which a copy is good."""
        self._guides = [
            Guide(directory / name, open_source, refresh=refresh)
            for name in ("guide.xmltv", *(f"guide_{number}.xmltv" for number in range(2, GUIDES + 1)))
        ]

    def at(self, attributes: Mapping[str, str], number: int) -> tuple[Guide, str]:
        """The guide of a lineup with that number, counted from 1, and its address; raises NotFound."""
        urls = guide_urls(attributes)
        if number > len(urls):
            raise NotFound("The lineup names no such guide" if urls else "The lineup names no guide")
        return self._guides[number - 1], urls[number - 1]

    def recall(self) -> None:
        """Take up the copies of before the restart. Blocks."""
        for guide in self._guides:
            guide.recall()

    async def aclose(self) -> None:
        """Fetch nothing any more."""
        await asyncio.gather(*(guide.aclose() for guide in self._guides))


class Guide:
    """One of them. A task of its own fetches it, so that nobody waits where there is a copy."""

    def __init__(self, path: Path, open_source: OpenSource, *, refresh: float) -> None:
        self._path = path
        self._note = PrivateFile(path.with_suffix(".json"), 1)
        """Of where the copy is, for whoever finds it after a restart."""
        self._open_source = open_source
        self._refresh = refresh
        self._url = ""
        self._copy: Copy | None = None
        self._validators = Validators()
        self._due = 0.0
        """Monotonic time at which it is asked for again."""
        self._error: UpstreamError | None = None
        self._task: asyncio.Task[None] | None = None

    def recall(self) -> None:
        """Take up the copy of before the restart, which is old. Blocks."""
        found = self._note.read()
        url, content_type = found.get("url"), found.get("content_type")
        if isinstance(url, str) and isinstance(content_type, str) and self._path.is_file():
            self._url, self._copy = url, Copy(self._path, content_type)
            self._validators = Validators(str(found.get("etag", "")), str(found.get("modified", "")))

    def _keep(self, url: str, content_type: str) -> None:
        """Note what a restart has to know of the copy. Blocks; raises OSError."""
        named = {"etag": self._validators.etag, "modified": self._validators.modified}
        self._note.write({"url": url, "content_type": content_type, **named})

    @property
    def is_busy(self) -> bool:
        """Whether it is being fetched."""
        return self._task is not None and not self._task.done()

    def known(self, url: str) -> Copy | None:
        """The copy that is there, however old."""
        return self._copy if url == self._url else None

    async def get(self, url: str) -> Copy:
        """The guide at ``url``; an old copy where there is no new one, and while that is fetched.

        Raises UpstreamError while there is no copy, and ``Unavailable`` if it takes long to get one.
        """
        if url != self._url:
            self._url, self._copy, self._error, self._due = url, None, None, 0.0
            self._validators = Validators()
            self._task = asyncio.create_task(self._renew(url, self._task), name="guide")
        elif not self.is_busy and monotonic() >= self._due:
            self._task = asyncio.create_task(self._renew(url), name="guide")
        if self._copy is None and self._task is not None:
            await asyncio.wait([self._task], timeout=PATIENCE)
        copy = self.known(url)
        if copy is not None:
            return copy
        if url == self._url and self._error is not None:
            raise self._error.again()
        raise Unavailable("The guide is still being fetched", reason="guide_pending", retry_after=10.0)

    async def _renew(self, url: str, before: asyncio.Task[None] | None = None) -> None:
        """``before`` fetches what is not wanted any more, into the same file."""
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        try:
            source = self._open_source(url, self._validators.fields if self._copy else {})
            async with opened(source, limit=GUIDE_BYTES) as document:
                if document is not None:
                    head, pieces = document
                    self._copy = await self._store(pieces)
                    self._validators = Validators.of(head)
                    await asyncio.to_thread(self._keep, url, self._copy.content_type)
            self._error, self._due = None, monotonic() + self._refresh
        except UpstreamError as error:
            self._failed(error)
        except InvalidField as error:
            self._failed(UpstreamError("blocked", f"The guide's address is of no use: {error.detail}"))
        except OSError as error:
            self._failed(UpstreamError("too_large", f"The guide cannot be kept: {error.strerror}"))

    def _failed(self, error: UpstreamError) -> None:
        if self._error is None or self._error.detail != error.detail:
            log.warning("guide of the lineup: %s", error.detail)
        self._error, self._due = error, monotonic() + RETRY

    async def _store(self, pieces: AsyncGenerator[bytes]) -> Copy:
        """Under another name first: who reads the old copy goes on with it."""
        start = b""
        async for piece in pieces:
            start += piece
            if len(start) >= _SNIFFED:
                break
        content_type = _type_of(start)
        new = self._path.with_name(self._path.name + ".new")
        creating = asyncio.create_task(asyncio.to_thread(_create, new))
        try:
            file = await asyncio.shield(creating)  # a thread is not cancelled: its file would stay open
            await asyncio.to_thread(file.write, start)
            await _write(file, pieces)
            await asyncio.to_thread(file.close)
            await asyncio.to_thread(os.replace, new, self._path)
        except BaseException:
            await asyncio.to_thread(_discard, await creating, new)
            raise
        return Copy(self._path, content_type)

    async def aclose(self) -> None:
        """Fetch nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


def _type_of(start: bytes) -> str:
    """What a document is that begins so; raises UpstreamError ``not_media`` if it is no guide."""
    for magic, content_type in _PACKED.items():
        if start.startswith(magic):
            return content_type
    if start.startswith((b"\xff\xfe<", b"\xfe\xff\0<")):  # UTF-16
        return _XML
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(_PAGES):
        raise UpstreamError("not_media", "The provider sent a web page instead of a guide")
    if not text.startswith(b"<"):
        raise UpstreamError("not_media", "What the provider sent is no guide (XMLTV)")
    return _XML


async def _write(file: BinaryIO, pieces: AsyncIterable[bytes]) -> None:
    async for piece in pieces:
        await asyncio.to_thread(file.write, piece)


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _discard(file: BinaryIO, path: Path) -> None:
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        path.unlink()
