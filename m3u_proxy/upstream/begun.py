"""A source whose first bytes have been looked at, and which is then read as if they had not."""

from __future__ import annotations

from collections.abc import Callable

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.source import Head, Source


class Begun:
    """An open ``Source``; ``aclose()`` closes what it wraps. Made by ``begin``."""

    def __init__(self, source: Source, head: Head, prefix: bytes, ending: UpstreamError | None) -> None:
        self.head = head
        self.prefix = prefix
        """The bytes that were looked at."""
        self._source = source
        self._unread = prefix
        self._ending = ending

    async def open(self) -> Head:
        """It is open already."""
        return self.head

    async def read(self) -> bytes:
        """First the bytes that were looked at, then those that follow."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        if self._ending is not None:
            raise self._ending.again()
        return await self._source.read()

    async def aclose(self) -> None:
        """Idempotent. The socket is closed when this returns."""
        await self._source.aclose()


async def begin(source: Source, is_enough: Callable[[bytes], bool]) -> Begun:
    """Open ``source`` and read until ``is_enough``, or to the end of a short body.

    Raises UpstreamError with the source still to be closed by whoever made it.
    """
    head = await source.open()
    prefix, ending = b"", None
    while not is_enough(prefix):
        try:
            prefix += await source.read()
        except UpstreamError as error:
            if not prefix or error.reason != "eof":
                raise
            ending = error
            break
    return Begun(source, head, prefix, ending)
