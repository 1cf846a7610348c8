"""The connections to one file at a provider: one after the other for each viewer, counted for all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.source import Head, Source


class Meter:
    """What the connections to one file add to."""

    def __init__(self, on_bytes: Callable[[int], None], on_error: Callable[[str], None]) -> None:
        self._on_bytes = on_bytes
        self.on_error = on_error
        self.bytes_in = 0
        self.connections = 0
        """Open now."""
        self.changed = asyncio.Event()
        """Set by the next ``tell()``, and then another one."""

    def count(self, size: int) -> None:
        """So many bytes came in."""
        self.bytes_in += size
        self._on_bytes(size)

    def tell(self) -> None:
        """A connection was closed, or has told what the file is."""
        self.changed.set()
        self.changed = asyncio.Event()


class Line:
    """A viewer's connection: the next one is opened only once the last one is closed."""

    def __init__(
        self, open_source: Callable[[Mapping[str, str]], Source], meter: Meter, begun: Source | None = None
    ) -> None:
        self._open_source = open_source
        self._meter = meter
        self._source = begun
        self._closing = False
        meter.connections += begun is not None

    @property
    def is_open(self) -> bool:
        """Whether the provider sees a connection, or is about to."""
        return self._source is not None or self._closing

    async def open(self, fields: Mapping[str, str], *, keep: bool = False) -> Head:
        """Send a request with ``fields``; ``keep``: go on with the connection there is.

        Raises UpstreamError with the connection still to be closed.
        """
        if not keep:
            await self.aclose()
            self._source = self._open_source(fields)
            self._meter.connections += 1
        assert self._source is not None
        return await self._source.open()

    async def read(self) -> bytes:
        """See `Source.read`."""
        assert self._source is not None
        piece = await self._source.read()
        self._meter.count(len(piece))
        return piece

    async def aclose(self) -> None:
        """Hang up. Idempotent; the socket is closed when this returns."""
        source, self._source = self._source, None
        if source is not None:
            self._closing = True
            try:
                await uncut(source.aclose())
            finally:
                self._closing = False
                self._meter.connections -= 1
                self._meter.tell()
