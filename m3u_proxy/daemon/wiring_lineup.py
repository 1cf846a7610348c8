"""From settings to the lineup: who reads it, who opens its channels, also as HLS, and who checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m3u_proxy.daemon import wiring
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.guide import Guides
from m3u_proxy.lineup.importer import Importer
from m3u_proxy.lineup.place import OpenSource
from m3u_proxy.lineup.plan import Fold
from m3u_proxy.lineup.streams import ChannelStreams, StreamDefaults
from m3u_proxy.lineup.survey import Survey
from m3u_proxy.lineup.surveys import Surveys
from m3u_proxy.lineup.watch import Watch
from m3u_proxy.lineup.windows import Windows, WindowShape
from m3u_proxy.model import Naming
from m3u_proxy.pool.accounts import Accounts
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.checkup import Checkup
from m3u_proxy.pool.workshop import Parts
from m3u_proxy.settings import Settings
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.headers import request_headers
from m3u_proxy.upstream.source import Source


def channel_streams(settings: Settings, channels: Channels, audience: Audience) -> ChannelStreams:
    """Who defines the stream of a channel when it is opened."""
    defaults = StreamDefaults(
        user_agent=settings.default_user_agent,
        request_headers=request_headers,
        strict_live_ts=settings.strict_live_ts,
        use_sticky_session=settings.use_sticky_session,
        silence=wiring.silence(settings),
    )
    return ChannelStreams(channels, audience, defaults)


@dataclass(frozen=True, slots=True)
class Lineups:
    """Who reads lineups, and their guides."""

    importer: Importer
    open_source: OpenSource
    guides: Guides
    watch: Watch | None
    """Of CHANNELS_M3U, if there is one."""


def lineups(settings: Settings, channels: Channels, parts: Parts) -> Lineups:
    """Documents are fetched with the same judge and the same wire as everything else."""

    def open_source(url: str, more: Mapping[str, str]) -> Source:
        headers = request_headers(url, settings.default_user_agent, more)
        return parts.open_source(Ask(url, headers))

    importer = Importer(channels, fold=Fold(settings.channels_fold))
    refresh, place = settings.channels_refresh, settings.channels_m3u
    return Lineups(
        importer=importer,
        open_source=open_source,
        guides=Guides(settings.state_dir, open_source, refresh=refresh),
        watch=Watch(place, importer, open_source, refresh=refresh) if place else None,
    )


def windows(settings: Settings, channels: Channels, audience: Audience, streams: ChannelStreams) -> Windows:
    """The HLS of channels."""
    dated = wiring.shapes(settings)[Naming.DATED]
    return Windows(
        channels,
        audience,
        streams.define,
        shape=WindowShape(dated.segment_duration, dated.window, settings.channel_cleanup_interval),
        patience=settings.stream_timeout,
    )


def surveys(channels: Channels, streams: ChannelStreams, checkup: Checkup, accounts: Accounts) -> Surveys:
    """Who finds out which channels can be played."""
    return Surveys(channels, lambda chosen: Survey(chosen, streams.define, checkup, accounts))
