"""Definitions of channels' streams, made when somebody opens one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic

from m3u_proxy.errors import InvalidField
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.channels import Changes, Channels
from m3u_proxy.model import Origin, SilenceCheck, Stream
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.catalog import Record


@dataclass(frozen=True, slots=True)
class StreamDefaults:
    """What a definition says that nobody else has decided."""

    user_agent: str
    request_headers: Callable[[str, str, Mapping[str, str]], Mapping[str, str]]
    """Headers sent upstream: URL, user agent, the channel's own."""
    strict_live_ts: bool = False
    use_sticky_session: bool = False
    silence: SilenceCheck | None = None


class ChannelStreams:
    """Puts definitions into the catalog: one that is asked for by its id, and new ones of changed channels.

    What was opened stays listed as long as any other stream; its id can be opened for as long as the channel
    is in the lineup.
    """

    def __init__(self, channels: Channels, audience: Audience, defaults: StreamDefaults) -> None:
        self._channels = channels
        self._audience = audience
        self._defaults = defaults
        self._lent: set[str] = set()
        """Ids of definitions that are in the catalog because of us."""
        audience.catalog.on_missing = self._lend
        channels.subscribe(self._on_change)

    def define(self, channel: Channel) -> Stream:
        """The definition of its plain stream; raises ``InvalidField`` where its URL or a header is none."""
        defaults = self._defaults
        own = channel.headers
        agent = next((own[name] for name in own if name.lower() == "user-agent"), defaults.user_agent)
        return Stream(
            id=channel.stream_id,
            origin=Origin(channel.url, defaults.request_headers(channel.url, agent, own)),
            user_agent=agent,
            created_at=datetime.now(UTC),
            failover_urls=channel.failover_urls,
            metadata={"type": "channel", "channel_key": channel.key, "name": channel.name},
            headers=own,
            strict_live_ts=defaults.strict_live_ts,
            use_sticky_session=defaults.use_sticky_session,
            silence=defaults.silence,
        )

    def _lend(self, stream_id: str) -> None:
        """Somebody asks for a stream that the catalog does not know; a channel may have it."""
        channel = self._channels.of_stream(stream_id)
        if channel is not None and channel.enabled:
            self._audience.catalog.lend(self.define(channel), monotonic())
            self._lent.add(stream_id)

    def _on_change(self, changes: Changes) -> None:
        """Definitions of channels that are other ones now; what is watched goes on until nobody watches."""
        catalog = self._audience.catalog
        self._lent = {stream_id for stream_id in self._lent if catalog.get(stream_id) is not None}
        for stream_id in self._lent:
            record = catalog.get(stream_id)
            if record is not None and record.stream.metadata.get("channel_key") in changes:
                self._renew(record)

    def _renew(self, record: Record) -> None:
        stream_id = record.stream.id
        channel = self._channels.of_stream(stream_id)
        if not record.listed:
            self._audience.catalog.remove(stream_id)  # and lent again to whoever asks
        elif channel is not None:
            with suppress(InvalidField):  # then the old one is better than none
                self._audience.define(self.define(channel), lasting=False)
