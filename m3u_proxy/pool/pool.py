"""Stream key -> the one running thing behind it, for everybody who wants it.

Decisions are synchronous: there is no ``await`` between looking a key up and inserting it, and a key leaves
the table before the first ``await`` of its closing. A new thing under the key of one that is still closing
waits until that has let go of its upstream, so that a provider never sees two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from time import monotonic

from m3u_proxy.errors import ProxyError, Unavailable
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.ffmpeg.transcoder import Transcoder
from m3u_proxy.model import Kind, RunSnapshot, Stream, StreamKey
from m3u_proxy.pool.entry import Entry, Thing
from m3u_proxy.pool.refusals import Refusals
from m3u_proxy.pool.sources.attempts import Switch
from m3u_proxy.pool.sources.history import LENGTH, Moment
from m3u_proxy.pool.sources.respawns import Respawns
from m3u_proxy.pool.supply import Supply
from m3u_proxy.pool.vod.about import About
from m3u_proxy.pool.workshop import Parts, Workshop


class Pool:
    """All running things. ``grace`` seconds after the last holder has left, a thing is closed."""

    def __init__(self, parts: Parts, *, transcoder: Transcoder, max_ffmpeg: int, grace: float) -> None:
        self.parts = parts
        self.tally = parts.tally
        self._transcoder = transcoder
        self._max_ffmpeg = max_ffmpeg
        self._grace = grace
        self._entries: dict[StreamKey, Entry] = {}
        self._closing: dict[StreamKey, asyncio.Task[None]] = {}
        self._refusals = Refusals()
        parts.accounts.on_need = self._make_room
        self.on_failure: Callable[[Collection[str], ProxyError, int], None] = lambda *_: None
        """Told the ids of the streams that used a thing which failed, why, and after how many others."""
        self.on_switch: Callable[[Collection[str], Switch], None] = lambda _, __: None
        """Told the ids of the streams whose source was replaced by another."""

    # -- what is there --------------------------------------------------------------------------------

    def find(self, stream: Stream) -> Entry | None:
        """What runs behind a stream, if anything does."""
        return self._entries.get(stream.key)

    def supply(self, stream: Stream) -> Supply | None:
        """The source that a stream reads from, if it runs."""
        entry = self._entries.get(stream.origin.key)
        thing = entry.thing if entry is not None else None
        return thing if isinstance(thing, Supply) else None

    def kind(self, stream: Stream) -> Kind:
        """What a stream yields: as its source has shown, or as its URL looks if that was never asked."""
        trace = self.parts.memory.get(stream.key) if stream.transcode is None else None
        return trace.kind if trace is not None and trace.kind is not None else stream.kind

    def about(self, stream: Stream) -> About | None:
        """What has been learnt of a file."""
        trace = self.parts.memory.get(stream.origin.key)
        return trace.about if trace is not None else None

    def history(self, stream: Stream) -> list[Moment]:
        """What happened to a stream's source, and to the FFmpeg behind it, oldest first."""
        traces = (self.parts.memory.get(key) for key in {stream.key, stream.origin.key})
        moments = (moment for trace in traces if trace for moment in trace.history.moments())
        return sorted(moments, key=lambda one: one.at)[-LENGTH:]

    def refusal(self, stream: Stream) -> ProxyError | None:
        """Why it failed a short while ago, if it did and has not run well since."""
        return self._refusals.get(stream.key) or self._refusals.get(stream.origin.key)

    def running(self) -> list[RunSnapshot]:
        """Every running thing now."""
        return [entry.thing.snapshot() for entry in self._entries.values()]

    # -- what begins ----------------------------------------------------------------------------------

    def acquire(self, stream: Stream, *, is_seek: bool = False) -> Entry:
        """The entry behind a stream, started if there is none. Synchronous from look-up to insertion.

        ``is_seek``: only a later part of a file is wanted.
        """
        entry = self._entries.get(stream.key)
        if entry is not None:
            if entry.thing.error is not None:  # it is being ended
                raise entry.thing.error.again()
            return entry
        self._check_refusal(stream.key, stream)
        upstream = None
        if stream.transcode is not None:
            self._check_ffmpeg()
            if stream.kind is Kind.TRANSCODE_HLS:
                self._transcoder.admit()
            upstream = self._entries.get(stream.origin.key)
            if upstream is None:
                self._check_refusal(stream.origin.key, stream)
                upstream = self._start(self._supply(stream, is_seek=False), None)
            return self._start(self._transcode(stream, upstream), upstream)
        return self._start(self._supply(stream, is_seek=is_seek), None)

    def _transcode(self, stream: Stream, upstream: Entry) -> Thing:
        feed = upstream.thing
        assert isinstance(feed, Supply)
        if stream.kind is not Kind.TRANSCODE_HLS:
            assert stream.transcode is not None
            return self.parts.make_relay(
                stream.key,
                stream.kind,
                Respawns(self._transcoder.pipe(stream, feed), self.parts.memory.of(stream.key).history),
                container=stream.transcode.container,
            )
        writer = self._transcoder.writer(stream, feed)
        history = self.parts.memory.of(stream.key).history
        writer.on_restart = lambda error: history.replaced(error.reason, error.detail)
        trace = self.parts.memory.get(stream.key)
        if trace is not None and trace.mark is not None:
            writer.timeline.follow(trace.mark)
        return writer

    def _supply(self, stream: Stream, *, is_seek: bool) -> Supply:
        workshop = Workshop(self.parts, stream, lambda switch: self._on_switch(stream.origin.key, switch))
        return Supply(
            stream.origin.key,
            workshop.guess,
            workshop,
            strict=stream.strict_live_ts,
            is_seek=is_seek,
        )

    def _on_switch(self, key: StreamKey, switch: Switch) -> None:
        entry = self._entries.get(key)
        if entry is not None:
            self.on_switch(self._watched_through(entry), switch)

    def _watched_through(self, entry: Entry) -> set[str]:
        """Ids of the streams that read from a source, directly or through FFmpeg."""
        dependants = (one.streams for one in self._entries.values() if one.upstream is entry)
        return entry.streams.union(*dependants)

    def _start(self, thing: Thing, upstream: Entry | None) -> Entry:
        entry = Entry(thing, upstream)
        if isinstance(thing, Supply):
            thing.is_watched = lambda: entry.leases > 0
        entry.start(self._closing.get(thing.key), self._on_end)
        self._entries[thing.key] = entry
        return entry

    def _check_ffmpeg(self) -> None:
        self._transcoder.check()
        limit = self._max_ffmpeg
        transcodes = [entry for entry in self._entries.values() if entry.upstream is not None]
        if not limit or len(transcodes) < limit:
            return
        idle = [entry for entry in transcodes if not entry.leases]
        if idle:  # somebody has changed the channel: the old one gives up its place
            for entry in self.unused(min(idle, key=lambda one: one.idle_since)):
                self._begin_close(entry)
        else:
            self.tally.rejected["max_ffmpeg"] += 1
            raise Unavailable(f"Limit of {limit} FFmpeg processes reached (MAX_FFMPEG)", reason="max_ffmpeg")

    def _check_refusal(self, key: StreamKey, stream: Stream) -> None:
        """Raise the failure that is still answered from memory, if there is one."""
        now = monotonic()
        self._refusals.check(key, now, may_ask=lambda: self._may_ask(stream, now))

    def _may_ask(self, stream: Stream, now: float) -> bool:
        """Whether one of its sources may be asked: another channel may have shown that it works."""
        urls = (stream.origin.url, *stream.failover_urls)
        return any(self.parts.pacer.earliest(url, now) <= now for url in urls)

    # -- what ends ------------------------------------------------------------------------------------

    def _on_end(self, entry: Entry) -> None:
        """An entry's life is over; it may have been closed by us, or have failed by itself."""
        if entry.upstream is not None:
            entry.upstream.release(idle_for=self._grace)  # it had its grace already
        self._take_out(entry)
        if entry.failure is not None:
            self._refusals.note(entry.thing.key, entry.failure, began=entry.started_at, now=monotonic())
            self.on_failure(entry.streams, entry.failure, _switches(entry))
        elif entry.thing.is_warm:
            self._refusals.forget(entry.thing.key)

    def _take_out(self, entry: Entry) -> None:
        """From now on a joiner gets a successor, which knows where to go on."""
        thing = entry.thing
        if self._entries.get(thing.key) is not entry:
            return
        del self._entries[thing.key]
        if isinstance(thing, HlsWriter) and thing.is_warm:
            self.parts.memory.of(thing.key).mark = thing.timeline.mark()

    def unused(self, *entries: Entry) -> list[Entry]:
        """Those of ``entries`` that nobody holds, with the relays that only they hold."""
        found: list[Entry] = []
        for entry in entries:
            if entry.leases or self._entries.get(entry.thing.key) is not entry:
                continue
            found.append(entry)
            upstream = entry.upstream
            if upstream is not None and upstream.leases == 1:
                found.append(upstream)
        return found

    async def give_up(self, *streams: Stream) -> None:
        """End what runs behind them unless somebody holds it; what was closing anyway is waited for.

        Whoever joins after the first step gets a successor.
        """
        closing = set().union(*(self._let_go(stream) for stream in streams))
        if closing:
            await asyncio.wait(closing)

    def _let_go(self, stream: Stream) -> set[asyncio.Task[None]]:
        """What is to be waited for until nothing is left of it."""
        keys = {stream.key, stream.origin.key}
        entries = [self._entries[key] for key in keys if key in self._entries]
        for entry in entries:
            entry.streams.discard(stream.id)
        for entry in self.unused(*entries):
            self._begin_close(entry)
        return {self._closing[key] for key in keys if key in self._closing}

    def supersede(self, old: Stream, new: Stream) -> None:
        """A definition has changed: what runs unused behind the old form ends before the new one begins."""
        for key in (old.key, old.origin.key):
            entry = self._entries.get(key)
            for one in self.unused(entry) if entry else ():
                self._begin_close(one)
        closing = self._closing.get(old.origin.key)
        if closing is not None and new.origin.key not in self._closing:
            key = new.origin.key
            self._closing[key] = closing
            closing.add_done_callback(lambda done: self._closed(key, done))

    def forgive(self, stream: Stream) -> None:
        """Forget how it ended before, and all else but of what runs for somebody."""
        for key in (stream.key, stream.origin.key):
            self._refusals.forget(key)
            if key not in self._entries:
                self.parts.memory.forget(key)

    def sweep(self, now: float) -> None:
        """Begin to close what nobody has held for the grace; forget old failures. No ``await`` in here."""
        self._refusals.expire(now)
        idle = [one for one in self._entries.values() if not one.leases]
        for entry in self.unused(*(one for one in idle if now - one.idle_since >= self._grace)):
            self._begin_close(entry)
        for account in {account for one in idle if (account := _account(one)) is not None}:
            if self.parts.accounts.is_wanted(account):
                self._make_room(account)

    def _make_room(self, account: str) -> None:
        """Somebody waits for a connection of that account: what nobody watches gives up its own."""
        for entry in [one for one in self._entries.values() if not one.leases]:
            group = self.unused(entry)
            if any(_account(one) == account for one in group):
                for one in group:
                    self._begin_close(one)

    def _begin_close(self, entry: Entry) -> None:
        """Take the entry out of the table now and end it in a task of its own."""
        key = entry.thing.key
        self._take_out(entry)
        closing = self._close(entry, self._closing.get(key))
        task = asyncio.get_running_loop().create_task(closing, name=f"close-{key.digest}")
        self._closing[key] = task
        task.add_done_callback(lambda done: self._closed(key, done))

    @staticmethod
    async def _close(entry: Entry, before: asyncio.Task[None] | None) -> None:
        """End the entry; not over before the one that it was itself waiting for."""
        await entry.aclose()
        if before is not None:
            await asyncio.wait([before])

    def _closed(self, key: StreamKey, task: asyncio.Task[None]) -> None:
        if self._closing.get(key) is task:
            del self._closing[key]

    async def aclose(self) -> None:
        """End everything; no task, process or socket of the pool is left."""
        for entry in list(self._entries.values()):
            self._begin_close(entry)
        if self._closing:
            await asyncio.wait(list(self._closing.values()))


def _account(entry: Entry) -> str | None:
    """Who pays for the source of an entry, if it reads one itself."""
    return entry.thing.workshop.account if isinstance(entry.thing, Supply) else None


def _switches(entry: Entry) -> int:
    """How often another source was taken for the one that an entry reads, itself or through FFmpeg."""
    thing = entry.upstream.thing if entry.upstream is not None else entry.thing
    return thing.workshop.attempts.failover.attempts if isinstance(thing, Supply) else 0
