"""A pool and its audience with everything outside of them played by hand: sources, FFmpeg, time."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest

from m3u_proxy.errors import Closed, ProxyError, Unavailable
from m3u_proxy.events import Bus, Event, EventType
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.ffmpeg.process.run import Feed
from m3u_proxy.ffmpeg.transcoder import Transcoder
from m3u_proxy.media.timeline import ListedSegment as Listed
from m3u_proxy.media.timeline import Timeline
from m3u_proxy.model import RunSnapshot, State, Stream, StreamKey
from m3u_proxy.pool.accounts import Accounts
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.catalog import Catalog
from m3u_proxy.pool.entry import Entry, Thing
from m3u_proxy.pool.live.outlet import PeerWatch
from m3u_proxy.pool.live.overlap import OverlapLimits
from m3u_proxy.pool.live.relay import Relay, RelayLimits
from m3u_proxy.pool.loopback import Grants
from m3u_proxy.pool.memory import Memory
from m3u_proxy.pool.pool import Pool
from m3u_proxy.pool.supply import Supply
from m3u_proxy.pool.tally import Tally
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.pool.vod.position import VodLimits
from m3u_proxy.pool.workshop import Parts
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.decision import AskResolver
from m3u_proxy.upstream.failover import FailoverLimits
from m3u_proxy.upstream.headers import request_headers
from m3u_proxy.upstream.pacing import Pacer
from m3u_proxy.upstream.source import Head, Source
from tests.support.definitions import a_client, a_stream, a_transcode
from tests.support.stepped import Script, SteppedSource
from tests.support.succession import unpaced

GRACE = 3.0
IDLE = 15.0
RETENTION = 3600.0
PATIENCE = 12.0


class Clock:
    """Monotonic time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


class Writer(HlsWriter):
    """A writer without FFmpeg: it lives until it is ended or ``lost`` is resolved."""

    def __init__(self, key: StreamKey, feed: Feed, factory: Factory) -> None:
        self.key = key
        self.state = State.STARTING
        self.error = None
        self.files = {}
        self.nonce = key.digest[:8]
        self.timeline = Timeline(6, 2, 2.0)
        self.revision = 0
        self.lost: asyncio.Future[ProxyError] = asyncio.get_running_loop().create_future()
        self._feed = feed
        self._factory = factory
        self._ready = asyncio.Event()

    async def run(self, after: asyncio.Task[None] | None = None) -> None:
        try:
            if after is not None:
                await asyncio.wait([after])
            await self._feed.ready()
            await self._factory.work(self.key, self.lost)
        except ProxyError as error:
            self.error, self.state = error, State.FAILED
        finally:
            if self.state is not State.FAILED:
                self.error, self.state = Closed("The stream was stopped", reason="closed"), State.CLOSED
            self._ready.set()

    def publish(self) -> None:
        """One more finished segment."""
        self.timeline.extend([Listed(self.timeline.next, 2.0, "segment.ts")])
        self.revision += 1
        self.state = State.LIVE
        self._ready.set()

    def snapshot(self) -> RunSnapshot:
        return RunSnapshot(self.key.digest, self.kind, self.state, None, 0, 0.0, 0, {}, 0, None)


class PipedSource(SteppedSource):
    """What FFmpeg writes to its standard output."""

    def __init__(self, script: Script, feed: Feed) -> None:
        super().__init__(script)
        self._feed = feed

    async def open(self) -> Head:
        await self._feed.ready()
        return await super().open()


class Factory:
    """Stands for FFmpeg: how many run, and whether one may end now."""

    def __init__(self) -> None:
        self.missing = False
        self.full = False
        self.made: list[Writer] = []
        self.pipes: defaultdict[StreamKey, Script] = defaultdict(Script)
        self.running: Counter[StreamKey] = Counter()
        self.most: Counter[StreamKey] = Counter()
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def work(self, key: StreamKey, lost: asyncio.Future[ProxyError]) -> None:
        """One process: until its writer is ended or lost."""
        self.running[key] += 1
        self.most[key] = max(self.most[key], self.running[key])
        try:
            await asyncio.wait([lost])
            raise lost.result()
        finally:
            try:
                await uncut(self._ended())
            finally:
                self.running[key] -= 1

    async def _ended(self) -> None:
        await self.may_end.wait()

    def check(self) -> None:
        if self.missing:
            raise Unavailable("ffmpeg unavailable", reason="ffmpeg_missing", retry_after=60.0)

    def admit(self) -> None:
        if self.full:
            raise Unavailable("The disk is full", reason="disk_full")

    def writer(self, stream: Stream, feed: Feed) -> Writer:
        self.made.append(Writer(stream.key, feed, self))
        return self.made[-1]

    def pipe(self, stream: Stream, feed: Feed) -> Callable[[], PipedSource]:
        return lambda: PipedSource(self.pipes[stream.key], feed)


async def _nothing_viable(url: str, question: AskResolver, metadata: Mapping[str, str]) -> None:
    """A resolver that knows no other source."""


def parts_of(open_source: Callable[[Ask], Source], *, reconnect: float = 30.0) -> Parts:
    """What a pool needs, with sources opened by ``open_source``."""
    return Parts(
        open_source=open_source,
        accounts=Accounts({}),
        relay_limits=RelayLimits(),
        live_limits=RelayLimits(overlap=OverlapLimits()),
        strict_limits=RelayLimits(overlap=OverlapLimits()),
        vod_limits=VodLimits(),
        budget=Budget(64 * 2**20),
        tally=Tally(),
        memory=Memory(b"secret"),
        grants=Grants(lambda: "http://127.0.0.1:1"),
        prefetch=False,
        failover_limits=FailoverLimits(
            max_attempts=0, retries=None, retry_delay=0.0, exponential=False, budget=reconnect
        ),
        pacer=Pacer(lambda: 0.5),
        request_headers=request_headers,
        ask_resolver=_nothing_viable,
    )


class NotedPool(Pool):
    """Remembers every entry there ever was."""

    ever: list[Entry]

    def _start(self, thing: Thing, upstream: Entry | None) -> Entry:
        entry = super()._start(thing, upstream)
        self.ever.append(entry)
        return entry


class House:
    """Everything together; ``clock`` moves only by hand."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        *,
        max_viewers: int = 0,
        max_ffmpeg: int = 0,
        first_delay: float = 0.0,
        reconnect: float = 30.0,
    ) -> None:
        self.clock = Clock()
        for module in ("pool", "entry", "audience", "sources.attempts"):
            patch.setattr(f"m3u_proxy.pool.{module}.monotonic", self.clock)
        unpaced(patch, apart=first_delay)
        self.scripts: defaultdict[str, Script] = defaultdict(Script)
        self.ffmpeg = Factory()
        self.pool = NotedPool(
            parts_of(self._open, reconnect=reconnect),
            transcoder=cast("Transcoder", self.ffmpeg),
            max_ffmpeg=max_ffmpeg,
            grace=GRACE,
        )
        self.pool.ever = []
        self.events: list[Event] = []
        bus = Bus()
        bus.subscribe(self.events.append)
        self.audience = Audience(
            self.pool,
            Catalog(limit=0, idle=IDLE, retention=RETENTION),
            bus,
            PeerWatch(stuck=20.0, pause=600.0),
            max_viewers=max_viewers,
            patience=PATIENCE,
        )

    def _open(self, ask: Ask) -> SteppedSource:
        return self.scripts[ask.url]()

    def watch(self, client_id: str = "one", stream: str = a_stream().id) -> tuple[Supply | Relay, Viewer]:
        """A player opens an endless body."""
        return self.audience.watch(stream, a_client(client_id, stream))

    def poll(self, client_id: str = "one", stream: str = a_transcode().id) -> tuple[Writer, Viewer]:
        """A player asks for a playlist."""
        writer, viewer = self.audience.poll(stream, a_client(client_id, stream))
        assert isinstance(writer, Writer)
        return writer, viewer

    def refused(self, client_id: str = "late", stream: str = a_stream().id) -> ProxyError:
        """Why a player cannot open an endless body."""
        with pytest.raises(ProxyError) as caught:
            self.watch(client_id, stream)
        return caught.value

    def pass_time(self, seconds: float, *, step: float = 0.25) -> None:
        """Sweep as the background task does, while so much time passes."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.clock.now = min(end, self.clock.now + step)
            self.audience.sweep(self.clock.now)

    def told(self, stream_id: str | None = None) -> list[str]:
        """Types of the events so far, of one stream or of all."""
        return [event.type for event in self.events if stream_id in (None, event.stream_id)]

    def check(self) -> None:
        """What must hold whenever nothing is about to happen."""
        for entry in self.pool.ever:
            here = [*self.audience.viewers, *self.audience.moves]
            viewers = sum(viewer.release == entry.release for viewer in here)
            dependants = sum(one.upstream is entry and is_alive(one) for one in self.pool.ever)
            assert entry.leases == viewers + dependants, entry
        for script in [*self.scripts.values(), *self.ffmpeg.pipes.values()]:
            assert script.most_open <= 1
        assert max(self.ffmpeg.most.values(), default=0) <= 1
        read_events(self.events)

    async def aclose(self) -> None:
        """End everything; afterwards nothing may be left."""
        self.ffmpeg.may_end.set()
        for script in [*self.scripts.values(), *self.ffmpeg.pipes.values()]:
            script.may_open.set()
            script.may_close.set()
        await self.audience.aclose("shutdown")
        self.check()
        assert sum(script.open for script in self.scripts.values()) == 0
        assert sum(script.open for script in self.ffmpeg.pipes.values()) == 0
        assert sum(self.ffmpeg.running.values()) == 0
        assert not any(is_alive(entry) for entry in self.pool.ever)
        assert not any(entry.leases for entry in self.pool.ever)
        assert [*self.audience.viewers, *self.audience.moves] == []
        assert read_events(self.events) == set()


def is_alive(entry: Entry) -> bool:
    assert entry._task is not None
    return not entry._task.done()


def read_events(events: Sequence[Event]) -> set[str]:
    """Ids of the streams that run after these events; fails where they contradict each other."""
    running: dict[str, object] = {}  # by stream, the metadata under which a slot is held
    clients: defaultdict[str, set[object]] = defaultdict(set)
    for event in events:
        assert "metadata" in event.data
        here, client = clients[event.stream_id], event.data.get("client_id")
        match event.type:
            case EventType.STREAM_STARTED:
                assert event.stream_id not in running
                running[event.stream_id] = event.data["metadata"]
            case EventType.STREAM_STOPPED:
                assert not here
                assert event.data["metadata"] == running.pop(event.stream_id)
            case EventType.CLIENT_CONNECTED:
                assert event.stream_id in running
                assert client not in here
                here.add(client)
                assert event.data["stream_client_count"] == len(here)
            case EventType.CLIENT_DISCONNECTED:
                here.remove(client)
            case EventType.STREAM_FAILED:
                assert event.data["reason"]
    assert {stream for stream, here in clients.items() if here} <= running.keys()
    return set(running)
