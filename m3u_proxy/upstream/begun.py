"""A source whose first bytes have been looked at, and which is then read as if they had not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.source import Head, Source


class Begun:
    """An open ``Source``; ``aclose()`` closes what it wraps. Made by ``begin``.

    A body that is over is told by ``is_whole``; one without a byte has an empty ``prefix`` as well.
    """

    def __init__(self, source: Source, head: Head, prefix: bytes, ending: UpstreamError | None) -> None:
        self.head = head
        self.prefix = prefix
        """The bytes that were looked at."""
        self._source = source
        self._unread = prefix
        self._ending = ending

    @property
    def is_whole(self) -> bool:
        """Whether the bytes that were looked at are all there are."""
        return self._ending is not None

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


async def begin(
    source: Source, is_enough: Callable[[bytes], bool], *, patience: float | None = None
) -> Begun:
    """Open ``source`` and read until ``is_enough``, or to the end of a short body.

    Raises UpstreamError, and ``stall`` where it takes longer than ``patience`` seconds from the head on;
    the source is then still to be closed by whoever made it.
    """
    head = await source.open()
    prefix, ending = b"", None
    try:
        async with asyncio.timeout(patience):
            while not is_enough(prefix):
                prefix += await source.read()
    except TimeoutError:
        raise UpstreamError("stall", "The source sends too slowly to tell what it is") from None
    except UpstreamError as error:
        if error.reason != "eof":
            raise
        ending = error.again()
    return Begun(source, head, prefix, ending)
