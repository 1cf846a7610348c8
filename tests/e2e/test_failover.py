"""Sources fail, viewers stay: live MPEG-TS through hard faults, silence, orders by hand and resolvers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from m3u_proxy.upstream.pacing import MOST_IN_WINDOW
from tests.support.daemon import Daemon
from tests.support.inv import eventually, labelled
from tests.support.origin import Answer, Origin
from tests.support.watching import SECOND, grown, watching

REPAIRED = 2.5
"""Seconds from a hard fault to the next media byte, at most."""


async def create(daemon: Daemon, url: str, **fields: object) -> str:
    return str((await daemon.post("/streams", url=url, **fields))["stream_id"])


async def timeline(daemon: Daemon, stream: str) -> list[dict[str, Any]]:
    answer = await daemon.get(f"/streams/{stream}/timeline")
    return list(answer["events"])


async def row(daemon: Daemon, stream: str) -> dict[str, Any]:
    return dict((await daemon.get(f"/streams/{stream}"))["stream"])


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param({"rst": 3 * SECOND}, "reset", id="F4-rst"),
        pytest.param({"fin": 3 * SECOND}, "eof", id="F5-fin"),
        pytest.param({"short_cl": 10**9, "fin": 3 * SECOND}, "short", id="F11-length"),
        pytest.param({"trunc_chunk": True, "fin": 3 * SECOND}, "short", id="F12-chunks"),
    ],
)
async def test_a_hard_fault_is_bridged_by_the_backup(
    daemon: Daemon, origin: Origin, tmp_path: Path, fault: dict[str, Any], reason: str
) -> None:
    origin.on("/one.ts", Answer(ts=True, **fault), Answer(status=503))
    origin.on("/two.ts", Answer(ts=True))
    one, two = origin.url("/one.ts"), origin.url("/two.ts")
    stream = await create(daemon, one, failover_urls=[two])
    async with watching(daemon, stream, 5) as viewers:

        async def has_switched() -> bool:
            return bool(origin.path("/two.ts").connections)

        await eventually(has_switched, within=15)
        moment = origin.path("/one.ts").connections[0].closed
        assert moment is not None
        await grown(viewers, 4 * SECOND)
        assert max(viewer.gap_after(moment) for viewer in viewers) < REPAIRED
        assert not any(viewer.ended for viewer in viewers)
        shown = await row(daemon, stream)
        assert shown["current_url"] == two
        assert (shown["current_failover_index"], shown["failover_attempts"]) == (1, 1)
        assert shown["created_at"] < shown["last_failover_time"] <= shown["last_access"]
        assert shown["client_count"] == 5
        age = datetime.now(UTC) - datetime.fromisoformat(shown["last_failover_time"])
        assert timedelta(0) <= age < timedelta(seconds=30)
        told = [(moment["kind"], moment["source"]) for moment in await timeline(daemon, stream)]
    for viewer in viewers:
        viewer.check(tmp_path, seams=1)
    assert len(origin.path("/two.ts").connections) == 1
    opened = origin.path("/two.ts").connections[0].opened
    assert opened >= moment, "the old connection is closed before the new one opens"
    assert told[0] == ("start", 0)
    assert told[-3:] == [("failover", 1), ("start", 1), ("connected", 1)]
    assert (await labelled(daemon, "upstream_errors_total"), await labelled(daemon, "failovers_total")) == (
        {reason: 1},
        {reason: 1},
    )


async def test_fifty_viewers_go_through_a_failover_together(
    daemon: Daemon, origin: Origin, tmp_path: Path
) -> None:
    """F29: one connection, with the headers and the credentials that are its own."""
    origin.on("/one.ts", Answer(ts=True, rst=4 * SECOND), Answer(mute=True))
    origin.on("/two.ts", Answer(ts=True))
    one = origin.url("/one.ts", userinfo="first:secret@")
    two = origin.url("/two.ts", userinfo="second:secret@")
    stream = await create(daemon, one, failover_urls=[two], headers={"X-Key": "k"})
    async with watching(daemon, stream, 50) as viewers:

        async def has_switched() -> bool:
            return bool(origin.path("/two.ts").connections)

        await eventually(has_switched, within=15)
        await grown(viewers, 4 * SECOND)
        assert not any(viewer.ended for viewer in viewers)
        assert await daemon.metric("viewers") == len(viewers)
    for viewer in viewers:
        viewer.check_packets(seams=1)
    viewers[0].check(tmp_path, seams=1)
    sent = [each["authorization"] for path in ("/one.ts", "/two.ts") for each in origin.path(path).requests]
    assert sent == [aiohttp.encode_basic_auth(name, "secret") for name in ("first", "second")]
    assert [request["x-key"] for request in origin.path("/two.ts").requests] == ["k"]
    assert (await labelled(daemon, "failovers_total"))["reset"] == 1


async def test_every_channel_of_a_provider_that_is_down_goes_to_its_spare(
    daemon: Daemon, origin: Origin
) -> None:
    """F29, for more channels than the attempts that a provider is asked for after failures in a minute."""
    streams = []
    for number in range(MOST_IN_WINDOW + 2):
        origin.on(f"/{number}.ts", Answer(ts=True, rst=SECOND), Answer(status=503))
        spare = origin.url(f"/spare{number}.ts", userinfo="spare:secret@")
        streams.append(await create(daemon, origin.url(f"/{number}.ts"), failover_urls=[spare]))
        origin.on(f"/spare{number}.ts", Answer(ts=True))
    async with AsyncExitStack() as stack:
        viewers = [(await stack.enter_async_context(watching(daemon, one)))[0] for one in streams]
        await grown(viewers, 3 * SECOND)
        assert not any(viewer.ended for viewer in viewers)


async def test_every_channel_of_a_provider_comes_back_when_it_does(daemon: Daemon, origin: Origin) -> None:
    """F20, for more channels than attempts in a minute, and without spares: the provider is broken."""
    paths = [f"/{number}.ts" for number in range(MOST_IN_WINDOW + 1)]
    for path in paths:
        origin.on(path, Answer(ts=True))
    streams = [await create(daemon, origin.url(path)) for path in paths]
    async with AsyncExitStack() as stack:
        entered = (stack.enter_async_context(watching(daemon, one)) for one in streams)
        viewers = [one for (one,) in await asyncio.gather(*entered)]
        before = len(origin.connections)
        for path in paths:
            origin.on(path, Answer(status=503))
        await origin.cut()
        began = asyncio.get_running_loop().time()
        await origin.until(lambda: len(origin.connections) - before >= 2, within=20)
        for path in paths:
            origin.on(path, Answer(ts=True))
        await grown(viewers, SECOND, within=40)
        assert not any(viewer.ended for viewer in viewers)
        seconds = asyncio.get_running_loop().time() - began
    assert len(origin.connections) - before <= seconds + 1, "it is asked once a second, not stormed"


@pytest.mark.parametrize("fault", [Answer(mute=True), Answer(ts=True, stall=0)], ids=["mute", "empty"])
async def test_whoever_joins_is_not_kept_by_a_source_that_says_nothing(
    tmp_path: Path, origin: Origin, fault: Answer
) -> None:
    """The first to come is served by the backup, though the source's own budget is as long as that."""
    origin.on("/one.ts", fault)
    origin.on("/two.ts", Answer(ts=True))
    async with Daemon(tmp_path, HLS_WAIT_TIME="10", DEFAULT_READ_TIMEOUT="10") as daemon:
        stream = await create(daemon, origin.url("/one.ts"), failover_urls=[origin.url("/two.ts")])
        async with watching(daemon, stream) as viewers:
            await grown(viewers, 2 * SECOND)
        told = [(one["kind"], one["reason"], one["source"]) for one in await timeline(daemon, stream)]
    assert told[:2] == [("start", None, 0), ("lost", "first_byte_timeout", 0)]
    assert ("connected", None, 1) in told


async def test_a_silent_source_is_left_when_its_budget_is_over(tmp_path: Path, origin: Origin) -> None:
    """F6: open but silent."""
    origin.on("/one.ts", Answer(ts=True, stall=3 * SECOND))
    origin.on("/two.ts", Answer(ts=True))
    async with Daemon(tmp_path, LIVE_CHUNK_TIMEOUT_SECONDS="2") as daemon:
        stream = await create(daemon, origin.url("/one.ts"), failover_urls=[origin.url("/two.ts")])
        async with watching(daemon, stream) as viewers:

            async def has_switched() -> bool:
                return bool(origin.path("/two.ts").connections)

            await eventually(has_switched, within=15)
            last = max(at for at, size in viewers[0].marks if size < 3 * SECOND)
            silent = origin.path("/one.ts").connections[0].closed
            assert silent is not None
            assert silent <= origin.path("/two.ts").connections[0].opened
            assert origin.path("/two.ts").connections[0].opened - last < 2.0 + 0.7
            await grown(viewers, 2 * SECOND)
        viewers[0].check(tmp_path, seams=1)


async def test_an_order_by_hand(daemon: Daemon, origin: Origin, tmp_path: Path) -> None:
    for path in ("/one.ts", "/two.ts", "/three.ts"):
        origin.on(path, Answer(ts=True))
    urls = [origin.url(f"/{name}.ts") for name in ("one", "two", "three")]
    stream = await create(daemon, urls[0], failover_urls=urls[1:])
    async with watching(daemon, stream, 3) as viewers:
        for index, name in ((1, "two"), (2, "three"), (0, "one")):
            answer = await daemon.post(f"/streams/{stream}/failover")
            assert answer["new_url"] == urls[index]
            assert answer["failover_index"] == index
            assert answer["active_clients"] == 3
            assert answer["stream_type"] == "Live Continuous"
            await grown(viewers, 2 * SECOND)
            assert origin.path(f"/{name}.ts").live == 1
        assert not any(viewer.ended for viewer in viewers)
        assert sum(origin.path(f"/{name}.ts").live for name in ("one", "two", "three")) == 1
    viewers[0].check(tmp_path, seams=3)


async def test_no_order_without_another_source(daemon: Daemon, origin: Origin) -> None:
    stream = await create(daemon, origin.url("/live.ts"))
    async with daemon.http.post(f"/streams/{stream}/failover", json=[]) as response:
        assert response.status == 400
    async with daemon.http.post(f"/streams/{'0' * 32}/failover") as response:
        assert response.status == 404


@asynccontextmanager
async def resolver(
    answer: Callable[[dict[str, Any]], web.StreamResponse | Awaitable[web.StreamResponse]],
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """An editor that is asked for the next source: its address, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        said = answer(asked[-1])
        return said if isinstance(said, web.StreamResponse) else await said

    app = web.Application()
    app.router.add_post("/next", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/next", asked
    finally:
        await runner.cleanup()


async def test_a_resolver_names_the_next_source(daemon: Daemon, origin: Origin, tmp_path: Path) -> None:
    origin.on("/one.ts", Answer(ts=True, rst=3 * SECOND), Answer(status=456))
    origin.on("/two.ts", Answer(ts=True))
    two = origin.url("/two.ts")
    async with resolver(lambda _: web.json_response({"next_url": two})) as (url, asked):
        stream = await create(
            daemon, origin.url("/one.ts"), failover_resolver_url=url, metadata={"id": 7, "playlist_uuid": "p"}
        )
        async with watching(daemon, stream, 3) as viewers:

            async def has_switched() -> bool:
                return bool(origin.path("/two.ts").connections)

            await eventually(has_switched, within=15)
            await grown(viewers, 2 * SECOND)
            assert (await row(daemon, stream))["current_failover_index"] == 1
        viewers[0].check(tmp_path, seams=1)
    assert len(asked) == 1
    assert asked[0]["current_url"] == origin.url("/one.ts")
    assert asked[0]["metadata"] == {"id": "7", "playlist_uuid": "p"}
    assert asked[0]["current_failover_index"] == 0
    assert asked[0]["status_code"] is None


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.json_response({"next_url": None}),
        lambda: web.Response(text="<html>", content_type="text/html"),
        lambda: web.Response(status=500),
        lambda: web.json_response({"next_url": "http://169.254.169.254/x.ts"}),
        lambda: web.json_response({"next_url": "file:///etc/passwd"}),
        lambda: web.json_response({"next_url": 7}),
        lambda: web.json_response(["http://h/"]),
        lambda: web.Response(text=json.dumps({"next_url": "http://h/" + "x" * 70_000})),
    ],
    ids=["null", "html", "500", "metadata", "file", "number", "list", "large"],
)
async def test_a_resolver_that_is_of_no_use_leaves_it_to_the_list(
    daemon: Daemon, origin: Origin, answer: Callable[[], web.StreamResponse]
) -> None:
    """F105: its rubbish is no next source."""
    origin.on("/one.ts", Answer(ts=True, rst=2 * SECOND), Answer(status=503))
    origin.on("/two.ts", Answer(ts=True))
    async with resolver(lambda _: answer()) as (url, asked):
        stream = await create(
            daemon, origin.url("/one.ts"), failover_resolver_url=url, failover_urls=[origin.url("/two.ts")]
        )
        async with watching(daemon, stream) as viewers:
            await grown(viewers, 4 * SECOND)
    assert len(asked) == 1
    assert len(origin.path("/two.ts").connections) == 1


async def test_a_resolver_may_ask_us_back_and_is_not_followed_in_a_circle(
    daemon: Daemon, origin: Origin
) -> None:
    """F105: no lock is held while it is asked, and the same URL is no answer."""
    origin.on("/one.ts", Answer(ts=True, rst=2 * SECOND), Answer(status=503))
    origin.on("/two.ts", Answer(ts=True))
    one, two = origin.url("/one.ts"), origin.url("/two.ts")
    seen: list[str] = []

    async def says(question: dict[str, Any]) -> web.StreamResponse:
        async with asyncio.timeout(2):
            for path in ("/streams", f"/streams/{stream}", f"/streams/{stream}/timeline", "/health"):
                await daemon.get(path)
            seen.append(await create(daemon, one, failover_resolver_url=url, failover_urls=[two]))
        return web.json_response({"next_url": question["current_url"]})

    async with resolver(says) as (url, asked):
        stream = await create(daemon, one, failover_resolver_url=url, failover_urls=[two])
        async with watching(daemon, stream, 2) as viewers:
            await grown(viewers, 4 * SECOND)
            assert not any(viewer.ended for viewer in viewers)
    assert seen == [stream]
    assert len(asked) == 1
    assert [len(origin.path(path).connections) for path in ("/one.ts", "/two.ts")] == [1, 1]


async def test_a_dead_primary_is_passed_over_at_the_start(daemon: Daemon, origin: Origin) -> None:
    """F18, F22: 404, then HTML."""
    origin.on("/one.ts", Answer(status=404))
    origin.on("/two.ts", Answer(html=True))
    origin.on("/three.ts", Answer(ts=True))
    urls = [origin.url(f"/{name}.ts") for name in ("one", "two", "three")]
    stream = await create(daemon, urls[0], failover_urls=urls[1:])
    async with watching(daemon, stream):
        assert (await row(daemon, stream))["current_failover_index"] == 2
    assert len(origin.path("/one.ts").connections) == 1
    assert len(origin.path("/two.ts").connections) == 1


async def test_when_nothing_works_joiners_learn_it_soon(daemon: Daemon, origin: Origin) -> None:
    """F28: nothing to begin with."""
    origin.on("/one.ts", Answer(status=503))
    origin.on("/two.ts", Answer(status=404))
    stream = await create(daemon, origin.url("/one.ts"), failover_urls=[origin.url("/two.ts")])
    began = asyncio.get_running_loop().time()
    async with daemon.http.get(f"/stream/{stream}") as response:
        assert response.status == 404, "the status of the last attempt counts"
    assert asyncio.get_running_loop().time() - began < 3.0


async def test_what_is_posted_again_applies_at_the_next_connection(daemon: Daemon, origin: Origin) -> None:
    origin.on("/one.ts", Answer(ts=True, fin=4 * SECOND), Answer(status=503))
    origin.on("/two.ts", Answer(ts=True))
    stream = await create(daemon, origin.url("/one.ts"))
    async with watching(daemon, stream) as viewers:
        again = await create(
            daemon, origin.url("/one.ts"), failover_urls=[origin.url("/two.ts")], headers={"X-Key": "new"}
        )
        assert again == stream
        await grown(viewers, 5 * SECOND)
        assert not viewers[0].ended
    assert [request["x-key"] for request in origin.path("/two.ts").requests] == ["new"]


async def test_a_source_that_forbids_is_not_asked_by_every_joiner(daemon: Daemon, origin: Origin) -> None:
    """F17: a burst of joiners is one request."""
    origin.on("/one.ts", Answer(status=403))
    stream = await create(daemon, origin.url("/one.ts"))
    async with daemon.http.get(f"/stream/{stream}") as response:
        assert response.status == 502

    async def is_paced() -> bool:
        async with daemon.http.get(f"/stream/{stream}") as response:
            waits = int(response.headers.get("Retry-After", "0"))
            return response.status == 503 and waits > 10

    assert await eventually(is_paced, within=8, every=0.5) < 6
    assert len(origin.path("/one.ts").connections) == 1
