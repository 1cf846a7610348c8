"""Bodies of requests about webhooks, and what is shown of one."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from m3u_proxy.events import EventType
from m3u_proxy.observe.subscription import RETRIES, TIMEOUT, Subscription
from m3u_proxy.web.schemas.streams import Headers, Text

LONGEST_TIMEOUT = 300
MOST_RETRIES = 20


def _or(default: object, kind: object) -> BeforeValidator:
    """``null`` means the default."""
    return BeforeValidator(lambda value: default if value is None else value, json_schema_input_type=kind)


Events = Annotated[list[EventType], _or(list(EventType), list[EventType] | None), Field(max_length=64)]
Timeout = Annotated[int, _or(TIMEOUT, int | None), Field(ge=1, le=LONGEST_TIMEOUT)]
Retries = Annotated[int, _or(RETRIES, int | None), Field(ge=0, le=MOST_RETRIES)]


class WebhookRequest(BaseModel):
    """Body of ``POST /webhooks``. Unknown fields are ignored, ``null`` means the default."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

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


class WebhookReference(BaseModel):
    """Body of ``DELETE /webhooks``, query of ``POST /webhooks/test``."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

    webhook_url: Text
    """As it was registered, in any spelling of the host."""


class WebhookQuery(BaseModel):
    """Query of ``DELETE /webhooks``, which may name the webhook in a body instead."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)

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
    timeout: float
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
        "timeout": subscription.timeout,
        "retry_attempts": subscription.retry_attempts,
    }
