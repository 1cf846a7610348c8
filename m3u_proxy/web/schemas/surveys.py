"""Bodies and answers of checks of the lineup."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from m3u_proxy.web.schemas.fields import Body, Query

MOST_KEYS = 100_000


class SurveyRequest(Body):
    """Which channels are checked; all that are enabled where nothing is said."""

    keys: Annotated[list[str], Field(max_length=MOST_KEYS)] | None = None
    """Keys of the channels to check."""
    group: str | None = None
    """Only channels of this group."""


class SurveyQuery(Query):
    """How much of the results."""

    offset: Annotated[int, Field(ge=0)] = 0
    """Results that are passed over, the first ones."""


class SurveyBegun(TypedDict):
    """A check is under way."""

    job: str


class SurveyEnded(TypedDict):
    """A check was called off."""

    message: str


class ChannelVerdict(TypedDict):
    """What has been found out about one channel."""

    key: str
    playable: bool
    kind: str
    codecs: list[str]
    bitrate: int
    """Bits per second; 0 if not known."""
    first_byte_ms: int | None
    reason: str | None
    """Why it cannot be played."""


class SurveyResults(TypedDict):
    """What has been found so far."""

    done: int
    total: int
    results: list[ChannelVerdict]
    """In the order in which they were found."""
