"""Bodies of requests about webhooks, and what is shown of one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from m3u_proxy.events import EventType
from m3u_proxy.observe.subscription import RETRIES, TIMEOUT, Subscription
from m3u_proxy.web.schemas.fields import Body, Headers, Query, Text, null_is

LONGEST_TIMEOUT = 300
"""Seconds."""
MOST_RETRIES = 20

Events = Annotated[list[EventType], null_is(list(EventType), list[EventType] | None), Field(max_length=64)]
Timeout = Annotated[int, null_is(TIMEOUT, int | None), Field(ge=1, le=LONGEST_TIMEOUT)]
Retries = Annotated[int, null_is(RETRIES, int | None), Field(ge=0, le=MOST_RETRIES)]


class WebhookRequest(Body):
    """Body of ``POST /webhooks``. Unknown fields are ignored, ``null`` means the default."""

    url: Text
    """Where events are posted; there is one webhook for each."""
    events: Events = list(EventType)
    """Which events are wanted; otherwise all."""
    headers: Headers = {}
    """Sent with every event, never shown."""
    timeout: Timeout = TIMEOUT
    """Seconds for one attempt."""
    retry_attempts: Retries = RETRIES
    """Further attempts, after 1, 2, 4 … seconds."""


class WebhookReference(Body):
    """Body of ``DELETE /webhooks``, query of ``POST /webhooks/test``."""

    webhook_url: Text
    """As it was registered, in any spelling of the host."""


class WebhookQuery(Query):
    """Query of ``DELETE /webhooks``, which may name the webhook in a body instead."""

    webhook_url: Text | None = None
    """As it was registered, in any spelling of the host; otherwise the body says it."""


class WebhookAdded(TypedDict):
    """Answer to ``POST /webhooks``."""

    message: str
    webhook_url: str
    events: list[EventType]


class WebhookRow(TypedDict):
    """One webhook; its headers are nobody's business."""

    url: str
    events: list[EventType]
    timeout: int
    retry_attempts: int


class WebhookList(TypedDict):
    """Answer to ``GET /webhooks``."""

    webhooks: list[WebhookRow]


class WebhookTested(TypedDict):
    """Answer to ``POST /webhooks/test``."""

    message: str
    event_id: str


def webhook_json(subscription: Subscription) -> WebhookRow:
    """One row of ``GET /webhooks``."""
    return {
        "url": subscription.url,
        "events": list(subscription.events),
        "timeout": int(subscription.timeout),
        "retry_attempts": subscription.retry_attempts,
    }
