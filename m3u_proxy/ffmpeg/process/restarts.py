"""When a FFmpeg that was lost starts again, and when it is given up. Pure: it is told the time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Bounds of restarting; times in seconds."""

    losses: int = 3
    within: float = 30.0
    """So many losses in that time, and it is given up."""
    step: float = 1.0
    """The first start after a loss is at once, each further one waits longer by this,"""
    longest: float = 10.0
    """but not longer than this."""
    starts: int = 6
    per: float = 60.0
    """At most so many starts in that time."""
    healthy: float = 60.0
    """Of a rising media sequence, after which all losses are forgotten."""


class Restarts:
    """Starts and losses of one writer's FFmpeg. Every ``now`` is monotonic seconds."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._starts: deque[float] = deque(maxlen=pace.starts)
        self._losses: deque[float] = deque(maxlen=pace.losses)
        self._in_a_row = 0
        self._rising_since: float | None = None

    def started(self, now: float) -> None:
        """A FFmpeg was started, or it was tried."""
        self._starts.append(now)
        self._rising_since = None

    def rose(self, now: float) -> None:
        """The media sequence rose."""
        if self._rising_since is None:
            self._rising_since = now
        elif now - self._rising_since >= self._pace.healthy:
            self._starts.clear()
            self._losses.clear()
            self._in_a_row = 0

    def lost(self, now: float) -> float | None:
        """FFmpeg was lost: seconds until the next start, or ``None`` to give up."""
        pace = self._pace
        self._losses.append(now)
        if len(self._losses) == pace.losses and now - self._losses[0] <= pace.within:
            return None
        delay = min(self._in_a_row * pace.step, pace.longest)
        self._in_a_row += 1
        if len(self._starts) == pace.starts:
            delay = max(delay, self._starts[0] + pace.per - now)
        return delay
