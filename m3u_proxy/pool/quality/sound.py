"""Whether a source can be heard: an FFmpeg listens to it as one more viewer, beside the delivery.

It lives while somebody watches. Where it cannot be started, or is lost, that is said once, it is tried again
after a while, and the stream plays on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from m3u_proxy.errors import ProxyError, UpstreamError
from m3u_proxy.ffmpeg.ear import Ear
from m3u_proxy.ffmpeg.process.run import SWITCHED, Feed
from m3u_proxy.model import SilenceCheck
from m3u_proxy.pool.quality.checks import Strikes, Timetable
from m3u_proxy.pool.quality.leaving import Leaving

log = logging.getLogger(__name__)

AGAIN = 60.0
"""Seconds after which a listener that was lost is replaced."""

Listen = Callable[[Feed, SilenceCheck, str], Ear]
"""Makes a listener; raises Unavailable where there is no FFmpeg. The text names the stream in logs."""


class Audible(Protocol):
    """A live source, as far as sound goes."""

    @property
    def playing(self) -> str:
        """URL of the source whose media came last; empty before."""

    @property
    def is_live(self) -> bool:
        """Whether media comes, and more of it is to come."""

    @property
    def has_audio(self) -> bool | None:
        """Whether its tables name any audio; ``None`` where nobody can tell."""


class Sound:
    """The sound of one source after another. ``check`` is asked before every look: it may change."""

    def __init__(
        self,
        source: Audible,
        feed: Feed,
        listen: Listen,
        check: Callable[[], SilenceCheck | None],
        leaving: Leaving,
        who: Mapping[str, str],
    ) -> None:
        self._source = source
        self._feed = feed
        self._listen = listen
        self._wanted = check
        self._leaving = leaving
        self._who = who
        self._check: SilenceCheck | None = None
        self._strikes = Strikes(1)
        self._times = Timetable(0.0, 1.0)
        self._url = ""
        self._ear: Ear | None = None
        self._again = 0.0
        self._has_complained = False

    async def look(self, now: float) -> None:
        """One look; nobody listens any more where nobody watches."""
        await self._settle_on(self._wanted(), now)
        if self._check is None or not self._source.playing:
            return
        if self._source.playing != self._url:
            await self._begin(now)
        hears = await self._hears(now)
        if hears is not None and self._times.is_due(now):
            await self._judge(hears, now)

    async def _settle_on(self, check: SilenceCheck | None, now: float) -> None:
        if check == self._check:
            return
        self._check = check
        await self.aclose()
        if check is not None:
            self._strikes = Strikes(check.failures)
            self._times = Timetable(check.grace + check.interval, check.interval)
            self._times.begin(now)

    async def _begin(self, now: float) -> None:
        """Another source plays; it has a grace of its own."""
        self._url = self._source.playing
        self._strikes.restart()
        self._times.begin(now)
        await self.aclose()

    async def _hears(self, now: float) -> bool | None:
        is_live = self._source.is_live
        if self._source.has_audio is False:
            return False if is_live else None
        await self._mend(now)
        ear = self._ear
        if ear is None:
            return None
        if ear.has_silence_ended():
            self._strikes.good()
        hears = ear.hears(now, is_live=is_live)
        return hears if is_live else None

    async def _mend(self, now: float) -> None:
        """Have somebody listen."""
        if self._ear is not None and self._ear.failure.done():
            error = self._ear.failure.result()
            await self.aclose()
            if error.reason != SWITCHED:
                self._miss(error, now)
        if self._ear is None and now >= self._again and self._source.is_live:
            assert self._check is not None
            try:
                ear = self._listen(self._feed, self._check, self._who["stream"])
                await ear.open(now)
            except ProxyError as error:
                self._miss(error, now)
            else:
                self._ear = ear

    def _miss(self, error: ProxyError, now: float) -> None:
        self._again = now + AGAIN
        level = logging.DEBUG if self._has_complained else logging.WARNING
        self._has_complained = True
        log.log(level, "nobody listens for silence: %s; the stream plays on", error.detail, extra=self._who)

    async def _judge(self, hears: bool, now: float) -> None:
        if hears:
            self._has_complained = False
            self._strikes.good()
        elif self._strikes.bad():
            detail = (
                "The source is silent" if self._source.has_audio is not False else "The source has no audio"
            )
            await self._leaving.poor(UpstreamError("silence", detail), self._strikes, now, leave=True)

    async def aclose(self) -> None:
        """Nobody listens any more."""
        ear, self._ear = self._ear, None
        if ear is not None:
            await ear.aclose()
