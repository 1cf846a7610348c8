"""FFmpeg as a source: what it writes to its standard output becomes the input of another relay."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from time import monotonic

from m3u_proxy.errors import ProxyError, UpstreamError
from m3u_proxy.ffmpeg.process.run import COMPLETED, Argv, Feed, Kit, Run
from m3u_proxy.upstream.source import Head

READ = 256 * 1024
LOOKS = 4
"""Looks at its input in that time; one without any starts the time again."""
LOOK_INTERVAL = 1.0
"""Seconds between two looks at its speed."""
EXIT_PATIENCE = 2.0
"""Seconds between the end of FFmpeg's output and its exit."""


class PipeSource:
    """One FFmpeg between two relays; a ``Source`` like an HTTP body."""

    def __init__(
        self,
        argv: Argv,
        *,
        feed: Feed,
        kit: Kit,
        kind: str,
        stream: str,
        stall: float,
    ) -> None:
        self._argv = argv
        self._feed = feed
        self._stall = stall
        self._run = Run(kit, feed, kind, stream)
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._fd: int | None = None
        self._has_output = False
        self._looked_at = 0.0

    @property
    def media_info(self) -> dict[str, object]:
        """FFmpeg's own figures."""
        return self._run.media_info

    async def open(self) -> Head:
        """Start FFmpeg once its own source is there."""
        await self._feed.ready()
        self._run.start(self._argv, Path("/"), stdout=True)
        self._fd = self._run.stdout_fd
        assert self._fd is not None
        self._loop.add_reader(self._fd, self._wake.set)
        self._run.failure.add_done_callback(lambda _: self._wake.set())
        return Head(status=200, content_type="video/mp2t", url="pipe:1")

    async def read(self) -> bytes:
        """The next bytes; raises what the run was lost to, once everything written before is read.

        The reason is ``completed`` when FFmpeg has come to the end of a finite input.
        """
        assert self._fd is not None
        while True:
            if not self._wake.is_set():
                await self._output()
            try:
                data = os.read(self._fd, READ)
            except BlockingIOError:
                self._wake.clear()
                data = None
            if data:
                self._has_output = True
                self._look_at_speed()
                return data
            if data == b"":  # FFmpeg closed its end: the reason follows with its exit
                self._loop.remove_reader(self._fd)
                await asyncio.wait([self._run.failure], timeout=EXIT_PATIENCE)
            if self._run.failure.done():
                raise self._lost(self._run.failure.result())
            if data == b"":
                raise UpstreamError("ffmpeg_eof", "FFmpeg closed its output")

    def _look_at_speed(self) -> None:
        now = monotonic()
        if now - self._looked_at >= LOOK_INTERVAL:
            self._looked_at = now
            self._run.look_at_speed(now)

    async def _output(self) -> None:
        """Wait for news; raises when FFmpeg gives nothing although its own source does."""
        fed, idle, waited = self._run.fed, 0, 0.0
        while True:
            try:
                async with asyncio.timeout(self._stall / LOOKS):
                    await self._wake.wait()
                return
            except TimeoutError:
                has_input = self._run.unread > 0 or self._run.fed != fed
                fed, idle = self._run.fed, idle + 1 if has_input else 0
                waited += self._stall / LOOKS
                if idle >= LOOKS or waited > self._run.patience:
                    lost = self._run.lost("stall", "FFmpeg makes no progress")
                    raise self._lost(lost) from None

    def _lost(self, error: ProxyError) -> UpstreamError:
        if error.reason == COMPLETED and not self._has_output:
            return UpstreamError("eof", "FFmpeg found nothing to write")
        return UpstreamError(error.reason, error.detail, retry_after=error.retry_after)

    async def aclose(self) -> None:
        """End FFmpeg; nothing is left of it."""
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            self._fd = None
        await self._run.stop()
