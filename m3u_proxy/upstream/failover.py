"""What follows a failed attempt: try again after a while, or give up. Pure: it is told the time."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
HEALTHY = 60.0
DOUBLINGS = 5
"""After so many the longest delay is reached."""


@dataclass
class Attempts:
    """Attempts at one source, paced.

    A source that never gave a byte is given up at once, so that its joiners learn the reason. One that did is
    tried again after 1, 2, 4 … at most 30 s, until ``budget`` seconds have passed since its last byte. The
    delays begin anew after a connection that gave bytes for ``HEALTHY`` seconds.
    """

    budget: float
    _last_byte: float | None = None
    _failures: int = 0
    _began: float | None = None

    def alive(self, now: float) -> None:
        """Bytes came at ``now`` (monotonic seconds)."""
        self._last_byte = now
        if self._began is None:
            self._began = now

    def failed(self, now: float, retry_after: float = 0.0) -> float | None:
        """Seconds to wait before the next attempt, at least ``retry_after``; ``None``: give up."""
        if self._last_byte is None:
            return None
        if self._began is not None and self._last_byte - self._began >= HEALTHY:
            self._failures = 0
        self._began = None
        delay = min(FIRST_DELAY * 2.0 ** min(self._failures, DOUBLINGS), LONGEST_DELAY)
        delay = max(delay, retry_after)
        self._failures += 1
        if now + delay - self._last_byte > self.budget:
            return None
        return delay
