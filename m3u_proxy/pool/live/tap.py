"""FFmpeg as a viewer of a relay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.sinks import PipeSink


class Tap:
    """A cursor of the relay's, and the pipe it is written to."""

    input = Input()

    def __init__(
        self,
        attach: Callable[[Outlet], None],
        detach: Callable[[Outlet], None],
        on_close: Callable[[Tap], None],
    ) -> None:
        self._attach = attach
        self._detach = detach
        self._on_close = on_close
        self._outlet: Outlet | None = None
        self._sink: PipeSink | None = None
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Resolved with the reason when the relay has ended."""

    @property
    def sent(self) -> int:
        """Bytes given so far."""
        return self._outlet.sent if self._outlet else 0

    def connect(self, stdin: int | None) -> None:
        """Feed this non-blocking pipe from the newest random-access point on. Call it once."""
        assert stdin is not None
        self._sink = PipeSink(stdin)
        self._outlet = Outlet(self._sink)
        self._outlet.ended.add_done_callback(lambda outlet: self.end(outlet.result()))
        self._attach(self._outlet)

    def end(self, reason: str) -> None:
        """There is nothing more for this FFmpeg. Idempotent: the first reason stays."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def close(self) -> None:
        """Stop feeding; the pipe stays open and belongs to the child. Idempotent."""
        self._on_close(self)
        if self._outlet is not None and self._sink is not None:
            self._detach(self._outlet)
            self._sink.close()
