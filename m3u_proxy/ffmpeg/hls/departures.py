"""When segments have left a playlist, and which of them have been kept long enough since. Pure."""

from __future__ import annotations

from collections import deque


class Departures:
    """One time for each segment that is served but listed no more, oldest first; ``linger`` is in seconds."""

    def __init__(self, linger: float) -> None:
        self._linger = linger
        self._times: deque[float] = deque()

    def due(self, unlisted: int, now: float) -> int:
        """How many of ``unlisted`` segments, the oldest first, may go; they are counted as gone.

        Those not seen before have left just now; where there are fewer than before, the oldest went by
        themselves. ``now`` is monotonic seconds.
        """
        while len(self._times) > unlisted:
            self._times.popleft()
        self._times.extend(now for _ in range(unlisted - len(self._times)))
        due = 0
        while self._times and now - self._times[0] >= self._linger:
            self._times.popleft()
            due += 1
        return due
