"""A document read whole or as it arrives: bounded in size, in time and in what it may unpack to."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.source import Head, Source

RATIO = 100
"""Decoded bytes per encoded byte; more is a bomb."""
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
"""zlib's ``wbits``: gzip only; zlib or gzip, told by the header (RFC 9110 §8.4.1)."""
_NONE = ("", "identity")


async def read_text(source: Source, *, limit: int, patience: float) -> tuple[Head, bytes]:
    """Head and whole body of ``source``, which the caller closes.

    Raises UpstreamError: ``too_large`` beyond ``limit`` bytes, encoded or decoded, ``stall`` after
    ``patience`` seconds, ``not_media`` for an encoding nobody asked for and we cannot undo.
    """
    try:
        async with asyncio.timeout(patience):
            head = await source.open()
            body = b"".join([piece async for piece in pieces_of(source, head, limit=limit)])
    except TimeoutError:
        raise UpstreamError("stall", f"The document did not arrive within {patience:g} s") from None
    return head, body


def is_encoded(head: Head) -> bool:
    """Whether the body has a content coding, though we ask for none."""
    return _coding(head) not in _NONE


def decoded_start(head: Head, prefix: bytes, size: int) -> bytes:
    """What the first bytes of a body decode to, at most ``size`` bytes; nothing where they cannot be."""
    if not is_encoded(head):
        return prefix
    window = _WINDOWS.get(_coding(head))
    if window is None:
        return b""
    try:
        return zlib.decompressobj(window).decompress(prefix, size)
    except zlib.error:
        return b""


def _coding(head: Head) -> str:
    return head.headers.get("Content-Encoding", "").strip().lower()


async def pieces_of(source: Source, head: Head, *, limit: int) -> AsyncGenerator[bytes]:
    """The decoded body of an open source as it arrives, to its end.

    Raises UpstreamError: ``too_large`` beyond ``limit`` bytes, encoded or decoded, ``not_media`` for an
    encoding that we cannot undo, and what ``source.read`` does.
    """
    unpack = _Unpacker(_coding(head), limit)
    while True:
        try:
            piece = await source.read()
        except UpstreamError as error:
            if error.reason != "eof":
                raise
            unpack.finish()
            return
        yield unpack.feed(piece)


class _Unpacker:
    """Counts what comes in and goes out. We ask for ``identity``; some servers compress all the same."""

    def __init__(self, coding: str, limit: int) -> None:
        if coding not in _NONE and coding not in _WINDOWS:
            raise UpstreamError("not_media", "The document comes in an encoding that was not asked for")
        self._zlib = zlib.decompressobj(_WINDOWS[coding]) if coding in _WINDOWS else None
        self._limit = limit
        self._taken = self._given = 0

    def feed(self, piece: bytes) -> bytes:
        """What ``piece`` decodes to."""
        self._taken += len(piece)
        if self._zlib is not None:
            try:
                piece = self._zlib.decompress(piece, self._limit + 1 - self._given)
            except zlib.error:
                raise UpstreamError("not_media", "The document's encoding is broken") from None
            if self._zlib.unconsumed_tail or len(piece) + self._given > RATIO * self._taken:
                raise _too_large(self._limit)
        self._given += len(piece)
        if max(self._given, self._taken) > self._limit:
            raise _too_large(self._limit)
        return piece

    def finish(self) -> None:
        """The body is over; was it whole?"""
        if self._zlib is not None and not self._zlib.eof:
            raise UpstreamError("not_media", "The document's encoding ended before its end")


def _too_large(limit: int) -> UpstreamError:
    return UpstreamError("too_large", f"The document is larger than {limit} bytes")
