"""How fast something flows, from its running total. Pure: it is told the time."""

from __future__ import annotations

from collections import deque
from statistics import median

WINDOW = 15
"""Seconds for which a rate has to be too low."""
HISTORY = 300
LEARNT = 60
"""Seconds over which the usual rate is taken, and the least that make one."""
TRICKLE = 0.1
"""Share of the usual rate below which a source has failed."""
SLOW = 0.8
"""Share below which it gives less than real time needs."""


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


class Baseline:
    """Measures a stream against its own usual rate, so that radio is no fault. Times in monotonic seconds."""

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=HISTORY)
        self.restart()

    def restart(self) -> None:
        """Another connection follows; what is usual stays known."""
        self._marks: deque[tuple[float, int]] = deque(maxlen=WINDOW + 1)

    def share(self, now: float, total: int) -> float | None:
        """The rate of the last fifteen seconds as a share of the median; ``total`` bytes have come so far.

        Taken anew once per second; ``None`` in between, and while too little is known.
        """
        if not self._marks:
            self._marks.append((now, total))
            return None
        last, before = self._marks[-1]
        if now - last < 1.0:
            return None
        self._marks.append((now, total))
        self._usual.append((total - before) / (now - last))
        first, start = self._marks[0]
        if len(self._usual) < LEARNT or now - first < WINDOW:
            return None
        usual = median(self._usual)
        return (total - start) / (now - first) / usual if usual else None


class Floor(Baseline):
    """Tells a trickle from a stream: less than a tenth of its own usual rate for fifteen seconds."""

    def is_below(self, now: float, total: int) -> bool:
        """Whether the stream has become a trickle; ``total`` bytes have come so far."""
        share = self.share(now, total)
        return share is not None and share < TRICKLE
