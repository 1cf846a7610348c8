"""Whether a live source still has the segments that it lists. Pure."""

from __future__ import annotations

STALL = 10.0
TARGETS = 3
"""Without a segment for this many target durations, at least ``STALL`` seconds, a source has failed."""
IN_A_ROW = 3
"""So many different segments that are not there are too many; a single one happens to the best."""


class Misses:
    """Segments that were not there, since the last one that was."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def got(self) -> None:
        """A segment has come."""
        self._names.clear()

    def missed(self, name: str) -> bool:
        """One is not there (404): whether these are too many now."""
        self._names.add(name)
        return len(self._names) >= IN_A_ROW


def is_starved(hungry_since: float | None, target: float, now: float) -> bool:
    """Whether viewers have been waiting for segments too long. All in seconds, times monotonic."""
    return hungry_since is not None and now - hungry_since >= max(TARGETS * target, STALL)
