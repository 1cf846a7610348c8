"""Whether what a source gives is good enough, check by check. Pure: it is told the time.

A source that fails a check has not failed: its bytes come, and they are delivered. So nothing here ends one;
it says when leaving it for another is worth a break. All times are monotonic seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

WARN_EVERY = 60.0
"""Least seconds between two warnings of the same thing."""


@dataclass(frozen=True, slots=True)
class BitrateCheck:
    """How slow a source may be. Bytes per second, seconds, and slow checks in a row."""

    minimum: int
    interval: float
    failures: int
    grace: float
    """From the connection to the time from which on it is measured."""


class Timetable:
    """Due after ``grace``, and then every ``interval``; what was missed is left out."""

    def __init__(self, grace: float, interval: float) -> None:
        self._grace = grace
        self._interval = interval
        self._next: float | None = None

    def begin(self, now: float) -> None:
        """From now on, anew."""
        self._next = now + self._grace

    def stop(self) -> None:
        """Nothing is due until it begins again."""
        self._next = None

    def is_due(self, now: float) -> bool:
        """Whether it is time; each time is told once. Late looks do not shift the times that follow."""
        if self._next is None or now < self._next:
            return False
        self._next += self._interval * (1 + floor((now - self._next) / self._interval))
        return True


class Strikes:
    """Bad checks in a row, which sources they were held against, and when to say so.

    A source that was left is not left once more before a good check: where every source is as bad, the
    programme itself is, and viewers would see nothing but switches.
    """

    def __init__(self, failures: int) -> None:
        self._failures = failures
        self._count = 0
        self._left: set[str] = set()
        self._warned: float | None = None

    def good(self) -> None:
        """A check was passed."""
        self._count = 0
        self._left.clear()

    def restart(self) -> None:
        """Another connection, or another source."""
        self._count = 0

    def bad(self) -> bool:
        """A check was failed; whether that makes enough in a row. They are counted anew then."""
        self._count += 1
        if self._count < self._failures:
            return False
        self._count = 0
        return True

    def may_leave(self, url: str) -> bool:
        """Whether another source may be better than this one."""
        return url not in self._left

    def leave(self, url: str) -> None:
        """It is left for another source."""
        self._left.add(url)

    def may_warn(self, now: float) -> bool:
        """Whether to say it now: at most once a minute."""
        if self._warned is not None and now - self._warned < WARN_EVERY:
            return False
        self._warned = now
        return True


class Bitrate:
    """Measures one connection after another against a ``BitrateCheck``, from running totals of bytes."""

    def __init__(self, check: BitrateCheck) -> None:
        self._minimum = check.minimum
        self._times = Timetable(check.grace, check.interval)
        self._mark: tuple[float, int] | None = None

    def connected(self, now: float) -> None:
        """A connection has been opened; its first bytes, often a burst, are not measured."""
        self._times.begin(now)
        self._mark = None

    def disconnected(self) -> None:
        """Nothing is measured without one."""
        self._times.stop()

    def is_slow(self, now: float, total: int) -> bool | None:
        """Whether less came since the last check than should; ``None`` if no check is due."""
        if not self._times.is_due(now):
            return None
        mark, self._mark = self._mark, (now, total)
        if mark is None:
            return None
        since, before = mark
        return (total - before) / (now - since) < self._minimum
