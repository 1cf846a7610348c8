"""Where a reader of a shared download is, and what it sees of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol, Self


class Cursor:
    """Where a reader is: what lies before ``position`` it has passed, ``lent`` bytes from there it has."""

    def __init__(self, first: int, last: int, body: bytes | None) -> None:
        self.position = first
        self.last = last
        self.lent = 0
        self.body = body
        """The complete body, held by this reader too, so that an eviction does not concern it."""

    def cut(self, data: bytes, start: int) -> bytes | memoryview:
        """What this reader wants of ``data``, which starts at offset ``start``."""
        low, high = self.position - start, min(self.last + 1 - start, len(data))
        if low == 0 and high == len(data):
            return data
        return memoryview(data)[low:high] if low < high else b""


class Shared(Protocol):
    """What a reader asks of a download."""

    async def next_piece(self, cursor: Cursor) -> bytes | memoryview | None:
        """What comes next, waiting for it; ``None`` at the end. Raises the error of a failed download."""

    def detach(self, cursor: Cursor) -> None:
        """This reader has left. Idempotent."""


class Chunks(AsyncIterator[bytes | memoryview]):
    """One reader of a `Download`. A chunk counts as passed when the next one is asked for."""

    def __init__(self, download: Shared, cursor: Cursor) -> None:
        self._download = download
        self._cursor = cursor
        self._loop = asyncio.get_running_loop()
        self._open = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | memoryview:
        piece = None
        try:
            if self._open:
                piece = await self._download.next_piece(self._cursor)
        finally:
            if piece is None:
                self._close()
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        """The reader leaves. Idempotent."""
        self._close()

    def _close(self) -> None:
        self._open = False
        self._download.detach(self._cursor)

    def __del__(self) -> None:
        # As asyncio does for generators: the collector may run in any thread.
        if self._open and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._download.detach, self._cursor)
