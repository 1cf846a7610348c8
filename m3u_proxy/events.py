"""What happened, told once by its owner, and the bus that hands it on.

``Bus.emit`` is synchronous and never raises: a listener that fails is logged and stays subscribed, so that
telling can never break what is being told about. Listeners only note what they hear; whoever wants to do
I/O keeps a bounded queue of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

log = logging.getLogger(__name__)


class EventType(StrEnum):
    """Words of the interface; webhooks use the same."""

    STREAM_STARTED = "stream_started"
    STREAM_STOPPED = "stream_stopped"
    STREAM_FAILED = "stream_failed"
    FAILOVER_TRIGGERED = "failover_triggered"
    CLIENT_CONNECTED = "client_connected"
    CLIENT_DISCONNECTED = "client_disconnected"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened to one stream."""

    type: EventType
    stream_id: str
    data: Mapping[str, object] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


Listener = Callable[[Event], None]


class Bus:
    """Hands every event to every listener, in the order of emission."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call ``listener`` for every later event, in the loop's thread; it must not block."""
        self._listeners.append(listener)

    def emit(self, type_: EventType, stream_id: str, **data: object) -> None:
        """Tell every listener now."""
        event = Event(type_, stream_id, data)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on %s", event.type)
