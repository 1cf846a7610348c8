"""What a restart must not lose: definitions, channels, webhooks, and runs whose end was not told yet."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import Self

from m3u_proxy.errors import ProxyError
from m3u_proxy.events import Bus, Event, EventType
from m3u_proxy.ffmpeg.command.render import render
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.rows import Rows, lineup_of, row_of
from m3u_proxy.model import Stream
from m3u_proxy.observe import subscription
from m3u_proxy.observe.runs import Runs
from m3u_proxy.observe.subscription import Subscription
from m3u_proxy.observe.webhooks import Webhooks
from m3u_proxy.pool.catalog import Catalog, Record
from m3u_proxy.storage import definitions
from m3u_proxy.storage.registry import CLOSE_PATIENCE, Registry, Row, Table

log = logging.getLogger(__name__)

SEEN = "seen_at"
"""In the row of a definition: when it was last made, renewed or watched."""
LAST_WORDS = 2.0
"""Seconds in which webhooks are told of the end."""
WRITTEN_BY = 8.0
"""Seconds from the beginning of the end in which what has changed is still written: a whole lineup takes its
time. Supervisors kill after 10."""


class Keeping:
    """``async with``: what was kept is back before anybody is served, and is kept up to date until the end.

    Close what emits events first: the last of them are delivered while this is closed.
    """

    def __init__(
        self, registry: Registry, catalog: Catalog, channels: Channels, webhooks: Webhooks, bus: Bus
    ) -> None:
        self._registry = registry
        self._channels = channels
        self._catalog = catalog
        self._bus = bus
        self.webhooks = webhooks
        self._runs = Runs(lambda key, row: self._note(Table.RUNS, key, row))
        self._unreadable = 0
        self._end_began: float | None = None
        """Monotonic time."""

    async def __aenter__(self) -> Self:
        for key, row in self._registry.rows(Table.WEBHOOKS):
            self._restore_webhook(key, row)
        self.webhooks.on_change = self._on_webhook
        self.webhooks.on_settled = self._runs.settled
        self._bus.subscribe(self._runs.hear)
        self._bus.subscribe(self.webhooks.hear)
        interrupted = self._runs.recover(self._registry.rows(Table.RUNS), self._bus)
        rows = self._registry.rows(Table.STREAMS)
        for stream_id, row in rows:
            self._restore_stream(stream_id, row, was_running=stream_id in interrupted)
        self._catalog.on_put = self._on_put
        self._catalog.on_remove = lambda stream_id: self._note(Table.STREAMS, stream_id, None)
        self._bus.subscribe(self._hear)
        self._restore_channels()
        if rows or self.webhooks:
            log.info("%d streams and %d webhooks are back", len(self._catalog), len(self.webhooks))
        if self._unreadable:
            log.warning("%d entries of the registry are of no use and were deleted", self._unreadable)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.webhooks.aclose()
        began = monotonic() if self._end_began is None else self._end_began
        patience = max(CLOSE_PATIENCE, began + WRITTEN_BY - monotonic())
        await asyncio.to_thread(self._registry.close, patience)

    def hurry(self) -> None:
        """The end has begun: from now on webhooks have ``LAST_WORDS``, and the registry ``WRITTEN_BY``."""
        self._end_began = monotonic()
        self.webhooks.hurry(LAST_WORDS)

    def _note(self, table: Table, key: str, row: Row | None) -> None:
        if row is None:
            self._registry.delete(table, key)
        else:
            self._registry.put(table, key, row)

    # -- back from the registry ---------------------------------------------------------------------------

    def _restore_webhook(self, key: str, row: Row) -> None:
        try:
            wanted = subscription.subscription_of(row)
            if wanted.key != key:
                raise ValueError
            self.webhooks.register(wanted)
        except (ValueError, ProxyError):
            self._discard(Table.WEBHOOKS, key)

    def _restore_stream(self, stream_id: str, row: Row, *, was_running: bool) -> None:
        try:
            stream = definitions.stream_of(stream_id, row)
            _check_arguments(stream)
            idle = 0.0 if was_running else _age(row)
        except (ValueError, ProxyError):
            self._discard(Table.STREAMS, stream_id)
            return
        if not self._catalog.restore(stream, monotonic() - idle, idle):
            self._note(Table.STREAMS, stream_id, None)

    def _restore_channels(self) -> None:
        lineup, unreadable = lineup_of(self._registry.take_rows(Table.CHANNELS))
        for key in unreadable:
            self._discard(Table.CHANNELS, key)
        self._channels.install(lineup, {})
        if lineup.channels:
            log.info("%d channels are back", len(lineup.channels))
        rows = Rows(self._channels)
        self._channels.subscribe(
            lambda changes: self._registry.put_all(Table.CHANNELS, rows.of(changes), row_of)
        )

    def _discard(self, table: Table, key: str) -> None:
        self._unreadable += 1
        self._note(table, key, None)

    # -- into the registry --------------------------------------------------------------------------------

    def _on_put(self, record: Record) -> None:
        if record.lasting:
            row = definitions.row_of(record.renewal or record.stream)
            self._note(Table.STREAMS, record.stream.id, row | {SEEN: datetime.now(UTC).isoformat()})

    def _on_webhook(self, key: str, wanted: Subscription | None) -> None:
        self._note(Table.WEBHOOKS, key, subscription.row_of(wanted) if wanted else None)

    def _hear(self, event: Event) -> None:
        """When a run is over, its definition has been seen for the last time."""
        if event.type is EventType.STREAM_STOPPED:
            record = self._catalog.get(event.stream_id)
            if record is not None:
                self._on_put(record)


def _age(row: Mapping[str, object]) -> float:
    """Seconds since the definition was last seen; never less than none, whatever the clocks say."""
    seen = datetime.fromisoformat(str(row.get(SEEN)))
    if seen.tzinfo is None:
        raise ValueError(f"{SEEN} has no offset")
    return max(0.0, (datetime.now(UTC) - seen).total_seconds())


def _check_arguments(stream: Stream) -> None:
    """What FFmpeg is started with passes the allow-list of today; raises what `render` does."""
    transcode = stream.transcode
    if transcode is None:
        return
    rendered = render(
        transcode.template,
        transcode.variables,
        input_url=stream.origin.url,
        output_format=transcode.output_format,
    )
    if (rendered.arguments, rendered.output) != (transcode.arguments, transcode.output):
        raise ValueError("the arguments are not those of the template")
