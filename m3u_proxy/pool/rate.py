"""How fast something flows, from its running total. Pure: it is told the time."""

from __future__ import annotations

from collections import deque
from statistics import median

WINDOW = 15
"""Seconds for which a rate has to be too low."""
HISTORY = 300
LEARNT = 60
"""Seconds over which the usual rate is taken, and the least that make one."""
SHARE = 0.1


class Rate:
    """Bits per second over the last ten seconds; fed with running totals of bytes."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=10)

    def mark(self, now: float, total: int) -> None:
        """Note the total, at most once per second."""
        if not self._marks or now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, total))

    def read(self, now: float, total: int) -> float:
        """The rate at ``now``; 0 until a second has passed."""
        if not self._marks or now - self._marks[0][0] < 1.0:
            return 0.0
        since, before = self._marks[0]
        return (total - before) * 8 / (now - since)


class Floor:
    """Tells a trickle from a stream: less than a tenth of its own usual rate for fifteen seconds.

    Measured against the stream's own median, so that radio is no fault. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=HISTORY)
        self.restart()

    def restart(self) -> None:
        """Another connection follows; what is usual stays known."""
        self._marks: deque[tuple[float, int]] = deque(maxlen=WINDOW + 1)

    def is_below(self, now: float, total: int) -> bool:
        """Whether the stream has become a trickle; ``total`` bytes have come so far."""
        if not self._marks:
            self._marks.append((now, total))
            return False
        last, before = self._marks[-1]
        if now - last < 1.0:
            return False
        self._marks.append((now, total))
        rate = (total - before) / (now - last)
        self._usual.append(rate)
        first, start = self._marks[0]
        if len(self._usual) < LEARNT or now - first < WINDOW:
            return False
        return (total - start) / (now - first) < SHARE * median(self._usual)
