"""What players of HLS are told when something fails, and how they are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.hls_bodies import (
    CORS,
    KEY,
    MASTER,
    NO_CACHE,
    PREFIX,
    TS,
    body,
    fetch,
    fill,
    listed,
    live,
    lower,
    made,
    playlist,
    row,
    segments,
    token,
)
from tests.support.inv import eventually, labelled
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import ask

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Origin]:
    """A provider of one multivariant stream, one with a segment of each kind, and a film."""
    async with Origin() as server:
        fill(server)
        yield server


FAILURES: list[tuple[str, Answer, int]] = [
    ("401", Answer(status=401, length=True), 502),
    ("403", Answer(status=403, length=True), 502),
    ("404", Answer(status=404, length=True), 404),
    ("410", Answer(status=410, length=True), 404),
    ("429", Answer(status=429, headers={"Retry-After": "7"}, length=True), 503),
    ("500", Answer(status=500, length=True), 503),
    ("html", Answer(html=True, length=True), 502),
    ("loop", Answer(redirect="loop"), 502),
    ("scheme", Answer(redirect="file:///etc/passwd"), 502),
    ("metadata", Answer(redirect="http://169.254.169.254/latest"), 502),
    ("head", Answer(raw=b"SSH-2.0-x\r\n\r\n"), 503),
    ("nothing", Answer(raw=b""), 503),
]


@pytest.mark.parametrize(("name", "how", "status"), FAILURES, ids=[name for name, _, _ in FAILURES])
@pytest.mark.parametrize("what", ["root", "variant", "segment", "key"])
async def test_the_status_of_a_failure(
    daemon: Daemon, site: Origin, what: str, name: str, how: Answer, status: int
) -> None:
    place = f"/{what}-{name}"
    site.on(f"{place}.m3u8", playlist(MASTER.replace("high", f"{what}-{name}-v")))
    lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="{what}-{name}.key"'] if what == "key" else []
    if what in ("segment", "key"):
        site.on(f"{place}.m3u8", playlist(live(*lines, *segments(f"{what}-{name}.ts"))))
    broken = {"root": f"{place}.m3u8", "variant": f"{place}-v.m3u8", "segment": f"{place}.ts"}
    site.on(broken.get(what, f"{place}.key"), how)
    stream_id = await made(daemon, site.url(f"{place}.m3u8"))
    url = f"/hls/{stream_id}/playlist.m3u8"
    if what != "root":
        found = await listed(daemon, stream_id)
        url = found[-1] if what != "key" else found[0]
    async with daemon.http.get(url) as response:
        answer = await response.text()
        assert response.status == status, answer
        headers = lower(response.headers)
    if status == 503:
        assert int(headers["retry-after"]) >= (7 if name == "429" else 1)
    assert headers["content-type"].startswith("application/json")
    assert {name: headers.get(name) for name in CORS} == CORS
    assert headers["cache-control"] == NO_CACHE["cache-control"]
    assert "127.0.0.1" not in answer
    assert "/" not in answer
    await daemon.http.delete(f"/streams/{stream_id}")


async def test_a_body_over_the_limit_is_refused(daemon: Daemon, site: Origin) -> None:
    site.on("/big.m3u8", playlist(live(*segments("big.ts"))))
    site.on("/big.ts", Answer(body=TS, headers={"Content-Length": str(5 * 2**30)}))
    stream_id = await made(daemon, site.url("/big.m3u8"))
    url = (await listed(daemon, stream_id))[0]
    answer = await fetch(daemon, url, 502)
    assert b"larger" in answer


async def test_a_browser_may_ask_first(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/film.m3u8"))
    fields = {"Origin": "http://other.example", "Access-Control-Request-Method": "GET"}
    for leaf in ("playlist.m3u8", "segment.ts", "segment"):
        async with daemon.http.options(f"/hls/{stream_id}/{leaf}", headers=fields) as response:
            assert response.status == 200
            assert response.headers.getall("Access-Control-Allow-Origin") == ["*"]
    async with daemon.http.get(f"/hls/{stream_id}/playlist.m3u8", headers=fields) as response:
        assert response.headers.getall("Access-Control-Allow-Origin") == ["*"]
        assert "Access-Control-Allow-Credentials" not in response.headers


async def test_players_are_counted_once_and_bytes_add_up(daemon: Daemon, site: Origin) -> None:
    site.on("/count.m3u8", playlist(MASTER.replace("high", "count-v")))
    site.on(
        "/count-v.m3u8",
        playlist(live('#EXT-X-KEY:METHOD=AES-128,URI="one.key"', *segments("d.ts", "e.ts"))),
    )
    site.on("/e.ts", body(TS))
    before = await labelled(daemon, "hls_fetches_total")
    stream_id = await made(daemon, site.url("/count.m3u8"))
    for client in ("tv", "tablet"):
        variant = (await listed(daemon, stream_id, client))[-1]
        key, *media = await listed(daemon, stream_id, client, token(variant))
        assert await fetch(daemon, key) == KEY
        for url in media:
            assert await fetch(daemon, url) == TS
    seen = await row(daemon, stream_id)
    assert seen["client_count"] == 2
    assert seen["stream_type"] == "HLS"
    assert seen["total_segments_served"] == 6
    assert seen["total_bytes_served"] > 4 * len(TS)
    after = await labelled(daemon, "hls_fetches_total")
    grown = {what: after[what] - before.get(what, 0) for what in after if after[what] != before.get(what, 0)}
    assert grown.pop("playlist") >= 1
    assert grown == {"key": 1, "segment": 2}


async def test_what_a_source_really_yields_decides(daemon: Daemon, site: Origin) -> None:
    """Trap 21: both endpoints work for every source, whatever its name says."""
    site.on("/list.ts", playlist(live(*segments("d.ts"))))
    site.on("/body.m3u8", Answer(ts=True))
    lists = await made(daemon, site.url("/list.ts"))
    plays = await made(daemon, site.url("/body.m3u8"))
    assert (await row(daemon, lists))["stream_type"] != "HLS"
    async with daemon.http.get(f"/stream/{lists}?username=u", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == f"{PREFIX}/hls/{lists}/playlist.m3u8?username=u"
    assert (await row(daemon, lists))["stream_type"] == "HLS"
    assert await fetch(daemon, (await listed(daemon, lists))[0]) == TS
    moving = asyncio.create_task(_move(site))
    async with daemon.http.get(f"/hls/{plays}/playlist.m3u8?username=u", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == f"{PREFIX}/stream/{plays}?username=u"
    assert (await row(daemon, plays))["stream_type"] != "HLS"
    moving.cancel()


async def _move(site: Origin) -> None:
    async def never() -> bool:
        site.step(10)
        return False

    await eventually(never, within=10.0)


async def test_a_player_that_waits_is_not_silent(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path, site: Origin
) -> None:
    """Trap 45: who waits for a slow segment lives on."""
    site.on("/slow.m3u8", playlist(live(*segments("slow.ts"), target=1)))
    site.on("/slow.ts", Answer(mute=True))
    async with launch(tmp_path, HLS_WAIT_TIME="5") as daemon:
        stream_id = await made(daemon, site.url("/slow.m3u8"))
        [url] = await listed(daemon, stream_id)
        waiting = asyncio.create_task(fetch(daemon, url, 503))
        await eventually(lambda: _is_asked(site, "/slow.ts"))
        counts = []

        async def over() -> bool:
            counts.append((await row(daemon, stream_id))["client_count"])
            return waiting.done()

        await eventually(over, within=12.0, every=0.25)
        await waiting
        assert set(counts[:-1]) == {1}
        assert await daemon.metric("viewer_disconnects_total") == 0


async def _is_asked(site: Origin, path: str) -> bool:
    return bool(site.path(path).connections)


async def test_a_declined_upgrade_ends_the_connection(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/film.m3u8"))
    [url] = await listed(daemon, stream_id)
    request = f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".encode()
    reply = await ask(daemon.port, request)
    assert (reply.status, reply.body, reply.closed) == (200, TS, True)
    assert reply.headers["connection"] == "close"
