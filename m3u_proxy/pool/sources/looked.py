"""A source that is about to take another one's place, looked at before anybody reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from m3u_proxy.errors import FormChanged
from m3u_proxy.upstream.begun import Begun
from m3u_proxy.upstream.source import Head, Source

Look = Callable[[Source], Awaitable[Begun]]
"""Opens a source and judges it; raises ``FormChanged`` to keep it for somebody else."""


class Looked:
    """A ``Source``; ``look`` opens it. After ``FormChanged`` it is no more ours to close."""

    def __init__(self, source: Source, look: Look) -> None:
        self._source: Source | None = source
        self._look = look

    async def open(self) -> Head:
        """Also raises ``FormChanged``."""
        assert self._source is not None
        try:
            begun = await self._look(self._source)
        except FormChanged:
            self._source = None
            raise
        self._source = begun
        return begun.head

    async def read(self) -> bytes:
        """What was looked at comes first."""
        assert self._source is not None
        return await self._source.read()

    async def aclose(self) -> None:
        """Idempotent."""
        if self._source is not None:
            await self._source.aclose()
