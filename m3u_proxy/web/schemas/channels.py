"""Bodies and queries of requests about channels, and what is shown of one."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from m3u_proxy.lineup.channel import Channel, flat
from m3u_proxy.lineup.guide import GUIDES
from m3u_proxy.lineup.importer import ImportReport
from m3u_proxy.lineup.plan import FAILOVERS
from m3u_proxy.media.lineup.fields import ATTRIBUTES, is_header, pairs
from m3u_proxy.media.lineup.reader import NAME
from m3u_proxy.web.schemas.fields import Body, Headers, Query, Text, null_is

KEY_LENGTH = 80
ATTRIBUTE_LENGTH = 4096

Line = Annotated[Text, Field(max_length=ATTRIBUTE_LENGTH, pattern=r"^\P{Cc}*$")]
Name = Annotated[Text, Field(min_length=1, max_length=NAME, pattern=r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$")]
AttributeName = Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,64}$")]
Attributes = Annotated[
    dict[AttributeName, Line],
    BeforeValidator(lambda value: {} if value is None or value == [] else value),
    Field(max_length=ATTRIBUTES),
]


class ChannelFields(Body):
    """What makes up a channel, but for its key. Unknown fields are ignored, ``null`` means the default."""

    name: Name
    url: Text
    """Of the source; http or https. What Kodi appends to it, ``|User-Agent=x&Referer=y``, becomes headers."""
    failover_urls: Annotated[list[Text], null_is([], list[str] | None), Field(max_length=FAILOVERS)] = []
    """Other sources of the same, taken in this order when one fails."""
    tvg_id: Line | None = None
    """By which guides know it; over ``tvg-id`` in ``attributes``, as the next four are over theirs."""
    tvg_name: Line | None = None
    logo: Line | None = None
    """``tvg-logo``."""
    group: Line | None = None
    """``group-title``."""
    number: Annotated[float, Field(ge=0, le=10**9)] | None = None
    """``tvg-chno``."""
    attributes: Attributes = {}
    """Of its ``#EXTINF``, names in lower case."""
    headers: Headers = {}
    """Sent to the provider over the usual ones."""
    enabled: Annotated[bool, null_is(True, bool | None)] = True
    """Whether it is in the lineups that are given out, and can be opened."""

    def channel(self, key: str, *, by_hand: bool) -> Channel:
        """The channel that is asked for."""
        number = None if self.number is None else f"{self.number:.10g}"
        named = {
            "tvg-id": self.tvg_id,
            "tvg-name": self.tvg_name,
            "tvg-logo": self.logo,
            "tvg-chno": number,
            "group-title": self.group,
        }
        attributes = self.attributes | {name: value for name, value in named.items() if value is not None}
        url, _, appended = self.url.partition("|")
        more = {name: value for name, value in pairs(appended).items() if is_header(name, value)}
        return Channel(
            key=key,
            name=self.name.strip(),
            url=url if more else self.url,
            failover_urls=tuple(self.failover_urls),
            flat_attributes=flat(attributes),
            flat_headers=flat(more | dict(self.headers)),
            enabled=self.enabled,
            by_hand=by_hand,
        )


class ChannelRequest(ChannelFields):
    """Body of ``POST /api/v1/channels``."""

    key: Annotated[str, Field(max_length=KEY_LENGTH, pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")] | None = None
    """Its place in paths; otherwise made of its name."""


class LineupReference(Body):
    """Body of ``POST /api/v1/channels/import``, unless that is the lineup itself."""

    url: Text
    """Where the lineup is; http or https."""


class ImportQuery(Query):
    """Query of ``POST /api/v1/channels/import``."""

    mode: Literal["replace", "merge"] = "replace"
    """What becomes of channels that the lineup does not have: ``replace`` removes them."""


class ChoiceQuery(Query):
    """Which channels are wanted."""

    group: str = ""
    """One of the channel's groups, in any case."""
    search: str = ""
    """Somewhere in its name, its name in guides or its key, in any case."""


class LineupQuery(ChoiceQuery):
    """Query of ``GET /playlist.m3u``."""

    output: Literal["", "hls"] = ""
    """``hls``: every channel as HLS of its own."""


class GuideQuery(Query):
    """Query of ``GET /xmltv``."""

    guide: Annotated[int, Field(ge=1, le=GUIDES)] = 1
    """Which of the guides that the lineup names."""


class ChannelsQuery(ChoiceQuery):
    """Query of ``GET /api/v1/channels``."""

    limit: Annotated[int, Field(ge=0)] | None = None
    """Channels that are listed at most."""
    offset: Annotated[int, Field(ge=0)] = 0
    """Channels that are passed over."""


class ChannelShown(TypedDict):
    """A channel."""

    key: str
    name: str
    url: str
    failover_urls: list[str]
    tvg_id: str | None
    tvg_name: str | None
    logo: str | None
    group: str | None
    number: int | float | None
    attributes: dict[str, str]
    headers: dict[str, str]
    stream_id: str
    enabled: bool


class ChannelList(TypedDict):
    """Answer to ``GET /api/v1/channels``."""

    channels: list[ChannelShown]
    total: int
    """How many there are, whatever ``limit`` and ``offset`` say."""


class SkippedShown(TypedDict):
    """A line of a lineup that made no channel."""

    line: int
    reason: str


class Imported(TypedDict):
    """Answer to ``POST /api/v1/channels/import``."""

    imported: int
    """Channels that the lineup has."""
    updated: int
    """Of them, those that were there before and are others now."""
    removed: int
    skipped: list[SkippedShown]
    """The first of them."""
    skipped_total: int


class ChannelDeleted(TypedDict):
    """Answer to ``DELETE /api/v1/channels/{key}``."""

    message: str


def channel_json(channel: Channel) -> ChannelShown:
    """A channel as editors see it."""
    return {
        "key": channel.key,
        "name": channel.name,
        "url": channel.url,
        "failover_urls": list(channel.failover_urls),
        "tvg_id": channel.tvg_id,
        "tvg_name": channel.tvg_name,
        "logo": channel.logo,
        "group": channel.group,
        "number": channel.number,
        "attributes": channel.attributes,
        "headers": channel.headers,
        "stream_id": channel.stream_id,
        "enabled": channel.enabled,
    }


def imported_json(report: ImportReport) -> Imported:
    """What an import has done."""
    return {
        "imported": report.imported,
        "updated": report.updated,
        "removed": report.removed,
        "skipped": [{"line": one.line, "reason": one.reason} for one in report.skipped],
        "skipped_total": report.skips,
    }
