"""FFmpeg after FFmpeg behind a transcoded body, paced like the restarts of a writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

from m3u_proxy.errors import UpstreamError
from m3u_proxy.ffmpeg.pipe import PipeSource
from m3u_proxy.ffmpeg.process.restarts import Pace, Restarts
from m3u_proxy.ffmpeg.process.run import SWITCHED
from m3u_proxy.pool.sources.history import Happening, History
from m3u_proxy.upstream.source import Source

PACE = Pace()


class Respawns:
    """A `Succession` of runs of one FFmpeg command; given up after three fast failures."""

    url = "pipe:1"

    def __init__(self, open_source: Callable[[], Source], history: History) -> None:
        self._open_source = open_source
        self._history = history
        self._restarts = Restarts(PACE)
        self._delay = 0.0
        self._source: Source | None = None

    async def next(self) -> Source:
        """See `Succession.next`."""
        await asyncio.sleep(self._delay)
        self._restarts.started(monotonic())
        self._source = self._open_source()
        return self._source

    def media_info(self) -> dict[str, object]:
        """See `Succession.media_info`: the figures of the FFmpeg at work."""
        return self._source.media_info if isinstance(self._source, PipeSource) else {}

    def alive(self, now: float) -> None:
        """See `Succession.alive`."""
        self._restarts.rose(now)

    def connected(self, detail: str) -> None:
        """See `Succession.connected`: that FFmpeg began anew is told already."""

    def lost(self, error: UpstreamError) -> float:
        """See `Succession.lost`."""
        if error.reason == SWITCHED:
            self._delay = 0.0
            return 0.0
        delay = self._restarts.lost(monotonic())
        if delay is None:
            self._history.note(Happening.FAILED, reason=error.reason, detail=error.detail)
            raise error
        self._history.replaced(error.reason, error.detail)
        self._delay = delay
        return delay

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """See `Succession.reading`; nobody orders another FFmpeg."""
        yield
