"""Whether a live source still has the segments that it lists. Pure: all times are monotonic seconds."""

from __future__ import annotations

from math import inf

STALL = 10.0
TARGETS = 3
"""Without a segment for this many target durations, at least ``STALL`` seconds, a source has failed."""
IN_A_ROW = 3
"""So many different segments that are not there are too many; a single one happens to the best."""


class Misses:
    """What was asked for since the last segment that came."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._asked_at = -inf
        self._since: float | None = None
        """When the first of those was asked for; ``None``: none was."""

    def ask(self, now: float) -> None:
        """Somebody wants a segment."""
        if self._since is None or now - self._asked_at >= STALL:
            self._since = now
        self._asked_at = now

    def got(self) -> None:
        """A segment has come."""
        self._names.clear()
        self._since = None

    def missed(self, name: str) -> bool:
        """One is not there (404): whether these are too many now."""
        self._names.add(name)
        return len(self._names) >= IN_A_ROW

    def is_starved(self, target: float, now: float, *, is_fetching: bool) -> bool:
        """Whether viewers have been waiting too long, and still do; ``target`` is the target duration."""
        limit = max(TARGETS * target, STALL)
        is_wanted = is_fetching or now - self._asked_at < limit
        return self._since is not None and now - self._since >= limit and is_wanted
