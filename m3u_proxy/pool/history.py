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

    ATTEMPT = "attempt"
    CONNECTED = "connected"
    LOST = "lost"
    WARNING = "warning"
    SWITCH = "switch"
    RESOLVER = "resolver"
    STALL = "stall"
    RESTART = "restart"
    FAILED = "failed"
    END = "end"


@dataclass(frozen=True, slots=True)
class Moment:
    """One thing that happened. No text in it names a credential."""

    at: datetime
    what: Happening
    reason: str | None
    detail: str | None
    index: int | None
    """Of the source: 0 is the primary, n the n-th failover."""


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
        index: int | None = None,
    ) -> None:
        """Remember that this happened now; ``detail`` is redacted here."""
        text = redact(detail) if detail is not None else None
        self._moments.append(Moment(datetime.now(UTC), what, reason, text, index))

    def moments(self) -> list[Moment]:
        """All that is remembered, oldest first."""
        return list(self._moments)
