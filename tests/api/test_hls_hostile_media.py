"""Segments, keys and heads of a provider that means harm, and players that do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.hls_bodies import (
    KEY,
    PLAYLIST_TYPE,
    TS,
    body,
    ended,
    fetch,
    live,
    playlist,
    segments,
    token,
    urls,
)
from tests.support.hls_scene import CANARY, MIB, WAIT, Scene, bounded, cleared, staged
from tests.support.inv import eventually, resident
from tests.support.origin import Answer
from tests.support.rawhttp import ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(sample: bytes, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staged(tmp_path_factory.mktemp("hostile"), sample) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stage: Scene) -> AsyncIterator[Scene]:
    yield stage
    await cleared(stage)


HEADS = {
    "headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n",
    "header": b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * MIB + b"\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + b"HTTP/1.1 200 OK\r\n\r\n#EXTM3U\n",
    "status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "no-status": b"HTTP/1.1 x\r\n\r\n",
    "version": b"HTTP/9.9 200 OK\r\n\r\n",
    "nul": b"HTTP/1.1 200 OK\r\nX: \0\r\n\r\n",
    "lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nab",
    "smuggled": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("how", HEADS)
async def test_heads_that_are_none(scene: Scene, how: str) -> None:
    """A86."""
    scene.on(f"/head-{how}.ts", Answer(raw=HEADS[how]))
    scene.on(f"/head-{how}.key", Answer(raw=HEADS[how]))
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="head-{how}.key"'
    async with bounded(scene):
        text = await scene.text(f"/head-{how}.m3u8", playlist(live(key, *segments(f"head-{how}.ts"))))
        for url in urls(text):
            assert (await ask(scene.daemon.port, head(url), within=WAIT)).status in (502, 503)
        root = await scene.open(f"/head-root-{how}.m3u8", Answer(raw=HEADS[how]))
        assert (await ask(scene.daemon.port, head(root), within=WAIT)).status in (502, 503)


async def test_trailers_without_an_end(scene: Scene) -> None:
    """A86."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(TS) + TS + b"\r\n0\r\n"
    scene.on("/trailers.ts", Answer(raw=raw + b"X-A: b\r\n" * 500_000))
    [url] = urls(await scene.text("/trailers.m3u8", playlist(live(*segments("trailers.ts")))))
    async with bounded(scene):
        reply = await ask(scene.daemon.port, head(url), within=WAIT)
    assert reply.status in (200, 502, 503)


async def test_header_fields_of_the_origin_stay_there(scene: Scene) -> None:
    """A87."""
    evil = {
        "Content-Type": "text/html; charset=\x0bx",
        "Content-Disposition": "attachment",
        "Refresh": "0;url=http://canary.example",
        "Set-Cookie": f"c={CANARY}",
        "Content-Security-Policy": "x",
        "Access-Control-Allow-Origin": "http://canary.example",
        "Server": CANARY,
        "X-Evil": CANARY,
        "Link": "<http://canary.example>",
        "Location": "http://canary.example",
    }
    scene.on("/fields.ts", Answer(headers=evil, body=TS, length=True))
    text = live(*segments("fields.ts"))
    answer = Answer(headers={**evil, "Content-Type": "text/html"}, body=text)
    [url] = urls(await scene.text("/fields.m3u8", answer))
    for path in (url, f"{url.partition('segment')[0]}playlist.m3u8"):
        async with scene.daemon.http.get(path) as response:
            assert response.status == 200
            assert not {"Set-Cookie", "Refresh", "X-Evil", "Link", "Location", "Content-Disposition"} & set(
                response.headers
            )
            assert response.headers["Content-Type"] in ("video/mp2t", PLAYLIST_TYPE)
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers.getall("Access-Control-Allow-Origin") == ["*"]
            assert CANARY not in str(response.headers)
    cookies = [connection.headers.get("cookie") for connection in scene.origin.connections]
    assert set(cookies) == {None}


SPLIT = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\rX-Evil: 1\r\nContent-Length: %d\r\n\r\n" % len(TS)


async def test_a_header_that_would_split(scene: Scene) -> None:
    """A86."""
    scene.on("/split.ts", Answer(raw=SPLIT + TS))
    [url] = urls(await scene.text("/split.m3u8", playlist(live(*segments("split.ts")))))
    reply = await ask(scene.daemon.port, head(url), within=WAIT)
    assert b"evil" not in reply.raw.lower()


NO_SEGMENTS = {
    "list": live(*segments("http://canary.example/a.ts")).encode(),
    "html": b"<html>canary.example</html>",
    "json": b'{"error":"canary.example"}',
    "short-key": b"x",
}


@pytest.mark.parametrize("how", NO_SEGMENTS)
async def test_what_is_no_segment(scene: Scene, how: str) -> None:
    scene.on(f"/none-{how}.ts", body(NO_SEGMENTS[how], "video/mp2t"))
    lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="none-{how}.ts"', *segments("a.ts")]
    if how != "short-key":
        lines = [f'#EXT-X-MAP:URI="none-{how}.ts?map"', *segments(f"none-{how}.ts")]
    found = urls(await scene.text(f"/none-{how}.m3u8", playlist(live(*lines))))
    for url in found[: 1 if how == "short-key" else 2]:
        await scene.get(url, 502)


async def test_a_segment_of_two_bytes_and_one_without_an_end(scene: Scene) -> None:
    """A84."""
    scene.on("/one.ts", body(b"\x47\x00"))
    scene.on("/endless.ts", Answer(body=TS * (64 * MIB // len(TS))))
    text = await scene.text("/sizes.m3u8", playlist(live(*segments("one.ts", "endless.ts"))))
    one, endless = urls(text)
    assert await scene.get(one, 200) == b"\x47\x00"
    async with bounded(scene, seconds=20.0, memory=40 * MIB):
        size = 0
        async with scene.daemon.http.get(endless) as response:
            async for piece in response.content.iter_any():
                size += len(piece)
                assert resident(scene.daemon.pid) < 400 * MIB
    assert size == 64 * MIB // len(TS) * len(TS)  # it passes through a budget of an eighth of that


async def test_a_key_that_hangs_costs_nobody_else(scene: Scene) -> None:
    scene.on("/hang.key", Answer(mute=True))
    scene.on("/hang.ts", body(TS))
    key = '#EXT-X-KEY:METHOD=AES-128,URI="hang.key"'
    text = await scene.text("/hang.m3u8", playlist(live(key, *segments("hang.ts"))))
    url, media = urls(text)
    began = time.monotonic()
    waiting = [asyncio.create_task(scene.get(url, 503)) for _ in range(20)]
    for _ in range(20):
        assert await scene.get(media, 200) == TS
    assert time.monotonic() - began < WAIT / 2
    await asyncio.gather(*waiting)
    assert WAIT - 0.5 < time.monotonic() - began < WAIT + 1
    assert scene.count("/hang.key") == 1


async def test_a_thousand_forged_tokens(scene: Scene) -> None:
    """A46."""
    text = await scene.text("/forged.m3u8", playlist(ended(*segments("a.ts"))))
    [url] = urls(text)
    good = token(url)
    before = len(scene.origin.connections)
    async with bounded(scene, seconds=10.0):
        for start in range(0, 1000, 50):
            forged = [f"{n:024x}-{good.partition('-')[2]}" for n in range(start, start + 50)]
            base = url.partition("?")[0]
            await asyncio.gather(*(scene.get(f"{base}?client_id={t}&t={t}", 403) for t in forged))
    assert len(scene.origin.connections) == before
    assert await scene.daemon.metric("viewers") == 2  # who read the playlist, and the one beside it all


async def test_five_hundred_ranges(scene: Scene) -> None:
    """A101."""
    data = TS * 20
    parts = [f"#EXT-X-BYTERANGE:1000@{n * 1000}" for n in range(10)]
    lines = [line for part in parts for line in ("#EXTINF:2,", part, "all.ts")]
    scene.on("/all.ts", Answer(body=data, file=True))
    url = urls(await scene.text("/ranges.m3u8", playlist(ended(*lines))))[0]
    for n in range(500):
        first = n * 37 % 12_000
        got = await scene.get(url, 206, Range=f"bytes={first}-{first + n}")
        assert got
        assert data[first : first + n + 1].startswith(got)
    assert scene.count("/all.ts") <= 10 + 1  # each range that is listed, and all of it for what is not


async def test_a_reader_that_stops_is_cut_and_slows_nobody(scene: Scene) -> None:
    """A90."""
    data = TS * (6 * MIB // len(TS))
    scene.on("/stop.ts", body(data))
    [url] = urls(await scene.text("/stop.m3u8", playlist(ended(*segments("stop.ts")))))
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", scene.daemon.port))
        await loop.sock_sendall(sock, head(url))
        assert (await loop.sock_recv(sock, 12)) == b"HTTP/1.1 200"
        began = time.monotonic()
        assert await fetch(scene.daemon, url) == data
        assert time.monotonic() - began < 10.0
        assert is_served(scene.daemon.port, sock)

        async def cut() -> bool:
            return not is_served(scene.daemon.port, sock)

        assert await eventually(cut, within=10.0, every=0.2) > 1.0
    assert scene.count("/stop.ts") == 1


def is_served(port: int, sock: socket.socket) -> bool:
    """Whether the daemon's end of a connection is open (``/proc/net/tcp``, state 1)."""
    ours, theirs = f":{port:04X}", f":{sock.getsockname()[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return any(row[1].endswith(ours) and row[2].endswith(theirs) and row[3] == "01" for row in rows)


async def test_keys_are_given_out_as_they_are(scene: Scene) -> None:
    scene.on("/good.key", body(KEY))
    key = '#EXT-X-KEY:METHOD=AES-128,URI="good.key"'
    url = urls(await scene.text("/good.m3u8", playlist(live(key, *segments("a.ts")))))[0]
    assert await scene.get(url, 200) == KEY
