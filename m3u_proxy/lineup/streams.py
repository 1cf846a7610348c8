"""Definitions of channels' streams, made when somebody opens one."""

from __future__ import annotations

import asyncio
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
    is in the lineup and enabled. ``run()`` ends what is left of others. Definitions that an editor has made
    of the same URL are the editor's.
    """

    def __init__(self, channels: Channels, audience: Audience, defaults: StreamDefaults) -> None:
        self._channels = channels
        self._audience = audience
        self._defaults = defaults
        self._lent: set[str] = set()
        """Ids of definitions that are in the catalog because of us."""
        self._gone: set[str] = set()
        """Ids of those whose channel cannot be opened any more."""
        self._is_due = asyncio.Event()
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
        self._lent = {stream_id for stream_id in self._lent if self._record(stream_id) is not None}
        for stream_id in self._lent:
            record = self._record(stream_id)
            key = record.stream.metadata.get("channel_key", "") if record is not None else ""
            if record is not None and key in changes:
                self._renew(record, changes[key])

    def _record(self, stream_id: str) -> Record | None:
        """A definition that is ours."""
        record = self._audience.catalog.get(stream_id)
        return None if record is None or record.lasting else record

    def _renew(self, record: Record, change: Channel | None) -> None:
        stream_id = record.stream.id
        channel = self._channels.of_stream(stream_id)
        if not record.listed:
            self._audience.catalog.remove(stream_id)  # and lent again to whoever asks
        elif channel is not None and channel.enabled:
            with suppress(InvalidField):  # then the old one is better than none
                self._audience.define(self.define(channel), lasting=False)
        elif change is None or not change.enabled:  # one that only got another URL is watched to its end
            self._gone.add(stream_id)
            self._is_due.set()

    async def run(self) -> None:
        """End what cannot be opened any more, until cancelled."""
        while True:
            await self._is_due.wait()
            self._is_due.clear()
            while self._gone:
                stream_id = self._gone.pop()
                channel = self._channels.of_stream(stream_id)
                if self._record(stream_id) is not None and (channel is None or not channel.enabled):
                    await self._audience.delete(stream_id, "manual_deletion")
