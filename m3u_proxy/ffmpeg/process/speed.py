"""Whether a FFmpeg keeps up with real time. Pure: it is told the time, in monotonic seconds."""

from __future__ import annotations

from math import inf

REAL_TIME = 0.95
"""Seconds of media per second, from which on FFmpeg keeps up with a live source."""
SPEED_SPAN = 30.0
"""Seconds over which speed is measured."""
SPEED_PAUSE = 60.0
"""Least seconds between two complaints about it."""


class Speed:
    """Notices a FFmpeg that is slower than real time although its input waits for it.

    FFmpeg's own figure is an average since its start, and falls also when the source pauses.
    """

    def __init__(self) -> None:
        self._since = self._position = 0.0
        self._measuring = False
        self._complained_at = -inf

    def look(self, now: float, *, position: float | None, waiting: bool) -> float | None:
        """The speed, when it is time to complain about it; 1.0 would be real time.

        ``position`` is that of the output in seconds, ``waiting`` whether there is input to go on with.
        """
        if position is None or not waiting:
            self._measuring = False
            return None
        if not self._measuring:
            self._measuring, self._since, self._position = True, now, position
        if now - self._since < SPEED_SPAN:
            return None
        speed = (position - self._position) / (now - self._since)
        self._since, self._position = now, position
        if speed >= REAL_TIME or now - self._complained_at < SPEED_PAUSE:
            return None
        self._complained_at = now
        return speed
