"""The programme guide that the lineup names (``url-tvg``): one copy on disk, fetched when it is asked for."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from m3u_proxy.errors import NotFound, UpstreamError
from m3u_proxy.lineup.place import OpenSource, Validators, opened

log = logging.getLogger(__name__)

GUIDE_BYTES = 256 * 2**20
"""Bytes of a guide as it is kept."""
RETRY = 60.0
"""Seconds until one that failed is asked for again."""
NAME = "guide.xmltv"

_GZIP = b"\x1f\x8b"
_NAMED_BY = ("url-tvg", "x-tvg-url")


@dataclass(frozen=True, slots=True)
class Copy:
    """What was fetched."""

    path: Path
    is_gzip: bool
    """Whether the file is a compressed one, as it came."""


def guide_url(attributes: Mapping[str, str]) -> str | None:
    """The first address of a guide that a lineup names; lists are separated by commas."""
    named = (part.strip() for name in _NAMED_BY for part in attributes.get(name, "").split(","))
    return next((url for url in named if url.lower().startswith(("http://", "https://"))), None)


class Guide:
    """``directory`` holds the copy; it is made with it. ``refresh``: seconds for which a copy is good."""

    def __init__(self, directory: Path, open_source: OpenSource, *, refresh: float) -> None:
        self._path = directory / NAME
        self._open_source = open_source
        self._refresh = refresh
        self._url = ""
        self._copy: Copy | None = None
        self._validators = Validators()
        self._due = 0.0
        """Monotonic time at which it is asked for again."""
        self._error: UpstreamError | None = None
        self._busy = asyncio.Lock()

    def known(self, url: str) -> Copy | None:
        """The copy that is there, however old."""
        return self._copy if url == self._url else None

    async def get(self, attributes: Mapping[str, str]) -> Copy:
        """The guide of a lineup; an old copy where there is no new one.

        Raises NotFound if the lineup names none, and UpstreamError while there is no copy.
        """
        url = guide_url(attributes)
        if url is None:
            raise NotFound("The lineup names no guide")
        if self._busy.locked() and (old := self.known(url)) is not None:
            return old  # somebody fetches a newer one, which may take minutes
        async with self._busy:
            if url != self._url:
                self._url, self._copy, self._error, self._due = url, None, None, 0.0
                self._validators = Validators()
            if monotonic() >= self._due:
                await self._renew(url)
            if self._copy is None:
                assert self._error is not None
                raise self._error.again()
            return self._copy

    async def _renew(self, url: str) -> None:
        try:
            source = self._open_source(url, self._validators.fields if self._copy else {})
            async with opened(source, limit=GUIDE_BYTES) as document:
                if document is not None:
                    head, pieces = document
                    self._copy = await self._store(pieces)
                    self._validators = Validators.of(head)
            self._error, self._due = None, monotonic() + self._refresh
        except UpstreamError as error:
            self._failed(error)
        except OSError as error:
            self._failed(UpstreamError("too_large", f"The guide cannot be kept: {error.strerror}"))

    def _failed(self, error: UpstreamError) -> None:
        if self._error is None or self._error.detail != error.detail:
            log.warning("guide of the lineup: %s", error.detail)
        self._error, self._due = error, monotonic() + RETRY

    async def _store(self, pieces: AsyncIterable[bytes]) -> Copy:
        """Under another name first: who reads the old copy goes on with it."""
        new = self._path.with_name(NAME + ".new")
        file = await asyncio.to_thread(_create, new)
        try:
            start = b""
            async for piece in pieces:
                start = start or piece[:2]
                await asyncio.to_thread(file.write, piece)
            await asyncio.to_thread(file.close)
            await asyncio.to_thread(os.replace, new, self._path)
        except BaseException:
            await asyncio.to_thread(_discard, file, new)
            raise
        return Copy(self._path, start.startswith(_GZIP))


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")


def _discard(file: BinaryIO, path: Path) -> None:
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        path.unlink()
