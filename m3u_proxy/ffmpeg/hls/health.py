"""Whether a FFmpeg that lives does its work: progress and content. Pure: it is told the time.

Every ``now`` is monotonic seconds. Nothing here knows exit codes or words on stderr.
"""

from __future__ import annotations

from math import inf

HOLLOW_PATIENCE = 1.5
"""Seconds an empty file is forgiven: on a full disk FFmpeg goes on and says nothing."""
INPUT_PAUSE = 1.0
"""Seconds without input after which FFmpeg's clock stops."""


class Watchdog:
    """Progress of a writer: a finished segment every so often, while there is input.

    ``patience`` bounds how long the source is blamed for a silence.
    """

    def __init__(self, limit: float, now: float, patience: float = inf) -> None:
        self._limit = limit
        self._patience = patience
        self._fed = 0
        self._hollow_since: float | None = None
        self._fed_at = self._looked_at = self._delivered_at = now

    def look(self, now: float, *, fed: int, unread: int, delivered: bool) -> bool:
        """Whether the writer is healthy.

        ``fed`` is the running total of its input in bytes, ``unread`` how many of them it has not taken: a
        hung FFmpeg leaves its pipe full, and then nothing more can be fed.
        """
        if fed != self._fed or unread:
            self._fed, self._fed_at = fed, now
        if delivered:
            self._delivered_at = now
        elif INPUT_PAUSE < now - self._fed_at <= self._patience:
            self._delivered_at += now - self._looked_at  # FFmpeg is not to blame for a silent source
        self._looked_at = now
        return now - self._delivered_at <= self._limit

    def is_hollow(self, now: float, *, hollow: bool) -> bool:
        """Whether empty files have been there for longer than is forgiven."""
        if not hollow:
            self._hollow_since = None
        elif self._hollow_since is None:
            self._hollow_since = now
        return self._hollow_since is not None and now - self._hollow_since > HOLLOW_PATIENCE
