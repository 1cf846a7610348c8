"""From settings to channels as HLS, and to those who check them."""

from __future__ import annotations

from math import ceil

from m3u_proxy.ffmpeg.command.shape import SEGMENT_SECONDS, WINDOW_SEGMENTS, HlsOptions, within
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.streams import ChannelStreams
from m3u_proxy.lineup.survey import Survey
from m3u_proxy.lineup.surveys import Surveys
from m3u_proxy.lineup.windows import Windows, WindowShape
from m3u_proxy.model import Naming
from m3u_proxy.pool.accounts import Accounts
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.checkup import Checkup
from m3u_proxy.settings import Settings

KEEP_EXTRA = 2
"""Segments served after they have left the playlist."""
LINGER = 0.8
"""Part of CHANNEL_CLEANUP_INTERVAL for which a channel's are: what is done about it takes time, too."""


def shapes(settings: Settings) -> dict[Naming, HlsOptions]:
    """What HLS output looks like, where nobody says otherwise: of a transcode, and of a channel."""
    seconds = within(settings.channel_segment_duration, SEGMENT_SECONDS)
    window = within(settings.channel_max_segments, WINDOW_SEGMENTS)
    linger = LINGER * settings.channel_cleanup_interval
    extra = min(ceil(linger / seconds) + KEEP_EXTRA, WINDOW_SEGMENTS[1])
    return {
        Naming.NUMBERED: HlsOptions(settings.hls_segment_duration, settings.hls_window, KEEP_EXTRA),
        Naming.DATED: HlsOptions(seconds, window, extra, Naming.DATED, linger),
    }


def windows(settings: Settings, channels: Channels, audience: Audience, streams: ChannelStreams) -> Windows:
    """The HLS of channels."""
    dated = shapes(settings)[Naming.DATED]
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
