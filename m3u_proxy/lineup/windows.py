"""Channels as HLS that holds their last few seconds: defined when opened, kept open on request, and shown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Literal

from m3u_proxy.errors import InvalidField, NoSuchChannel, ProxyError
from m3u_proxy.ffmpeg.command.render import render
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.channels import Changes, Channels
from m3u_proxy.model import Client, Naming, State, Stream, Transcode, plain_id
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.viewers import Viewer

log = logging.getLogger(__name__)

TICK = 0.5
"""Seconds between two looks at what is kept open."""
PROFILE = "channel"
HOLDER = "channel_start"
"""Id of the client that stands for whoever has started a channel."""
_TEMPLATE = "-i {input_url} -map 0:v:0? -map 0:a:0? -c copy -f hls"

Process = Literal["running", "starting", "stopped", "failed"]
"""What a channel's FFmpeg does."""


@dataclass(frozen=True, slots=True)
class WindowShape:
    """What is on disk of a channel: seconds, segments, and seconds for which old ones stay."""

    segment_duration: float
    max_segments: int
    cleanup_interval: float


@dataclass(frozen=True, slots=True)
class WindowStatus:
    """A channel's HLS at one moment."""

    channel: Channel
    process: Process
    is_tidied: bool
    """Whether old segments are being removed."""
    is_listed: bool
    """Whether there is a playlist."""
    segments: int
    """In the playlist."""
    seconds: float
    """How long they are."""
    reason: str | None = None
    """Why it has failed."""


@dataclass(slots=True)
class _Hold:
    """A channel that is kept open by request."""

    viewer: Viewer
    watched_at: float
    """Monotonic time at which somebody else was there for the last time."""


class Windows:
    """The HLS form of channels. ``run()`` keeps open what was started.

    A channel's window is a stream of its own, which reads the same source as the channel's plain stream. Its
    definition comes with whoever asks first, and goes like any other that nobody uses.
    ``define`` makes the plain definition of a channel; ``patience`` is how many seconds a channel that was
    started stays open without viewers.
    """

    def __init__(
        self,
        channels: Channels,
        audience: Audience,
        define: Callable[[Channel], Stream],
        *,
        shape: WindowShape,
        patience: float,
    ) -> None:
        self.shape = shape
        self._channels = channels
        self._audience = audience
        self._define = define
        self._patience = patience
        self._keys: dict[str, str] = {}
        """Key of the channel by the id of its window, of those that are defined."""
        self._holds: dict[str, _Hold] = {}
        """By the same id."""
        self._stopped: set[str] = set()
        """Ids that were stopped by request and not opened since: how they failed before is of no interest."""
        self._gone: set[str] = set()
        """Ids whose channel cannot be opened any more."""
        channels.subscribe(self._on_change)

    # -- definitions ------------------------------------------------------------------------------------

    def id_of(self, key: str) -> str:
        """Id of a channel's window; raises ``NoSuchChannel``."""
        return window_id(self._channels.get(key).key)

    def open(self, key: str) -> str:
        """The id of a channel's window, which is defined now; raises ``NoSuchChannel``."""
        channel = self._channels.get(key)
        if not channel.enabled:
            raise NoSuchChannel
        stream_id = window_id(key)
        if self._audience.catalog.get(stream_id) is None:
            self._audience.define(self._windowed(channel), lasting=False)
        self._keys[stream_id] = key
        self._gone.discard(stream_id)
        self._stopped.discard(stream_id)
        return stream_id

    def _windowed(self, channel: Channel) -> Stream:
        plain = self._define(channel)
        rendered = render(_TEMPLATE, {}, input_url=plain.origin.url, output_format="mpegts")
        transcode = Transcode(
            profile=PROFILE,
            template=_TEMPLATE,
            variables={"input_url": plain.origin.url},
            output_format="mpegts",
            arguments=rendered.arguments,
            output=rendered.output,
            container=rendered.container,
            content_type=rendered.content_type,
            naming=Naming.DATED,
        )
        return replace(plain, id=window_id(channel.key), transcode=transcode)

    def _on_change(self, changes: Changes) -> None:
        """Windows of channels that are others now begin anew when nobody watches.

        They end of those that are gone or disabled.
        """
        for stream_id, key in self._keys.items():
            if key not in changes:
                continue
            channel = changes[key]
            if channel is None or not channel.enabled:
                self._gone.add(stream_id)
                continue
            self._gone.discard(stream_id)
            if self._audience.catalog.get(stream_id) is not None:
                with suppress(InvalidField):  # then the old one is better than none
                    self._audience.define(self._windowed(channel), lasting=False)

    # -- started and stopped by request -----------------------------------------------------------------

    def is_held(self, key: str) -> bool:
        """Whether it was started and not stopped since."""
        return window_id(key) in self._holds

    def hold(self, key: str) -> HlsWriter:
        """Keep a channel open until ``release``, or until nobody else has been there for long.

        Raises ``NoSuchChannel``, and why nothing can be started.
        """
        stream_id = self.open(key)
        writer, viewer = self._poll(stream_id)
        self._holds[stream_id] = _Hold(viewer, monotonic())
        return writer

    def _poll(self, stream_id: str) -> tuple[HlsWriter, Viewer]:
        client = Client(HOLDER, stream_id, "internal", "m3u_proxy", None, datetime.now(UTC))
        thing, viewer = self._audience.poll(stream_id, client)
        assert isinstance(thing, HlsWriter)
        return thing, viewer

    def release(self, key: str, reason: str) -> None:
        """No longer keep it open; who watches goes on. Idempotent."""
        hold = self._holds.pop(window_id(key), None)
        if hold is not None:
            self._audience.leave(hold.viewer, reason)

    async def stop(self, key: str) -> None:
        """End a channel's FFmpeg, whoever watches; returns when it has ended. Raises ``NoSuchChannel``."""
        stream_id = self.id_of(key)
        self.release(key, "stopped")
        if self._audience.catalog.get(stream_id) is not None:
            self._stopped.add(stream_id)
            await self._audience.stop(stream_id, "stopped")

    async def run(self) -> None:
        """Keep open what was started, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.look(monotonic())
            while self._gone:
                stream_id = self._gone.pop()
                if self._audience.catalog.get(stream_id) is not None:
                    await self._audience.delete(stream_id, "manual_deletion")

    def look(self, now: float) -> None:
        """Everything that is due at ``now``, monotonic seconds."""
        catalog = self._audience.catalog
        self._keys = {one: key for one, key in self._keys.items() if catalog.get(one) is not None}
        self._stopped.intersection_update(self._keys)
        for stream_id, hold in list(self._holds.items()):
            if not self._keep(stream_id, hold, now):
                del self._holds[stream_id]

    def _keep(self, stream_id: str, hold: _Hold, now: float) -> bool:
        """Ask as a viewer would, so that what failed starts again; whether it is to be kept on."""
        record = self._audience.catalog.get(stream_id)
        if hold.viewer.ended is not None or record is None:
            return False
        if any(one is not hold.viewer for one in self._audience.viewers.of(stream_id)):
            hold.watched_at = now
        elif now - hold.watched_at >= self._patience:
            self._audience.leave(hold.viewer, "inactive_timeout")
            return False
        elif record.renewal is not None:  # it waits until nobody watches, and nobody but us does
            self._audience.leave(hold.viewer, "renewed")
        try:
            _, hold.viewer = self._poll(stream_id)
        except ProxyError as error:
            log.debug("a channel that was started is not open: %s", error.detail, extra={"stream": stream_id})
        return True

    # -- shown ------------------------------------------------------------------------------------------

    def status(self, key: str) -> WindowStatus:
        """One channel's HLS now; raises ``NoSuchChannel``."""
        return self._status(self._channels.get(key))

    def statuses(self) -> list[WindowStatus]:
        """Of every channel whose HLS is not stopped."""
        found = [self.status(key) for key in self._keys.values() if key in self._channels]
        return [one for one in found if one.process != "stopped"]

    def _status(self, channel: Channel) -> WindowStatus:
        stream_id = window_id(channel.key)
        record = self._audience.catalog.get(stream_id)
        writer = self._audience.playlists(stream_id)
        if not isinstance(writer, HlsWriter):
            is_shown = record is not None and stream_id not in self._stopped
            refusal = self._audience.pool.refusal(record.stream) if record is not None and is_shown else None
            return WindowStatus(
                channel,
                process="failed" if refusal else "stopped",
                is_tidied=False,
                is_listed=False,
                segments=0,
                seconds=0.0,
                reason=refusal.reason if refusal else None,
            )
        listed = writer.timeline.listed()
        return WindowStatus(
            channel,
            process=_process(writer),
            is_tidied=writer.state is not State.FAILED,
            is_listed=writer.is_warm,
            segments=len(listed),
            seconds=sum(entry.duration for entry in listed),
            reason=writer.error.reason if writer.error else None,
        )


def window_id(key: str) -> str:
    """Id of the stream that is a channel's window: the same for ever, whatever its source."""
    return plain_id(f"channel|{key}")


def _process(writer: HlsWriter) -> Process:
    if writer.state is State.FAILED:
        return "failed"
    return "running" if writer.is_warm and writer.state is State.LIVE else "starting"
