"""Behind nginx as editors ship it, players and editors notice nothing of the proxy's being elsewhere."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support import strict_editor
from tests.support.daemon import Daemon
from tests.support.editor_nginx import EditorNginx
from tests.support.files import a_file, mp4
from tests.support.guzzle import Guzzle, request
from tests.support.hls_lists import groups, single, variants
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import File, HlsOrigin
from tests.support.hls_reading import HLS_COPY, SPEED, TS_COPY, decode, streams_of
from tests.support.inv import eventually, rig
from tests.support.origin import Answer, Origin
from tests.support.player import HlsViewer
from tests.support.rawhttp import ask
from tests.support.tsverify import verify

pytestmark = pytest.mark.needs("nginx")

TOKEN = "a-token-of-the-tests"
FMP4_COPY = "-i {input_url} -c copy -hls_segment_type fmp4 -f hls index.m3u8"
SIZE = 3_000_000
PORTS = ("url", "xtream")
"""Everything, and what players with a login may reach."""
LEAVES = {"playlist.m3u8", "segment.ts", "segment"}


@pytest.fixture
async def daemon(tmp_path: Path, origin: Origin) -> AsyncIterator[Daemon]:
    async with rig(tmp_path / "home", origin) as started:
        yield started


@pytest.fixture
async def front(daemon: Daemon, tmp_path: Path) -> AsyncIterator[EditorNginx]:
    """It has nothing to complain about, but that a seek closes the connection at the old place."""
    async with EditorNginx(tmp_path / "nginx", daemon.port) as started:
        yield started
        assert [line for line in started.complaints() if "prematurely closed" not in line] == []


@pytest.fixture(params=PORTS)
def base(front: EditorNginx, request: pytest.FixtureRequest) -> str:
    """Base address of players, through each port."""
    return str(getattr(front, request.param))


async def add(daemon: Daemon, url: str, **more: object) -> str:
    return strict_editor.created(await daemon.post("/streams", url=url, **more))


async def transcode(daemon: Daemon, url: str, profile: str) -> str:
    return strict_editor.created(await daemon.post("/transcode", url=url, profile=profile))


async def no_viewer(daemon: Daemon) -> bool:
    """Whether everybody has left every count."""
    clients = (await daemon.get("/clients"))["total_clients"]
    streams = (await daemon.get("/streams"))["streams"]
    return clients == 0 and all(row["client_count"] == 0 for row in streams)


@pytest.mark.needs("ffprobe")
async def test_live_ts(daemon: Daemon, origin: Origin, base: str, http: aiohttp.ClientSession) -> None:
    """Trap 3: nginx closing its socket is the only sign that a viewer has left, and it is taken at once."""
    stream_id = await add(daemon, origin.url("/live.ts"), metadata={"playlist_uuid": "pl"})
    url = f"{base}/stream/{stream_id}?username=bob"
    async with http.get(url, headers={"X-Forwarded-For": "203.0.113.7"}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "video/mp2t"
        data = await response.content.readexactly(188 * 4000)
        (client,) = (await daemon.get("/clients"))["clients"]
        assert (client["username"], client["ip_address"]) == ("bob", "203.0.113.7")
        query = "/streams/by-metadata?field=playlist_uuid&value=pl&active_only=1"
        assert (await daemon.get(query))["total_clients"] == 1
    report = verify(data)
    assert report.clean, report
    await eventually(lambda: no_viewer(daemon), within=3.0)
    assert (await daemon.get(query))["matching_streams"] == []
    assert await streams_of(url) == {"video", "audio"}


KINDS: dict[str, Callable[[HlsMedia], Any]] = {
    "live": lambda media: single("news", media.high),
    "encrypted": lambda media: single("news", media.encrypted, keys=media.keys),
    "fragments": lambda media: single("news", media.fmp4),
    "variants": lambda media: variants("news", media),
    "renditions": lambda media: groups("news", media),
}


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("kind", KINDS)
async def test_hls_passes_through(
    daemon: Daemon, base: str, provider: HlsOrigin, media: HlsMedia, kind: str
) -> None:
    """Trap 20: leaves are of the letters that the strict port lets through; trap 49: nginx adds its own."""
    news = provider.add(KINDS[kind](media))
    provider.play("news", SPEED)
    stream_id = await add(daemon, provider.url(news.path()))
    url = f"{base}/hls/{stream_id}/playlist.m3u8?username=bob"
    assert await streams_of(url) >= {"video", "audio"}
    assert (await decode(url, 4))["video"] == 100


@pytest.mark.needs("ffprobe", "ffmpeg")
@pytest.mark.parametrize("profile", [HLS_COPY, FMP4_COPY], ids=["ts", "fmp4"])
async def test_transcoded_hls(daemon: Daemon, origin: Origin, base: str, profile: str) -> None:
    """Traps 20 and 22: also init segments and fragments have names that the strict port knows."""
    stream_id = await transcode(daemon, origin.url("/live.ts"), profile)
    assert (await decode(f"{base}/hls/{stream_id}/playlist.m3u8", 3))["video"] > 60


@pytest.mark.needs("ffprobe", "ffmpeg")
async def test_a_transcoded_body(daemon: Daemon, origin: Origin, base: str) -> None:
    stream_id = await transcode(daemon, origin.url("/live.ts"), TS_COPY)
    assert await streams_of(f"{base}/stream/{stream_id}") == {"video", "audio"}


@pytest.mark.needs("mpv")
async def test_mpv_plays_either_form(
    daemon: Daemon, base: str, origin: Origin, provider: HlsOrigin, media: HlsMedia
) -> None:
    """Trap 21: asked for in the other form, the player is sent there, through the same port."""
    news = provider.add(single("news", media.high))
    provider.play("news", SPEED)
    live = await add(daemon, origin.url("/live.ts"))
    hls = await add(daemon, provider.url(news.path()))
    for path in (
        f"/stream/{live}",
        f"/hls/{live}/playlist.m3u8",
        f"/hls/{hls}/playlist.m3u8",
        f"/stream/{hls}",
    ):
        options = (
            "--no-config",
            "--vo=null",
            "--ao=null",
            "--length=2",
            "--ytdl=no",
            "--msg-level=all=error",
        )
        process = await asyncio.create_subprocess_exec("mpv", *options, base + path)
        try:
            assert await asyncio.wait_for(process.wait(), 30) == 0, path
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_film_and_its_ranges(
    daemon: Daemon, origin: Origin, base: str, http: aiohttp.ClientSession
) -> None:
    """Trap 26: exact 200, 206 and 416, lengths, HEAD; trap 25: one connection for each viewer."""
    film = mp4(SIZE)
    path = "/movie/u/p/1.mp4"
    origin.on(path, a_file(film))
    url = f"{base}/stream/{await add(daemon, origin.url(path))}?username=bob"
    async with http.get(url) as response:
        assert (response.status, response.content_length) == (200, SIZE)
        assert await response.read() == film
    for first, last in ((0, 99), (SIZE // 2, SIZE - 1), (SIZE - 1, SIZE - 1)):
        async with http.get(url, headers={"Range": f"bytes={first}-{last}"}) as response:
            assert (response.status, response.content_length) == (206, last - first + 1)
            assert response.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
            assert await response.read() == film[first : last + 1]
    async with http.get(url, headers={"Range": f"bytes={SIZE}-"}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{SIZE}")
    async with http.head(url) as response:
        assert (response.status, response.content_length) == (200, SIZE)
        assert response.headers["Accept-Ranges"] == "bytes"
    assert origin.path(path).peak == 1
    async with http.get(url) as response:
        await response.content.readexactly(1000)
    await eventually(lambda: no_viewer(daemon), within=3.0)


@pytest.mark.needs("ffprobe")
async def test_a_film_with_its_index_at_the_end(
    daemon: Daemon, base: str, provider: HlsOrigin, media: HlsMedia
) -> None:
    provider.file("/movie/end.mp4", File(media.mp4, "video/mp4"))
    url = f"{base}/stream/{await add(daemon, provider.url('/movie/end.mp4'))}"
    assert await streams_of(url) == {"video", "audio"}


async def test_a_viewer_of_hls_is_gone_after_its_time(
    daemon: Daemon, base: str, provider: HlsOrigin, media: HlsMedia, http: aiohttp.ClientSession
) -> None:
    """Trap 45: it may be silent for three target durations, and no longer."""
    news = provider.add(single("news", media.high))
    provider.play("news", SPEED)
    stream_id = await add(daemon, provider.url(news.path()))
    viewer = HlsViewer(http, f"{base}/hls/{stream_id}/playlist.m3u8")
    await viewer.watch(1.0, poll=0.2)
    assert viewer.segments
    assert not viewer.errors
    assert not await no_viewer(daemon)
    target = int((await first_playlist(http, viewer.path)).partition("TARGETDURATION:")[2].split()[0])
    took = await eventually(lambda: no_viewer(daemon), within=3 * target + 2)
    assert took > 3 * target - 1


async def first_playlist(http: aiohttp.ClientSession, url: str) -> str:
    async with http.get(url) as response:
        assert response.status == 200
        return await response.text()


async def test_addresses_in_a_playlist(
    daemon: Daemon, front: EditorNginx, provider: HlsOrigin, media: HlsMedia, http: aiohttp.ClientSession
) -> None:
    """Trap 19: path-absolute with the prefix; traps 18 and 34: no address of a provider, least in a path."""
    news = provider.add(groups("news", media))
    provider.play("news", SPEED)
    stream_id = await add(daemon, provider.url(news.path()))
    todo, seen = [f"/m3u-proxy/hls/{stream_id}/playlist.m3u8"], set()
    root = front.xtream.removesuffix("/m3u-proxy")
    while todo:
        text = await first_playlist(http, root + todo.pop())
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        for address in [*lines, *re.findall(r'URI="([^"]+)"', text)]:
            parts = urlsplit(address)
            assert not parts.netloc
            folder, _, leaf = parts.path.rpartition("/")
            assert (folder, leaf in LEAVES) == (f"/m3u-proxy/hls/{stream_id}", True), address
            assert re.fullmatch(r"[\w.=&%-]*", parts.query), address
            assert str(provider.port) not in address
            if leaf == "playlist.m3u8" and address not in seen:
                todo.append(address)
            seen.add(address)
    assert len(seen) > 4


async def test_what_the_strict_port_refuses(
    daemon: Daemon, front: EditorNginx, http: aiohttp.ClientSession
) -> None:
    stream_id = await add(daemon, "http://provider.example/1.ts")
    for path in ("/streams", "/health", f"/streams/{stream_id}", f"/hls/{stream_id}/segment.m4s", "/clients"):
        async with http.get(front.xtream + path) as response:
            assert response.status == 404
    async with http.get(f"{front.url}/streams/{stream_id}") as response:
        assert response.status == 200


async def test_no_second_origin_from_us(
    daemon: Daemon, origin: Origin, front: EditorNginx, http: aiohttp.ClientSession
) -> None:
    """Trap 49: one ``Access-Control-Allow-Origin`` from us, whatever nginx adds to it."""
    stream_id = await add(daemon, origin.url("/live.ts"))
    page = {"Origin": "https://player.example"}
    for url, values in ((daemon.url, ["*"]), (front.url, ["*", "*"])):
        async with http.head(f"{url}/stream/{stream_id}", headers=page) as response:
            assert response.headers.getall("Access-Control-Allow-Origin") == values


async def test_old_calls_with_the_prefix_and_the_bare_prefix(front: EditorNginx, daemon: Daemon) -> None:
    """Trap 38: with and without the prefix; trap 33: nginx announces an upgrade on every request."""
    guzzle = Guzzle(front.url)
    for path in ("/m3u-proxy/streams", "/m3u-proxy/m3u-proxy/streams"):
        assert strict_editor.streams(await guzzle.call("GET", path)) == []
    reply = await guzzle.send("GET", "/m3u-proxy")
    assert (reply.status, urlsplit(reply.headers["location"]).path) == (302, "/m3u-proxy/")
    reply = await ask(daemon.port, request("GET", "/m3u-proxy", "Connection: upgrade", host="editor.example"))
    assert (reply.status, reply.headers["location"]) == (307, "/m3u-proxy/")


async def test_encoded_paths_arrive_decoded(front: EditorNginx, daemon: Daemon) -> None:
    """Trap 34: nginx decodes and merges, so nothing but ids and fixed names may be in a path."""
    guzzle = Guzzle(front.url)
    for path, status in (
        ("/stream/http%3A%2F%2Fh%2F1.ts", 404),
        ("/stream/a%20b", 400),
        ("/stream/a_b", 404),
    ):
        reply = await guzzle.send("GET", "/m3u-proxy" + path)
        assert reply.status == status, reply.raw
    made = await guzzle.post("/m3u-proxy/streams", url="http://provider.example/1.ts")
    answer = await guzzle.call("DELETE", f"/m3u-proxy/hls/{made['stream_id']}/clients/tv%2Fone")
    assert answer == {"message": "Client tv/one disconnected"}


async def test_a_token_behind_nginx(tmp_path: Path, sample: bytes, http: aiohttp.ClientSession) -> None:
    """The whole of the interface is published by nginx: only players get on without the token."""
    async with (
        Origin(ts=sample, rate=8e6) as origin,
        Daemon(tmp_path / "guarded", API_TOKEN=TOKEN) as daemon,
        EditorNginx(tmp_path / "nginx", daemon.port) as front,
    ):
        origin.on("/live.ts", Answer(ts=True))
        stranger, editor = Guzzle(front.url), Guzzle(front.url, TOKEN)
        assert (await stranger.send("GET", "/m3u-proxy/streams")).status == 401
        assert (await Guzzle(front.url, "wrong").send("GET", "/m3u-proxy/streams")).status == 403
        stream_id = strict_editor.created(await editor.post("/m3u-proxy/streams", url=origin.url("/live.ts")))
        async with http.get(f"{front.xtream}/stream/{stream_id}") as response:
            assert response.status == 200
            assert (await response.content.readexactly(188))[0] == 0x47
        await editor.call("DELETE", f"/m3u-proxy/streams/{stream_id}")
