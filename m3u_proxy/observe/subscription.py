"""Who wants to be told of what: a webhook as it was registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import TypeAdapter, ValidationError

from m3u_proxy.events import EventType
from m3u_proxy.upstream.url import parse

TIMEOUT = 10
"""Seconds for one attempt, unless the registration says otherwise."""
RETRIES = 3


@dataclass(frozen=True, slots=True)
class Subscription:
    """One webhook. There is one for each ``key``."""

    url: str
    """Exactly as it was registered: editors compare it so."""
    events: tuple[EventType, ...] = tuple(EventType)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every event; never shown."""
    timeout: float = TIMEOUT
    retry_attempts: int = RETRIES
    """Further attempts after the first."""

    @property
    def key(self) -> str:
        """What two spellings of one URL have in common."""
        return key_of(self.url)


def key_of(url: str) -> str:
    """``http://h`` and ``http://H/`` are one webhook; raises ``InvalidField`` for what is no URL."""
    return str(parse(url, "webhook_url"))


_SUBSCRIPTION = TypeAdapter(Subscription)


def row_of(subscription: Subscription) -> dict[str, object]:
    """A row of the registry."""
    row: dict[str, object] = _SUBSCRIPTION.dump_python(subscription, mode="json")
    return row


def subscription_of(row: Mapping[str, object]) -> Subscription:
    """The webhook that ``row`` holds; ValueError where it holds none."""
    try:
        return _SUBSCRIPTION.validate_python(row)
    except ValidationError:  # its text would show what the row holds
        raise ValueError("the row is no webhook") from None
