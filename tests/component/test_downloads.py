"""Segments, keys and maps: each fetched once for all, judged, held while they are of use, and let go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import pytest

from m3u_proxy.errors import Closed, ProxyError, Unavailable, UpstreamError
from m3u_proxy.media.playlist import Role
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls import downloads as module
from m3u_proxy.pool.hls import listed
from m3u_proxy.pool.hls.downloads import Downloads
from m3u_proxy.pool.hls.resources import Resource
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.policy import AddressClass
from tests.support.answer import null_packets
from tests.support.house import Clock
from tests.support.provider import HOST, Provider, Reply, refusal, text
from tests.support.stepped import settle, until

TS = null_packets(50)
KEY = bytes(range(16))
ROOM = 10**6


def segment(name: str = "s1", role: Role = Role.SEGMENT) -> Resource:
    return Resource(name, f"{HOST}/{name}", role, ".ts", AddressClass.PRIVATE, 1, 0.0)


class Rig(Downloads):
    """Downloads with everything around them to look at."""

    def __init__(self, provider: Provider, room: int = ROOM) -> None:
        self.provider = provider
        self.budget = Budget(room)
        self.tally = Tally()
        self.errors: list[str] = []
        super().__init__(
            provider.child,
            self.budget,
            self.tally,
            on_bytes=lambda size: None,
            on_end=self.remember,
        )

    def remember(self, resource: Resource, error: ProxyError | None) -> None:
        if error is not None:
            self.errors.append(f"{resource.role} {error.reason}")

    async def get(self, resource: Resource, part: tuple[int, int] | None = None) -> bytes:
        """As a viewer does it."""
        download = self.fetch(resource, part)
        await download.begun()
        async with aclosing(download.chunks()) as pieces:
            return b"".join([bytes(piece) async for piece in pieces])

    async def reason(self, resource: Resource) -> str:
        """Why a viewer gets nothing."""
        with pytest.raises(ProxyError) as caught:
            await self.get(resource)
        return caught.value.reason


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made)
    monkeypatch.setattr(listed, "RETRY", 0.01)
    return made


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def made(room: int = ROOM) -> Rig:
        rigs.append(Rig(Provider(), room))
        return rigs[-1]

    yield made
    for rig in rigs:
        await rig.aclose()
        assert (rig.provider.open, len(rig), rig.budget.used) == (0, 0, 0)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("fetch-")]


@pytest.fixture
async def rig(make: Callable[..., Rig]) -> Rig:
    return make()


# --- one fetch


async def test_a_hundred_requesters_are_one_fetch(rig: Rig) -> None:
    reply = Reply((TS[:1880], TS[1880:])).endless()
    rig.provider.on("/s1", reply)
    viewers = [asyncio.create_task(rig.get(segment())) for _ in range(100)]
    await settle()
    assert len(rig) == 1
    reply.may_end.set()
    assert set(await asyncio.gather(*viewers)) == {TS}
    assert await rig.get(segment()) == TS
    assert rig.provider.count("/s1") == 1
    assert (rig.tally.fetches[Role.SEGMENT], rig.tally.segment_hits) == (1, 1)
    assert rig.provider.asks[0].named_by is AddressClass.PRIVATE


async def test_a_part_is_asked_for_as_such_and_is_a_body_of_its_own(rig: Rig) -> None:
    rig.provider.on("/s1", Reply((TS,)))
    await rig.get(segment(), (188, 375))
    await rig.get(segment())
    await rig.get(segment(), (188, 375))
    assert [ask.headers.get("Range") for ask in rig.provider.asks] == ["bytes=188-375", None]


async def test_what_was_evicted_is_fetched_once_more(make: Callable[..., Rig]) -> None:
    rig = make(len(TS) * 3 // 2)
    for name in ("s1", "s2"):
        rig.provider.on(f"/{name}", Reply((TS,)))
    for name in ("s1", "s2", "s1", "s1"):
        assert await rig.get(segment(name)) == TS
    assert (rig.provider.count("/s1"), rig.provider.count("/s2")) == (2, 1)


async def test_bodies_that_had_to_go_are_forgotten(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIDY", 8)
    rig = make(len(TS) * 2)
    rig._tidy_at = 8
    for number in range(100):
        rig.provider.on(f"/s{number}", Reply((TS,)))
        await rig.get(segment(f"s{number}"))
        assert len(rig._flights) <= 8
    assert rig.find(segment("s99")) is not None


async def test_not_more_than_so_many_at_once(rig: Rig) -> None:
    for number in range(module.AT_ONCE + 1):
        rig.provider.on(f"/s{number}", Reply((TS,)).held())
    for number in range(module.AT_ONCE):
        rig.fetch(segment(f"s{number}"))
    await settle()
    with pytest.raises(Unavailable) as caught:
        rig.fetch(segment(f"s{module.AT_ONCE}"))
    assert caught.value.reason == "busy"
    assert rig.fetch(segment("s0")) is rig.find(segment("s0"))
    rig.provider.replies[f"{HOST}/s0"][0].may_begin.set()
    await until(lambda: len(rig) < module.AT_ONCE)
    rig.fetch(segment(f"s{module.AT_ONCE}"))


# --- failures


async def test_an_isolated_404_is_asked_for_again_after_a_moment(rig: Rig) -> None:
    """F34."""
    rig.provider.on("/s1", refusal("http_404"), Reply((TS,)))
    assert await rig.get(segment()) == TS
    assert rig.provider.count("/s1") == 2
    assert rig.tally.fetches[Role.SEGMENT] == 2
    assert rig.provider.most_open == 1
    assert rig.errors == []


async def test_segments_that_are_all_missing_are_asked_for_once_each(rig: Rig) -> None:
    """F35."""
    for number in range(10):
        assert await rig.reason(segment(f"s{number}")) == "http_404"
    assert rig.provider.count("/s0") == 2
    assert all(rig.provider.count(f"/s{number}") == 1 for number in range(1, 10))
    rig.provider.on("/s10", Reply((TS,)))
    await rig.get(segment("s10"))
    await until(lambda: not len(rig))
    rig.provider.on("/s11", refusal("http_404"), Reply((TS,)))
    assert await rig.get(segment("s11")) == TS


@pytest.mark.parametrize(
    ("role", "reason"), [(Role.KEY, "http_404"), (Role.MAP, "http_404"), (Role.SEGMENT, "http_5xx")]
)
async def test_nothing_else_is_asked_for_twice(rig: Rig, role: Role, reason: str) -> None:
    rig.provider.on("/s1", refusal(reason))
    assert await rig.reason(segment(role=role)) == reason
    assert rig.provider.count("/s1") == 1
    assert rig.errors == [f"{role} {reason}"]


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        (lambda: refusal("http_5xx"), module.REFUSED),
        (lambda: refusal("http_404"), module.MISSED),
        (lambda: refusal("http_429", retry_after=30), 30),
    ],
)
async def test_a_failure_is_remembered_for_a_while(
    rig: Rig, clock: Clock, answer: Callable[[], Reply], seconds: float
) -> None:
    rig._missed = True
    rig.provider.on("/s1", answer(), Reply((TS,)))
    reason = await rig.reason(segment())
    clock.now += seconds - 0.1
    assert await rig.reason(segment()) == reason
    assert rig.provider.count("/s1") == 1
    clock.now += 0.2
    assert await rig.get(segment()) == TS
    assert len(rig.errors) == 1


async def test_whoever_is_woken_by_a_failure_does_not_fetch_anew(rig: Rig) -> None:
    reply = refusal("http_5xx").held()
    rig.provider.on("/s1", reply)

    async def stubborn() -> list[str]:
        return [await rig.reason(segment()) for _ in range(3)]

    viewers = [asyncio.create_task(stubborn()) for _ in range(5)]
    await settle()
    reply.may_begin.set()
    assert await asyncio.gather(*viewers) == [["http_5xx"] * 3] * 5
    assert rig.provider.count("/s1") == 1


@pytest.mark.parametrize(
    ("role", "body", "reason"),
    [
        (Role.SEGMENT, (b"<!DOCTYPE html><html>expired",), "not_media"),
        (Role.SEGMENT, (b"<", b"html><body>expired</body>"), "not_media"),
        (Role.SEGMENT, (b"Gone",), "not_media"),
        (Role.SEGMENT, (b"#EXTM3U\n#EXTINF:2,\nhttp://secret.example/s.ts\n",), "not_media"),
        (Role.MAP, (b'{"error": "no such stream"}',), "not_media"),
        (Role.SEGMENT, (), "not_media"),
        (Role.KEY, (KEY[:15],), "not_media"),
        (Role.KEY, (KEY, b"x"), "not_media"),
        (Role.KEY, (), "not_media"),
        (Role.KEY, (b"<html>no key here",), "not_media"),
    ],
)
async def test_a_body_must_be_what_was_promised(
    rig: Rig, role: Role, body: tuple[bytes, ...], reason: str
) -> None:
    rig.provider.on("/s1", Reply(body))
    assert await rig.reason(segment(role=role)) == reason
    assert rig.errors == [f"{role} {reason}"]
    assert rig.budget.used == 0


@pytest.mark.parametrize(
    ("role", "body"),
    [
        (Role.KEY, (KEY[:7], KEY[7:])),
        (Role.KEY, (b"sixteen letters!",)),
        (Role.SEGMENT, (b"WEB", b"VTT\n\n00:00.000 --> 00:01.000\nhello\n")),
        (Role.SEGMENT, (TS[:1], TS[1:])),
        (Role.SEGMENT, (b"\x9a\x01" * 200,)),
        (Role.DATA, (b'{"a": 1}',)),
    ],
)
async def test_a_body_may_come_in_any_pieces(rig: Rig, role: Role, body: tuple[bytes, ...]) -> None:
    rig.provider.on("/s1", Reply(body))
    assert await rig.get(segment(role=role)) == b"".join(body)


async def test_an_absurdly_long_key_is_not_read_to_its_end(rig: Rig) -> None:
    """F42."""
    rig.provider.on("/s1", Reply((bytes(1000),)).endless())
    assert await rig.reason(segment(role=Role.KEY)) == "not_media"


async def test_a_key_that_hangs_has_an_end(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """F42."""
    monkeypatch.setattr(module, "KEY_PATIENCE", 0.02)
    rig.provider.on("/s1", Reply((KEY[:3],)).endless())
    assert await rig.reason(segment(role=Role.KEY)) == "stall"


async def test_a_viewer_gets_the_first_bytes_before_the_last_are_there(rig: Rig) -> None:
    rig.provider.on("/s1", Reply((TS[:200],)).endless())
    download = rig.fetch(segment())
    await download.begun()
    async with aclosing(download.chunks()) as pieces:
        assert bytes(await anext(pieces)) == TS[:200]
    assert not download.done


# --- letting go


async def test_bodies_that_nobody_lists_are_dropped_but_not_under_a_reader(rig: Rig) -> None:
    for name in ("s1", "s2", "s3"):
        rig.provider.on(f"/{name}", Reply((TS,)))
        await rig.get(segment(name))
    await until(lambda: not len(rig))
    download = rig.fetch(segment("s2"))
    async with aclosing(download.chunks()) as pieces:
        rig.expire(lambda name, part: name == "s3")
        assert rig.find(segment("s1")) is None
        assert rig.find(segment("s2")) is download
        assert b"".join([bytes(piece) async for piece in pieces]) == TS
    rig.expire(lambda name, part: name == "s3")
    assert rig.find(segment("s2")) is None
    assert rig.find(segment("s3")) is not None
    assert rig.budget.used == len(TS)


async def test_a_part_that_nobody_lists_is_dropped(rig: Rig) -> None:
    rig.provider.on("/s1", Reply((TS,)))
    for part in ((0, 187), (188, 375)):
        await rig.get(segment(), part)
    await until(lambda: not len(rig))
    rig.expire(lambda name, part: part == (188, 375))
    assert rig.find(segment(), (0, 187)) is None
    assert rig.find(segment(), (188, 375)) is not None


async def test_what_is_on_its_way_is_not_dropped(rig: Rig) -> None:
    reply = Reply((TS,)).held()
    rig.provider.on("/s1", reply)
    viewer = asyncio.create_task(rig.get(segment()))
    await settle()
    rig.expire(lambda name, part: False)
    reply.may_begin.set()
    assert await viewer == TS


async def test_the_end_leaves_nothing_and_is_no_failure_of_the_provider(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listed, "RETRY", 60.0)
    rig.provider.on("/s1", Reply((TS,)))
    rig.provider.on("/s2", Reply((TS[:188],)).endless())
    rig.provider.on("/s3", Reply((TS,)).held())
    rig.provider.on("/s4", refusal("http_404"))
    child_retry = rig.fetch(segment("s4"))
    await rig.get(segment("s1"))
    waiting = [asyncio.create_task(rig.reason(segment(name))) for name in ("s2", "s3")]
    await settle()
    rig.fetch(segment("s5"))  # which has not made its first step
    await rig.aclose()
    assert await asyncio.gather(*waiting) == ["closed", "closed"]
    assert (len(rig), rig.provider.open, rig.budget.used) == (0, 0, 0)
    assert rig.errors == []
    assert isinstance(child_retry.error, Closed | UpstreamError)
    with pytest.raises(Closed):
        rig.fetch(segment("s6"))


async def test_a_download_that_was_replaced_ends_with_the_others(make: Callable[..., Rig]) -> None:
    rig = make(4 * 188)
    big = Reply(tuple(TS[at : at + 188] for at in range(0, 20 * 188, 188))).endless()
    rig.provider.on("/s1", big)
    first = rig.fetch(segment())
    reader = first.chunks()
    async with aclosing(reader) as pieces:
        for _ in range(10):
            await anext(pieces)
        assert not first.is_joinable  # memory was short: what was read is gone
        second = rig.fetch(segment())
        assert second is not first
        await settle()
        assert len(rig) == 2
        await rig.aclose()
    assert isinstance(first.error, Closed)
    assert rig.provider.open == 0


async def test_whoever_looks_starts_nothing(rig: Rig) -> None:
    assert rig.find(segment()) is None
    await settle()
    assert rig.provider.made == 0


async def test_texts_that_are_wanted_are_passed_on(rig: Rig) -> None:
    rig.provider.on("/s1", text('{"key": "value of a session"}'))
    assert await rig.get(segment(role=Role.DATA)) == b'{"key": "value of a session"}'


async def test_nobody_starves_for_what_is_fetched_ahead(rig: Rig, clock: Clock) -> None:
    rig.provider.on("/s1", Reply(()).endless())
    rig.fetch(segment(), is_ahead=True)
    await settle()
    assert not rig.misses.is_starved(4.0, clock.now + 60, is_fetching=True)
    rig.fetch(segment())  # now somebody waits for it
    assert rig.misses.is_starved(4.0, clock.now + 60, is_fetching=True)
    await rig.aclose()
