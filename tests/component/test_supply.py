"""A source is opened once, and becomes what its first bytes show."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from m3u_proxy.errors import Closed, ProxyError
from m3u_proxy.model import Kind, State, guess_kind
from m3u_proxy.pool import supply as module
from m3u_proxy.pool.entry import Entry
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.pool.supply import Inner, Supply
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.pool.workshop import Workshop
from tests.support.answer import null_packets
from tests.support.channel import channel
from tests.support.definitions import a_stream
from tests.support.house import parts_of
from tests.support.provider import HOST, Provider, Reply, media, refusal, text
from tests.support.stepped import settle, turn, until

PATHS = ["/live/u/p/1.ts", "/live/u/p/1.m3u8", "/movie/u/p/1.mp4", "/live/u/p/1"]
TS = channel(30).data
MP4 = b"\x00\x00\x00\x18ftypmp42" + bytes(5000)
PAGE = b"<!DOCTYPE html><html><body>Subscription expired</body></html>"
FILE = {"Content-Length": str(len(MP4)), "Accept-Ranges": "bytes"}


def live() -> Reply:
    return Reply((TS,)).endless()


def film() -> Reply:
    return Reply((MP4,), content_type="video/mp4", headers=FILE)


def playlist() -> Reply:
    return text(media())


class Rig:
    """Supplies of one provider, each with its life as the pool gives it."""

    def __init__(self) -> None:
        self.provider = Provider()
        self.parts = parts_of(self.provider, reconnect=0.0)
        self.entries: list[Entry] = []

    def start(
        self,
        path: str = "/x",
        *,
        spare: str | None = None,
        strict: bool = False,
        is_seek: bool = False,
        **headers: str,
    ) -> Supply:
        stream = a_stream(HOST + path, headers=headers)
        if spare is not None:
            stream = replace(stream, failover_urls=(HOST + spare,))
        workshop = Workshop(self.parts, stream, lambda switch: None)
        supply = Supply(
            stream.origin.key, guess_kind(stream.origin.url), workshop, strict=strict, is_seek=is_seek
        )
        self.entries.append(Entry(supply, None))
        self.entries[-1].start(None, lambda entry: None)
        return supply

    async def end(self) -> None:
        for entry in self.entries:
            await entry.aclose()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    await made.end()
    assert made.provider.open == 0
    assert all(entry._crash is None for entry in made.entries)


async def failure(supply: Supply) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await supply.settled()
    return caught.value


# --- what it becomes


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("reply", "inner"),
    [
        (live, Relay),
        (lambda: Reply((TS[:1], TS[1:100], TS[100:])).endless(), Relay),
        (lambda: Reply((TS[100:],)).endless(), Relay),
        (playlist, Passthrough),
        (lambda: Reply((b"\n#EX", b"TM3U\n", media().encode()[8:]), content_type="text/html"), Passthrough),
        (lambda: text(gzip.compress(media().encode()), Content_Encoding="gzip"), Passthrough),
        (film, Vod),
    ],
)
async def test_the_bytes_decide_whatever_the_name_says(
    rig: Rig, path: str, reply: Callable[[], Reply], inner: type
) -> None:
    is_relay = inner is Relay and ".mp4" not in path
    rig.provider.on(path, reply())
    supply = rig.start(path)
    joiners = await asyncio.gather(*(supply.settled() for _ in range(20)))
    assert all(joiner is joiners[0] for joiner in joiners)
    assert isinstance(joiners[0], inner if is_relay or inner is not Relay else Vod)
    assert supply.kind is joiners[0].kind
    assert rig.provider.made == 1
    trace = rig.parts.memory.get(supply.key)
    assert trace is not None
    assert trace.kind is supply.kind


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda: Reply((PAGE,), content_type="video/mp2t"), "not_media"),
        (lambda: Reply((PAGE[:1], PAGE[1:])), "not_media"),
        (lambda: Reply((b"Gone",)), "not_media"),
        (lambda: Reply((b"   \n",)), "not_media"),
        (lambda: Reply((gzip.compress(PAGE),), headers={"Content-Encoding": "gzip"}), "not_media"),
        (lambda: Reply((gzip.compress(TS),), headers={"Content-Encoding": "gzip"}), "not_media"),
        (lambda: Reply((b"\x1f\x8b\xff" * 9,), headers={"Content-Encoding": "gzip"}), "not_media"),
        (lambda: Reply((b"<",), ending="reset"), "reset"),
        (lambda: refusal("http_4xx"), "http_4xx"),
        (lambda: Reply((b"#EXT",)).endless(), "stall"),
    ],
)
async def test_joiners_fail_together_with_one_reason(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, path: str, reply: Callable[[], Reply], reason: str
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.02 if reason == "stall" else 5.0)
    rig.provider.on(path, reply())
    supply = rig.start(path)
    errors = await asyncio.gather(*(failure(supply) for _ in range(5)))
    assert {error.reason for error in errors} == {reason}
    assert len({id(error) for error in errors}) == 5
    assert rig.provider.made == 1
    assert rig.parts.tally.upstream_errors == {reason: 1}
    assert (supply.state, supply.inner) == (State.FAILED, None)
    await until(lambda: rig.provider.open == 0)
    assert rig.entries[0].failure is supply.error
    assert supply.snapshot().reason == reason


@pytest.mark.parametrize(
    ("path", "reason"), [("/1.ts", "eof"), ("/1.m3u8", "not_media"), ("/1.mp4", "not_media")]
)
async def test_nothing_at_all_is_no_playlist_and_no_file_but_may_be_a_pause_of_a_live_source(
    rig: Rig, path: str, reason: str
) -> None:
    rig.provider.on(path, Reply(()))
    assert (await failure(rig.start(path))).reason == reason


async def test_a_transport_stream_with_a_length_is_a_file_if_it_can_be_asked_for_parts(rig: Rig) -> None:
    headers = {"Content-Length": str(len(TS)), "Accept-Ranges": "bytes"}
    rig.provider.on("/x", Reply((TS,), headers=headers))
    assert isinstance(await rig.start("/x").settled(), Vod)
    rig.provider.on("/y", Reply((TS,), headers={"Content-Length": "99999999999"}).endless())
    assert isinstance(await rig.start("/y").settled(), Relay)
    rig.provider.on("/z", Reply((TS,), headers=headers).endless())
    assert isinstance(await rig.start("/z", strict=True).settled(), Relay)


# --- stages


async def test_before_it_is_known_it_is_a_guess(rig: Rig) -> None:
    reply = playlist().held()
    rig.provider.on(PATHS[2], reply)
    supply = rig.start(PATHS[2])
    joiner = asyncio.create_task(supply.settled())
    await settle()
    assert (supply.kind, supply.state, supply.error) == (Kind.VOD, State.STARTING, None)
    assert (supply.is_settled, supply.is_warm, joiner.done()) == (False, False, False)
    snapshot = supply.snapshot()
    assert (snapshot.kind, snapshot.upstream_connections, snapshot.bytes_in) == (Kind.VOD, 1, 0)
    reply.may_begin.set()
    source = await joiner
    assert isinstance(source, Passthrough)
    await source.ready()
    assert (supply.kind, supply.state, supply.is_warm) == (Kind.HLS, State.LIVE, True)
    snapshot = supply.snapshot()
    assert (snapshot.kind, snapshot.state, snapshot.upstream_connections) == (Kind.HLS, State.LIVE, 0)


async def test_a_playlist_that_fails_is_the_supplys_failure(rig: Rig) -> None:
    rig.provider.on("/x", text("#EXTM3U\n# nothing\n"))
    supply = rig.start("/x")
    await until(lambda: supply.error is not None)
    assert (await failure(supply)).reason == "not_media"
    assert supply.state is State.FAILED
    await until(lambda: rig.provider.open == 0)
    assert rig.entries[0].failure is supply.error


async def test_one_that_was_ended_has_not_failed(rig: Rig) -> None:
    for path, reply in (("/a", live()), ("/b", playlist()), ("/c", film())):
        rig.provider.on(path, reply)
        supply = rig.start(path)
        await supply.settled()
        entry = rig.entries[-1]
        await entry.aclose()
        assert (supply.state, entry.failure, rig.provider.open) == (State.CLOSED, None, 0)
        assert isinstance(await failure(supply), Closed)


@pytest.mark.parametrize(
    "reply",
    [
        lambda: live().held(),
        lambda: Reply((b"#EX",)).endless(),
        live,
        playlist,
        lambda: Reply((media().encode(),)).endless(),
        film,
    ],
)
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 30])
async def test_an_end_at_any_moment_leaves_nothing(rig: Rig, reply: Callable[[], Reply], turns: int) -> None:
    rig.provider.on("/x", reply())
    supply = rig.start("/x")
    joiner = asyncio.create_task(supply.settled())
    for _ in range(turns):
        await turn()
    await rig.end()
    assert rig.provider.open == 0
    assert (supply.state, supply.is_settled) == (State.CLOSED, True)
    await asyncio.wait([joiner])
    assert joiner.exception() is None or isinstance(joiner.exception(), Closed)


# --- files


async def test_a_file_is_handed_to_its_first_reader(rig: Rig) -> None:
    rig.provider.on("/x.mp4", Reply((MP4[:3000], MP4[3000:]), content_type="video/mp4", headers=FILE))
    supply = rig.start("/x.mp4")
    vod = await supply.settled()
    assert isinstance(vod, Vod)
    trace = rig.parts.memory.get(supply.key)
    assert trace is not None
    assert trace.about is vod.about
    assert supply.snapshot().upstream_connections == 1
    begun = supply.take_begun()
    assert begun is not None
    assert supply.take_begun() is None
    position = await vod.open(None, None, begun)
    assert position.length == len(MP4)
    assert await position.read() == MP4[:3000]
    assert supply.snapshot().upstream_connections == 1
    assert await position.read() == MP4[3000:]
    await position.aclose()
    assert (rig.provider.made, rig.provider.open) == (1, 0)
    assert supply.snapshot().bytes_in == len(MP4)


async def test_a_file_that_nobody_reads_is_closed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARKED", 0.01)
    rig.provider.on("/x.mp4", film())
    supply = rig.start("/x.mp4")
    vod = await supply.settled()
    await until(lambda: rig.provider.open == 0)
    assert supply.take_begun() is None
    assert (supply.state, supply.snapshot().upstream_connections) == (State.LIVE, 0)
    assert isinstance(vod, Vod)
    assert vod.about is not None
    assert vod.about.size == len(MP4)


async def test_a_file_taken_at_the_last_moment_stays_open(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARKED", 0.01)
    rig.provider.on("/x.mp4", film())
    supply = rig.start("/x.mp4")
    await supply.settled()
    task = rig.entries[0]._task
    assert task is not None
    while not task.cancelling():  # from the timer of its deadline until the task is told
        await turn()
    begun = supply.take_begun()
    assert begun is not None
    await settle()
    assert rig.provider.open == 1
    assert await begun.read() == MP4
    await begun.aclose()


async def test_an_end_while_the_file_waits_closes_its_readers(rig: Rig) -> None:
    rig.provider.on("/x.mp4", film(), Reply((MP4,), content_type="video/mp4", headers=FILE).endless())
    supply = rig.start("/x.mp4")
    vod = await supply.settled()
    assert isinstance(vod, Vod)
    await vod.open(None)
    assert rig.provider.open == 2
    await rig.entries[0].aclose()
    assert rig.provider.open == 0
    trace = rig.parts.memory.get(supply.key)
    assert trace is not None
    assert trace.about is not None
    with pytest.raises(Closed):
        await vod.open(None)


async def test_a_seek_opens_nothing_by_itself(rig: Rig) -> None:
    rig.provider.on("/x.mp4", film())
    supply = rig.start("/x.mp4", is_seek=True)
    assert isinstance(await supply.settled(), Vod)
    await settle()
    assert (rig.provider.made, supply.take_begun(), supply.state) == (0, None, State.LIVE)


async def test_a_seek_finds_the_spare_of_a_file_that_is_gone(rig: Rig) -> None:
    """Whoever resumes a film in its middle is no worse off than whoever begins."""
    rig.parts = parts_of(rig.provider, reconnect=10.0)
    rig.provider.on("/x.mp4", refusal("http_404"))
    rig.provider.on("/y.mp4", film())
    supply = rig.start("/x.mp4", spare="/y.mp4", is_seek=True)
    assert isinstance(await supply.settled(), Vod)
    assert supply.workshop.attempts.url == f"{HOST}/y.mp4"
    assert supply.workshop.attempts.failover.index == 1


@pytest.mark.parametrize(("path", "strict"), [("/x.ts", False), ("/x.mp4", True)])
async def test_a_seek_in_what_may_be_endless_looks_first(rig: Rig, path: str, strict: bool) -> None:
    rig.provider.on(path, live())
    supply = rig.start(path, strict=strict, is_seek=True)
    assert isinstance(await supply.settled(), Relay)
    assert rig.provider.made == 1


# --- playlists


async def test_children_are_asked_for_with_the_headers_of_their_parent(rig: Rig) -> None:
    other = "http://cdn.example/s1.ts"
    rig.provider.on("/x", text(media().replace("s1.ts", other)))
    for url in ("/s0.ts", other):
        rig.provider.on(url, Reply((null_packets(3),)))
    supply = rig.start("/x", Cookie="a=b", Device="tv")
    source = await supply.settled()
    assert isinstance(source, Passthrough)
    page = await source.page()
    for reference in page.playlist.references[:2]:
        resource = page.resources[reference]
        assert resource is not None
        await source.downloads.fetch(resource, (0, 187)).begun()
    part = {"Range": "bytes=0-187"}
    assert [(ask.url, ask.headers) for ask in rig.provider.asks] == [
        (f"{HOST}/x", {"Cookie": "a=b", "Device": "tv"}),
        (f"{HOST}/s0.ts", {"Cookie": "a=b", "Device": "tv", **part}),
        (other, {"Device": "tv", **part}),
    ]


async def test_a_successor_knows_the_names_that_players_have(rig: Rig) -> None:
    rig.provider.on("/x", text(media(end=True)))
    source = await rig.start("/x").settled()
    assert isinstance(source, Passthrough)
    resource = next(iter((await source.page()).resources.values()))
    assert resource is not None
    await rig.entries[0].aclose()
    successor = await rig.start("/x").settled()
    assert isinstance(successor, Passthrough)
    assert successor.resource(resource.name) is resource


# --- another form


async def test_ffmpeg_waits_on_while_a_source_of_another_form_takes_over(rig: Rig) -> None:
    """The first one is live, but breaks off before its tables have come."""
    rig.parts = parts_of(rig.provider, reconnect=10.0)
    rig.provider.on("/x", Reply((null_packets(20),)))
    rig.provider.on("/spare", playlist())
    for number in range(3):
        rig.provider.on(f"/s{number}.ts", Reply((TS,)))
    supply = rig.start("/x", spare="/spare")
    await supply.ready()
    assert isinstance(supply.inner, Passthrough)
    assert supply.tap().input.demuxer == "hls"


async def test_ffmpeg_waits_in_vain_when_the_other_form_fails_too(rig: Rig) -> None:
    rig.parts = parts_of(rig.provider, reconnect=10.0)
    rig.provider.on("/x", Reply((null_packets(20),)))
    rig.provider.on("/spare", playlist())
    supply = rig.start("/x", spare="/spare")
    with pytest.raises(ProxyError) as caught:
        await supply.ready()
    assert caught.value.reason == "http_404"


async def test_joiners_wait_on_while_a_source_of_another_form_takes_over(rig: Rig) -> None:
    rig.parts = parts_of(rig.provider, reconnect=10.0)
    broken = Reply((null_packets(20),)).endless()
    rig.provider.on("/x", broken)
    rig.provider.on("/spare", playlist())
    supply = rig.start("/x", spare="/spare")

    async def begun(inner: Inner) -> type:
        if isinstance(inner, Relay):
            await inner.begun()
        return type(inner)

    joiners = [asyncio.create_task(supply.through(begun)) for _ in range(5)]
    await settle()
    broken.may_end.set()
    assert await asyncio.gather(*joiners) == [Passthrough] * 5


# --- live


async def test_the_bytes_that_were_looked_at_reach_the_viewers(rig: Rig) -> None:
    packets = null_packets(400)
    rig.provider.on("/x", Reply((packets[: 188 * 30], packets[188 * 30 :])).endless())
    supply = rig.start("/x")
    relay = await supply.settled()
    assert isinstance(relay, Relay)
    await until(lambda: relay.bytes_in == len(packets))
    assert supply.snapshot().upstream_connections == 1
    assert rig.provider.made == 1


async def test_a_supply_begins_when_its_predecessor_has_ended(rig: Rig) -> None:
    rig.provider.on("/x", live())
    before = asyncio.get_running_loop().create_future()

    async def closing() -> None:
        await before

    stream = a_stream(f"{HOST}/x")
    workshop = Workshop(rig.parts, stream, lambda switch: None)
    supply = Supply(stream.origin.key, Kind.LIVE, workshop, strict=False, is_seek=False)
    rig.entries.append(Entry(supply, None))
    rig.entries[-1].start(asyncio.create_task(closing()), lambda entry: None)
    await settle()
    assert rig.provider.made == 0
    before.set_result(None)
    assert isinstance(await supply.settled(), Relay)
