"""Why did it stop? What happened to a source or a writer, newest last. Pure but for the time of day."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from m3u_proxy.redact import redact

LENGTH = 200
"""Moments that are remembered of one thing."""


class Happening(StrEnum):
    """Words of the interface."""

    START = "start"
    """A source is asked: the first one, or one that takes over."""
    RETRY = "retry"
    """The same source is asked again after it has failed."""
    CONNECTED = "connected"
    WARNING = "warning"
    STALL = "stall"
    """It has fallen silent."""
    LOST = "lost"
    """It has failed in another way."""
    SWITCH = "failover"
    RESOLVER = "resolver"
    RESTART = "restart"
    """A FFmpeg takes the place of one that was lost."""
    WRITE_ERROR = "write_error"
    """As before, and because that could not write."""
    FAILED = "failed"
    END = "stop"


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened. No text in it names a credential."""

    at: datetime
    what: Happening
    reason: str | None
    detail: str | None
    source: int | None
    """0 is the primary, n the n-th failover."""


class History:
    """The newest moments of one running thing and of its predecessors under the same key."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=LENGTH)

    def __len__(self) -> int:
        return len(self._moments)

    def note(
        self,
        what: Happening,
        *,
        reason: str | None = None,
        detail: str | None = None,
        source: int | None = None,
    ) -> None:
        """Remember that this happened now; ``detail`` is redacted here."""
        text = redact(detail) if detail is not None else None
        self._moments.append(Moment(datetime.now(UTC), what, reason, text, source))

    def replaced(self, reason: str, detail: str) -> None:
        """Another FFmpeg takes the place of one that was lost."""
        what = Happening.WRITE_ERROR if reason == "write_error" else Happening.RESTART
        self.note(what, reason=reason, detail=detail)

    def moments(self) -> list[Moment]:
        """All that is remembered, oldest first."""
        return list(self._moments)
