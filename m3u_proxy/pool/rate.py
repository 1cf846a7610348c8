"""How fast something flows, from its running total. Pure: it is told the time."""

from __future__ import annotations

from collections import deque


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
