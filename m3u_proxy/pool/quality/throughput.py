"""The rate of a relay's source: against a fixed minimum, and against what it usually gives."""

from __future__ import annotations

from typing import Protocol

from m3u_proxy.errors import UpstreamError
from m3u_proxy.pool.quality.checks import Bitrate, BitrateCheck, Strikes
from m3u_proxy.pool.quality.leaving import Leaving
from m3u_proxy.pool.rate import SLOW, Baseline


class Counters(Protocol):
    """What a relay counts."""

    connected: bool
    connections: int
    """Opened so far."""
    bytes_in: int


class Throughput:
    """Reads the counters of a relay; ``leave_slow``: a source is left that gives less than it used to."""

    def __init__(
        self, relay: Counters, leaving: Leaving, check: BitrateCheck | None, *, leave_slow: bool
    ) -> None:
        self._relay = relay
        self._leaving = leaving
        self._leave_slow = leave_slow
        self._check = check
        self._bitrate = Bitrate(check) if check is not None else None
        self._low = Strikes(check.failures if check is not None else 1)
        self._baseline = Baseline()
        self._slow = Strikes(1)
        self._connection = 0
        self._url = ""

    async def look(self, now: float) -> None:
        """One look."""
        relay = self._relay
        if not relay.connected:
            self._connection = 0
            if self._bitrate is not None:
                self._bitrate.disconnected()
            return
        if relay.connections != self._connection:
            self._connect(now)
        await self._look_at_minimum(now)
        await self._look_at_usual(now)

    def _connect(self, now: float) -> None:
        self._connection = self._relay.connections
        self._low.restart()
        self._baseline.restart()
        if self._leaving.url != self._url:
            self._url = self._leaving.url
            self._baseline = Baseline()  # what is usual for one source is not for another
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
            error = UpstreamError("low_bitrate", f"The source gives less than {SLOW:.0%} of its usual rate")
            await self._leaving.poor(error, self._slow, now, leave=self._leave_slow)

    async def aclose(self) -> None:
        """There is nothing to let go of."""
