"""Tells what happens to streams and their viewers: each thing once, with the stream's metadata."""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import UTC, datetime

from m3u_proxy.errors import ProxyError
from m3u_proxy.events import Bus, EventType
from m3u_proxy.model import Client, Stream
from m3u_proxy.pool.catalog import Catalog, Record
from m3u_proxy.pool.sources.attempts import Switch
from m3u_proxy.pool.viewers import Viewer, ViewerTable

log = logging.getLogger(__name__)


class Herald:
    """Events about the definitions of a catalogue and the viewers of a table."""

    def __init__(self, bus: Bus, catalog: Catalog, viewers: ViewerTable) -> None:
        self._bus = bus
        self._catalog = catalog
        self._viewers = viewers

    def _emit(self, type_: EventType, record: Record, **data: object) -> None:
        self._bus.emit(type_, record.stream.id, metadata=record.stream.metadata, **data)

    def started(self, record: Record) -> None:
        """A run has begun."""
        record.running = True
        stream = record.stream
        self._emit(
            EventType.STREAM_STARTED,
            record,
            primary_url=stream.origin.url,
            failover_urls=list(stream.failover_urls),
            user_agent=stream.user_agent,
            stream_type="transcoded" if stream.transcode else "hls" if stream.kind.is_hls else "direct",
            **_transcoding(stream),
        )

    def stopped(self, record: Record, reason: str, **more: object) -> None:
        """A run is over; only the first word about that counts. ``more`` is told with it."""
        if record.running:
            record.running = False
            self._emit(
                EventType.STREAM_STOPPED,
                record,
                reason=reason,
                bytes_served=record.bytes_served,
                was_transcoded=record.stream.transcode is not None,
                **more,
            )

    def connected(self, record: Record, client: Client) -> None:
        """A viewer has come."""
        log.info(
            "viewer joined",
            extra={"stream": client.stream_id, "viewer": client.id, "peer": client.ip_address},
        )
        self._emit(
            EventType.CLIENT_CONNECTED,
            record,
            client_id=client.id,
            user_agent=client.user_agent,
            ip_address=client.ip_address,
            username=client.username,
            stream_client_count=self._viewers.count(client.stream_id),
        )

    def disconnected(self, record: Record, viewer: Viewer, reason: str) -> None:
        """A viewer has gone."""
        client = viewer.client
        log.info(
            "viewer left: %s, %d bytes",
            reason,
            viewer.bytes_served,
            extra={"stream": client.stream_id, "viewer": client.id, "peer": client.ip_address},
        )
        self._emit(
            EventType.CLIENT_DISCONNECTED,
            record,
            client_id=viewer.client.id,
            bytes_served=viewer.bytes_served,
            segments_served=viewer.segments,
            reason=reason,
        )
        if record.failed is not None and not self._viewers.count(record.stream.id):
            self.stopped(record, record.failed)

    def failed(self, stream_ids: Collection[str], error: ProxyError, switches: int) -> None:
        """What these streams had in common has failed for good, after so many other sources."""
        for record in self._records(stream_ids):
            log.warning("stream failed: %s", error.detail, extra={"stream": record.stream.id})
            record.errors += 1
            self._emit(
                EventType.STREAM_FAILED,
                record,
                error=error.detail,
                error_type=type(error).__name__,
                reason=error.reason,
                retry_count=switches,
            )
            record.failed = error.reason
            if not self._viewers.count(record.stream.id):
                self.stopped(record, error.reason)

    def switched(self, stream_ids: Collection[str], switch: Switch) -> None:
        """Another source has taken over for these streams."""
        for record in self._records(stream_ids):
            record.failover_at = datetime.now(UTC)
            who = {"stream": record.stream.id}
            log.warning("failover to source %d: %s", switch.index, switch.reason, extra=who)
            self._emit(
                EventType.FAILOVER_TRIGGERED,
                record,
                old_url=switch.old_url,
                new_url=switch.new_url,
                failover_index=switch.index,
                attempt_number=switch.attempts,
                reason=switch.reason,
                client_count=self._viewers.count(record.stream.id),
            )

    def _records(self, stream_ids: Collection[str]) -> list[Record]:
        found = (self._catalog.get(stream_id) for stream_id in stream_ids)
        return [record for record in found if record is not None]


def _transcoding(stream: Stream) -> dict[str, object]:
    """What FFmpeg is to make of it, if it does."""
    transcode = stream.transcode
    if transcode is None:
        return {}
    return {
        "profile": transcode.profile,
        "profile_variables": dict(transcode.variables),
        "ffmpeg_args": list(transcode.arguments),
    }
