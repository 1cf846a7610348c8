"""Looks at what a live source gives, beside its delivery: it reads counters, and never touches a byte.

A poor source has not failed. It is left for another one only where that was asked for and another one can be
used; otherwise there is a warning, at most once a minute for each thing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from m3u_proxy.errors import Unusable, UpstreamError
from m3u_proxy.pool.attempts import Attempts
from m3u_proxy.pool.checks import Bitrate, BitrateCheck, Strikes
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.pool.rate import SLOW, Baseline

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks, thus the most by which a decision is late."""


@dataclass(frozen=True, slots=True)
class Inspections:
    """What is looked at, from the settings."""

    bitrate: BitrateCheck | None = None
    leave_slow: bool = False
    """Whether a source is left that gives much less than it used to."""


class Counters(Protocol):
    """What a relay counts."""

    connected: bool
    connections: int
    """Opened so far."""
    bytes_in: int


class Leaving:
    """Carries out what the checks find. ``who`` are the fields of its log lines."""

    def __init__(self, attempts: Attempts, who: dict[str, str]) -> None:
        self._attempts = attempts
        self._who = who

    async def poor(self, error: UpstreamError, strikes: Strikes, now: float, *, leave: bool) -> None:
        """Take another source if that is wanted and of use; else warn."""
        attempts = self._attempts
        url = attempts.url
        if leave and attempts.failover.has_others and strikes.may_leave(url):
            try:
                await attempts.switch(error.reason)
            except Unusable:
                log.debug("no other source can be used", extra=self._who)
            else:
                strikes.leave(url)
                return
        if strikes.may_warn(now):
            log.warning("poor source: %s", error.detail, extra=self._who)
            attempts.warned(error)


class Throughput:
    """The rate of a relay's source: against a fixed minimum, and against what it usually gives."""

    def __init__(self, relay: Counters, leaving: Leaving, inspections: Inspections) -> None:
        self._relay = relay
        self._leaving = leaving
        self._leave_slow = inspections.leave_slow
        self._check = inspections.bitrate
        self._bitrate = Bitrate(self._check) if self._check is not None else None
        self._low = Strikes(self._check.failures if self._check is not None else 1)
        self._baseline = Baseline()
        self._slow = Strikes(1)
        self._connection = 0
        self._url = ""

    async def look(self, now: float, url: str) -> None:
        """One look; ``url`` is that of the source in use."""
        relay = self._relay
        if not relay.connected:
            self._connection = 0
            if self._bitrate is not None:
                self._bitrate.disconnected()
            return
        if relay.connections != self._connection:
            self._connect(now, url)
        await self._look_at_minimum(now)
        await self._look_at_usual(now)

    def _connect(self, now: float, url: str) -> None:
        self._connection = self._relay.connections
        self._low.restart()
        self._baseline.restart()
        if url != self._url:
            self._url, self._baseline = url, Baseline()  # what is usual for one source is not for another
        if self._bitrate is not None:
            self._bitrate.connected(now)

    async def _look_at_minimum(self, now: float) -> None:
        if self._bitrate is None or self._check is None:
            return
        is_slow = self._bitrate.is_slow(now, self._relay.bytes_in)
        if is_slow is False:
            self._low.good()
        elif is_slow and self._low.bad():
            detail = f"The source gives less than {self._check.minimum} bytes per second"
            await self._leaving.poor(UpstreamError("low_bitrate", detail), self._low, now, leave=True)

    async def _look_at_usual(self, now: float) -> None:
        share = self._baseline.share(now, self._relay.bytes_in)
        if share is None:
            return
        if share >= SLOW:
            self._slow.good()
        else:
            detail = f"The source gives less than {SLOW:.0%} of its usual rate"
            error = UpstreamError("low_bitrate", detail)
            await self._leaving.poor(error, self._slow, now, leave=self._leave_slow)


class Inspection:
    """All checks of one live source."""

    def __init__(self, relay: Relay, attempts: Attempts, inspections: Inspections) -> None:
        self._attempts = attempts
        self._who = dict(relay.who)
        self._throughput = Throughput(relay, Leaving(attempts, self._who), inspections)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look now and then until the end of the context; nothing is left afterwards."""
        task = asyncio.get_running_loop().create_task(self._run(), name="inspection")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        try:
            while True:
                await asyncio.sleep(TICK)
                if not self._attempts.is_pending:
                    await self._throughput.look(monotonic(), self._attempts.url)
        except Exception:
            log.exception("the inspection of a source crashed; the source plays on", extra=self._who)
