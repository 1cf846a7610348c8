"""What is told of an HLS source and its players: each beginning has its end, and a player is one client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic
from typing import cast

import pytest
import pytest_asyncio

from m3u_proxy.errors import ProxyError
from m3u_proxy.events import Bus, Event, EventType
from m3u_proxy.ffmpeg.transcoder import Transcoder
from m3u_proxy.model import Kind
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.catalog import Catalog
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.live.outlet import PeerWatch
from m3u_proxy.pool.pool import Pool
from m3u_proxy.pool.supply import Supply
from m3u_proxy.upstream.address import Judge
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.source import HttpSource
from tests.support.definitions import a_client, a_stream
from tests.support.hls_bodies import TS, body, live, playlist, segments
from tests.support.house import Factory, parts_of, read_events
from tests.support.origin import Answer, Origin
from tests.support.stepped import until

PATIENCE = 4.0
TARGET = 2


class Stage:
    """An audience over a real source, and what was told."""

    def __init__(self) -> None:
        judge = Judge(allow_loopback=True)

        def opened(ask: Ask) -> HttpSource:
            return HttpSource(ask.url, ask.headers, judge=judge, named_by=ask.named_by)

        bus = Bus()
        self.events: list[Event] = []
        bus.subscribe(self.events.append)
        pool = Pool(parts_of(opened), transcoder=cast("Transcoder", Factory()), max_ffmpeg=0, grace=1.0)
        catalog = Catalog(limit=0, idle=60.0, retention=60.0)
        peers = PeerWatch(stuck=20.0, pause=600.0)
        self.audience = Audience(pool, catalog, bus, peers, max_viewers=0, patience=PATIENCE)

    def define(self, url: str) -> str:
        stream = a_stream(url)
        self.audience.define(stream)
        return stream.id

    async def watch(self, stream_id: str, client: str) -> None:
        """A player asks for the playlist and one segment."""
        for _ in range(2):
            thing, _ = self.audience.poll(stream_id, a_client(client, stream_id))
            assert isinstance(thing, Supply)
            inner = await thing.settled()
            assert isinstance(inner, Passthrough)
            page = await inner.page()
            resource = page.resources[page.playlist.segments()[0]]
            assert resource is not None
            assert await inner.downloads.fetch(resource).whole() == TS

    def told(self) -> list[str]:
        return [event.type for event in self.events]


@pytest_asyncio.fixture
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    yield made
    await made.audience.aclose("shutdown")
    assert read_events(made.events) == set()


@pytest_asyncio.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        server.on("/live.m3u8", playlist(live(*segments("a.ts"), target=TARGET)))
        server.on("/a.ts", body(TS))
        yield server


async def test_beginnings_and_ends_come_in_pairs(stage: Stage, origin: Origin) -> None:
    stream_id = stage.define(origin.url("/live.m3u8"))
    for client in ("tv", "tablet", "tv"):
        await stage.watch(stream_id, client)
    started, connected = EventType.STREAM_STARTED, EventType.CLIENT_CONNECTED
    assert stage.told() == [started, connected, connected]
    assert stage.audience.viewers.count(stream_id) == 2
    assert stage.audience.kind(stream_id) is Kind.HLS
    now = monotonic()
    stage.audience.sweep(now + PATIENCE - 0.5)  # less than anybody may be silent
    assert stage.audience.viewers.count(stream_id) == 2
    stage.audience.sweep(now + 3 * TARGET + 1)
    assert stage.told()[3:] == [EventType.CLIENT_DISCONNECTED] * 2 + [EventType.STREAM_STOPPED]
    assert stage.audience.viewers.count(stream_id) == 0
    await until(lambda: all(one.closed is not None for one in origin.connections))
    await stage.watch(stream_id, "tv")
    assert stage.told()[6:] == [started, connected]


async def test_a_source_that_is_refused_is_told_once(stage: Stage, origin: Origin) -> None:
    origin.on("/none.m3u8", Answer(status=403))
    stream_id = stage.define(origin.url("/none.m3u8"))
    with pytest.raises(ProxyError) as caught:
        await stage.watch(stream_id, "tv")
    assert caught.value.reason == "http_4xx"
    with pytest.raises(ProxyError):
        await stage.watch(stream_id, "tablet")
    await until(lambda: EventType.STREAM_FAILED in stage.told())
    assert stage.told().count(EventType.STREAM_FAILED) == 1
    assert len(origin.path("/none.m3u8").connections) == 1
    [failed] = [event for event in stage.events if event.type is EventType.STREAM_FAILED]
    assert failed.data["reason"] == "http_4xx"
    assert "127.0.0.1" not in str(failed.data["error"])


async def test_deleting_ends_everything_at_once(stage: Stage, origin: Origin) -> None:
    stream_id = stage.define(origin.url("/live.m3u8"))
    await stage.watch(stream_id, "tv")
    origin.on("/a.ts", Answer(mute=True))
    await stage.audience.delete(stream_id, "deleted")
    assert stage.told()[2:] == [EventType.CLIENT_DISCONNECTED, EventType.STREAM_STOPPED]
    assert stage.audience.viewers.count(stream_id) == 0
    await until(lambda: all(one.closed is not None for one in origin.connections))
