"""Definitions and who watches them: what the web layer talks to.

Everything here is synchronous except ``delete``, ``run`` and ``aclose``: counts drop in the same step in
which a viewer leaves, and reads never wait for anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic

from m3u_proxy.errors import NotPossible, Unavailable, Unusable
from m3u_proxy.events import Bus
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.model import Client, Kind, Stream
from m3u_proxy.pool.catalog import Catalog, Record
from m3u_proxy.pool.entry import Entry
from m3u_proxy.pool.herald import Herald
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.live.outlet import PeerWatch
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.pool.moves import Moves
from m3u_proxy.pool.pool import Pool
from m3u_proxy.pool.sending import Sending
from m3u_proxy.pool.supply import Supply
from m3u_proxy.pool.viewers import Viewer, ViewerTable
from m3u_proxy.pool.vod.about import About
from m3u_proxy.upstream.failover import Failover

TICK = 0.25
"""Seconds between two sweeps."""
STOP_AFTER = 2.5
"""Seconds from the last viewer's leaving to ``stream_stopped``; with a late sweep still less than 3."""
TARGETS = 3
"""Target durations for which an HLS viewer may be silent."""


class Audience:
    """Streams, their viewers, and the pool that serves them. ``run()`` is its sweeper.

    ``max_viewers`` 0 means any number; ``patience`` is the least time in seconds after which a silent HLS
    viewer counts as gone.
    """

    def __init__(
        self, pool: Pool, catalog: Catalog, bus: Bus, peers: PeerWatch, *, max_viewers: int, patience: float
    ) -> None:
        self.pool = pool
        self.catalog = catalog
        self.viewers = ViewerTable()
        self.moves = Moves()
        self.draining = False
        self.tally = pool.tally
        self._herald = Herald(bus, catalog, self.viewers)
        self._max_viewers = max_viewers
        self._patience = patience
        self.peers = peers
        self.sending = Sending()
        """Segments on their way."""
        pool.on_failure = self._herald.failed
        pool.on_switch = self._herald.switched

    def define(self, stream: Stream, *, lasting: bool = True) -> Stream:
        """Add or renew a definition; contacts nobody. Answers the definition in force.

        A ``lasting`` one is there again after a restart.
        """
        now = monotonic()
        known = self.catalog.get(stream.id)
        watched = self.viewers.count(stream.id) > 0
        if known is not None and not watched and known.stream.metadata != stream.metadata:
            # Whoever was told of the old ones, and holds a provider's slot for them, is told that they ended.
            self._herald.stopped(known, "last_client_disconnected" if known.opened else "redefined")
        record, begins = self.catalog.put(stream, now, watched=watched, lasting=lasting)
        supply = self.pool.supply(record.stream) if record.renewal is not None else None
        if supply is not None and record.renewal is not None and record.stream.transcode is None:
            supply.workshop.renew(record.renewal)
        if known is not None and known.stream.key != record.stream.key:
            self.pool.supersede(known.stream, record.stream)
        if begins:
            self._herald.started(record)
        return record.stream

    async def delete(self, stream_id: str, reason: str) -> None:
        """Cut the viewers of a stream, end what nobody else uses, forget the definition.

        When it returns the upstream socket is closed and the counts have dropped. Raises ``NotFound``.
        """
        await self.delete_all([self.catalog.find(stream_id)], reason)

    async def delete_all(self, records: Sequence[Record], reason: str, **told: object) -> None:
        """The same for several: all counts drop in the first step, then their sources close side by side.

        ``told`` goes into their ``stream_stopped``.
        """
        for record in records:
            for viewer in self.viewers.of(record.stream.id):
                self.cut(viewer, reason)
            self._herald.stopped(record, reason, **told)
            self.catalog.remove(record.stream.id)
        await self.pool.give_up(*(record.stream for record in records))
        for record in records:
            self.pool.forgive(record.stream)

    async def stop(self, stream_id: str, reason: str) -> None:
        """Cut the viewers of a stream and end what nobody else uses; who asks again starts it again.

        When it returns, what runs only for this stream has ended. Raises ``NotFound``.
        """
        record = self.catalog.find(stream_id)
        for viewer in self.viewers.of(stream_id):
            self.cut(viewer, reason)
        self._herald.stopped(record, reason)
        await self.pool.give_up(record.stream)

    def cut(self, viewer: Viewer, reason: str) -> None:
        """A viewer is to go: its connections are cut and the counts drop at once. Idempotent."""
        viewer.end(reason)
        self.leave(viewer, reason)
        for newcomer in self.moves.of(viewer):
            if self.viewers.named(newcomer.client.stream_id, newcomer.name) is None:
                self.cut(newcomer, reason)

    # -- viewers ----------------------------------------------------------------------------------------

    def kind(self, stream_id: str) -> Kind:
        """What a stream yields, as far as that is known; raises ``NotFound``."""
        return self.pool.kind(self.catalog.find(stream_id).stream)

    def watch(
        self, stream_id: str, client: Client, *, is_seek: bool = False
    ) -> tuple[Supply | Relay, Viewer]:
        """A player opens a body: what is behind it, and the player's place there. Undone by ``leave``.

        ``is_seek``: it wants only a later part, if this is a file. It may then be a viewer who moves.
        """
        record = self.catalog.find(stream_id)
        self._renew(record)
        is_part = is_seek and self.pool.kind(record.stream) is Kind.VOD
        may_move = is_part and self.viewers.named(stream_id, client.id) is not None
        self._check_admission(new=not may_move)
        entry = self.pool.acquire(record.stream, is_seek=is_seek)
        assert isinstance(entry.thing, Supply | Relay)
        viewer = _placed(entry, client, is_hls=False)
        if may_move:
            self.moves.add(viewer)
        else:
            self._admit(record, viewer)
        return entry.thing, viewer

    @asynccontextmanager
    async def peek(self, stream_id: str) -> AsyncIterator[Supply]:
        """What is behind a plain stream, held for a look by nobody who counts as a viewer."""
        record = self.catalog.find(stream_id)
        self._check_admission()
        entry = self.pool.acquire(record.stream)
        assert isinstance(entry.thing, Supply)
        entry.hold()
        try:
            yield entry.thing
        finally:
            entry.release()

    def about(self, stream_id: str) -> About | None:
        """What is known of a file; raises ``NotFound``."""
        return self.pool.about(self.catalog.find(stream_id).stream)

    def poll(self, stream_id: str, client: Client) -> tuple[Supply | HlsWriter, Viewer]:
        """A player asks for a playlist or segment: what is behind it, and the player's place there.

        The first request makes the place, later ones keep it; it is lost after a while without any.
        """
        record = self.catalog.find(stream_id)
        self._renew(record)
        viewer = self.viewers.get(stream_id, client.id)
        self._check_admission(new=viewer is None)
        entry = self.pool.acquire(record.stream)
        assert isinstance(entry.thing, Supply | HlsWriter)
        if viewer is None:
            viewer = _placed(entry, client, is_hls=True)
            self._admit(record, viewer)
        else:
            _hold(entry, stream_id)
            viewer.release()
            viewer.release = entry.release
        viewer.seen_at = monotonic()
        viewer.last_access = datetime.now(UTC)
        return entry.thing, viewer

    def _renew(self, record: Record) -> None:
        """A definition that changed while it was watched applies now that nobody watches it."""
        if record.renewal is not None and not self.viewers.count(record.stream.id):
            old, record.stream, record.renewal = record.stream, record.renewal, None
            self.pool.supersede(old, record.stream)

    def playlists(self, stream_id: str) -> HlsWriter | Passthrough | None:
        """Where the playlists of a stream come from if it runs; starts nothing."""
        record = self.catalog.get(stream_id)
        entry = self.pool.find(record.stream) if record else None
        thing: object = entry.thing if entry else None
        if isinstance(thing, Supply):
            thing = thing.inner
        return thing if isinstance(thing, HlsWriter | Passthrough) else None

    def _check_admission(self, *, new: bool = True) -> None:
        if self.draining:
            raise Unavailable("The proxy is shutting down", reason="draining", retry_after=3.0)
        limit = self._max_viewers
        if new and limit and len(self.viewers) >= limit:
            self.tally.rejected["max_viewers"] += 1
            raise Unavailable(f"Limit of {limit} viewers reached (MAX_VIEWERS)", reason="max_viewers")

    def _admit(self, record: Record, viewer: Viewer) -> None:
        """It counts from now on, under an id of its own."""
        client = viewer.client
        try:
            viewer.client = replace(client, id=self.viewers.free_id(client.stream_id, client.id))
            self.viewers.add(viewer)
            record.idle_since, record.opened, record.listed, record.failed = None, True, True, None
            if not record.running:
                self._herald.started(record)
            self._herald.connected(record, viewer.client)
        except BaseException:  # nobody else would give its place back
            self.viewers.remove(viewer)
            viewer.release()
            raise

    def _settle(self, newcomer: Viewer) -> None:
        """It has not moved: it is another device."""
        self.moves.discard(newcomer)
        try:
            self._check_admission()
        except Unavailable as full:
            newcomer.end(full.reason)
            self._give_up(newcomer)
        else:
            self._admit(self.catalog.find(newcomer.client.stream_id), newcomer)

    def leave(self, viewer: Viewer, reason: str) -> None:
        """A viewer has gone: counts drop at once, unless it has moved. Idempotent."""
        if self.moves.discard(viewer):
            self._give_up(viewer)
            return
        if not self.viewers.remove(viewer):
            return
        viewer.release()
        if viewer.ended is None and (newcomers := self.moves.of(viewer)):
            self.moves.discard(newcomers[0])
            newcomers[0].take_over(viewer)
            self.viewers.add(newcomers[0])
            return
        self.tally.left[reason] += 1
        record = self.catalog.get(viewer.client.stream_id)
        if record is None:
            return
        self.tally.bytes_out[self.pool.kind(record.stream)] += viewer.bytes_served
        record.bytes_served += viewer.bytes_served
        record.segments_served += viewer.segments
        record.last_access = datetime.now(UTC)
        if not self.viewers.count(record.stream.id):
            record.idle_since = monotonic()
        self._herald.disconnected(record, viewer, reason)

    def _give_up(self, newcomer: Viewer) -> None:
        """It left before it was anybody: what it took goes to whom it may have come from."""
        newcomer.release()
        viewer = self.viewers.named(newcomer.client.stream_id, newcomer.name)
        if viewer is not None:
            viewer.base_bytes += newcomer.bytes_served
            viewer.segments += newcomer.segments

    # -- time and endings -------------------------------------------------------------------------------

    async def fail_over(self, stream_id: str) -> Failover:
        """Take another source now; every viewer stays. Raises NotFound, NotPossible, Unusable."""
        stream = self.catalog.find(stream_id).stream
        if not stream.failover_urls and stream.failover_resolver_url is None:
            raise NotPossible("No failover is configured for this stream", reason="no_failover")
        supply = self.pool.supply(stream)
        if supply is None:
            raise Unusable("Nobody watches the stream now, so there is no source to leave")
        await supply.workshop.attempts.switch()
        return supply.workshop.attempts.failover

    def sweep(self, now: float) -> None:
        """Everything whose time is up. No ``await`` in here."""
        for viewer in self.moves.settled(now):
            self._settle(viewer)
        for viewer in self.viewers.silent(now, self._patience, self._hls_patience):
            self.leave(viewer, "timeout")
        for record in self.catalog:
            idle = record.idle_since
            if record.running and record.opened and idle is not None and now - idle >= STOP_AFTER:
                self._herald.stopped(record, "last_client_disconnected")
        for record in self.catalog.expire(now):
            waited = self.catalog.patience(record)
            self._herald.stopped(record, "inactive_timeout", timeout_seconds=waited)
        self.peers.look(now)
        self.pool.sweep(now)

    def _hls_patience(self, viewer: Viewer) -> float:
        playlists = self.playlists(viewer.client.stream_id)
        return max(self._patience, TARGETS * playlists.target if playlists else 0)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self.sweep(monotonic())

    async def aclose(self, reason: str) -> None:
        """Cut every endless body and end every running thing; segments on their way may still arrive."""
        self.draining = True
        for viewer in [*self.moves, *self.viewers]:
            self.leave(viewer, reason)
            if not viewer.is_hls:
                viewer.end(reason)
        for record in self.catalog:
            self._herald.stopped(record, reason)
        await self.pool.aclose()


def _placed(entry: Entry, client: Client, *, is_hls: bool) -> Viewer:
    """A viewer with a place at what runs, whom nobody counts yet."""
    viewer = Viewer(client, entry.release, monotonic(), client.created_at, is_hls=is_hls)
    _hold(entry, client.stream_id)
    return viewer


def _hold(entry: Entry, stream_id: str) -> None:
    entry.hold()
    entry.streams.add(stream_id)
