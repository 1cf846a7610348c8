"""FFmpeg as a listener: one viewer more, which decodes the sound of a source and keeps nothing of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from m3u_proxy.errors import ProxyError
from m3u_proxy.ffmpeg.process.run import Feed, Kit, Run
from m3u_proxy.ffmpeg.silence import SilenceParser, listen_argv
from m3u_proxy.model import SilenceCheck

KIND = "silence"
"""The metrics label."""
MUTE = 3.0
"""Least seconds without a decoded sample, while media comes, that are as good as silence."""


class Ear:
    """One FFmpeg that listens. Whoever has called ``open()`` ends it with ``aclose()``.

    It is killed and not asked to end: there is no output that it could finish.
    """

    def __init__(self, ffmpeg: str, kit: Kit, feed: Feed, check: SilenceCheck, stream: str) -> None:
        self._ffmpeg = ffmpeg
        self._feed = feed
        self._check = check
        self._parser = SilenceParser()
        self._run = Run(replace(kit, term_kill=0.0), feed, KIND, stream, on_stderr=self._parser.feed)
        self._ends = 0
        self._position: float | None = None
        self._moved_at = 0.0
        self._fed = 0

    @property
    def failure(self) -> asyncio.Future[ProxyError]:
        """Resolved with the reason when it hears nothing any more."""
        return self._run.failure

    async def open(self, now: float) -> None:
        """Listen once the source is there; raises why that cannot be."""
        await self._feed.ready()
        self._moved_at = now
        self._run.start(
            lambda fd, source: listen_argv(self._ffmpeg, self._check, source=source, progress_fd=fd),
            Path("/"),
            stdout=False,
        )

    def has_silence_ended(self) -> bool:
        """Whether a sound has ended a silence since this was last asked."""
        before, self._ends = self._ends, self._parser.ends
        return self._ends > before

    def hears(self, now: float, *, is_live: bool) -> bool | None:
        """Whether there is sound now; ``None`` while that cannot be told. ``is_live``: media comes.

        A silence is only known after the duration that makes one. A source whose sound stays away altogether
        is silent too; that is known of one on standard input, where it shows that FFmpeg has read everything.
        """
        position = self._run.position
        if position != self._position or not is_live:
            self._position, self._moved_at, self._fed = position, now, self._run.fed
        if self._parser.is_silent:
            return False
        still = now - self._moved_at
        if still < MUTE:
            return True if position is not None and position > self._check.duration else None
        is_mute = still >= self._check.duration and self._run.fed > self._fed and not self._run.unread
        return False if is_mute and self._run.is_fed_by_pipe else None

    async def aclose(self) -> None:
        """End FFmpeg; nothing is left of it."""
        await self._run.stop()
