"""Behind Debian's nginx, with the sample configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.nginx import Nginx
from tests.support.origin import Answer, Origin
from tests.support.player import HlsViewer, read_some
from tests.support.rawhttp import ask, head
from tests.support.tsverify import verify

COPY = "-i {input_url} -c copy -f hls index.m3u8"
INSIDE = "/m3u-proxy-segments/"

pytestmark = pytest.mark.needs("nginx")


@pytest.fixture(params=["off", "nginx"])
async def behind(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Daemon, Nginx]]:
    """A daemon and its nginx, with either sender of segments."""
    async with (
        Daemon(tmp_path, SENDFILE_MODE=request.param) as daemon,
        Nginx(tmp_path, daemon.port, daemon.segments) as nginx,
    ):
        yield daemon, nginx
        assert nginx.complaints() == []


@pytest.fixture
async def handing_over(tmp_path: Path) -> AsyncIterator[tuple[Daemon, Nginx]]:
    """A daemon that leaves segments to nginx."""
    async with (
        Daemon(tmp_path, SENDFILE_MODE="nginx") as daemon,
        Nginx(tmp_path, daemon.port, daemon.segments) as nginx,
    ):
        yield daemon, nginx


async def channel(daemon: Daemon, origin: Origin) -> str:
    """Endpoint of the live channel as HLS that FFmpeg writes."""
    made = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=COPY)
    return str(made["stream_endpoint"])


async def first_segment(daemon: Daemon, endpoint: str) -> str:
    """Its path on this server, with the prefix."""
    async with daemon.http.get(endpoint) as response:
        assert response.status == 200
        return next(line for line in (await response.text()).splitlines() if not line.startswith("#"))


async def test_hls_plays_through_nginx(behind: tuple[Daemon, Nginx], origin: Origin) -> None:
    daemon, nginx = behind
    endpoint = await channel(daemon, origin)
    async with aiohttp.ClientSession() as http:
        viewer = HlsViewer(http, f"{nginx.url}{endpoint}?client_id=tv")
        await viewer.watch(8.0)
    assert viewer.errors == []
    assert len(viewer.segments) >= 2
    assert verify(bytes(viewer.media)).clean
    (client,) = (await daemon.get("/clients"))["clients"]
    assert client["bytes_served"] >= len(viewer.media)
    assert client["segments_served"] == len(viewer.segments)


async def test_a_range_of_a_segment(behind: tuple[Daemon, Nginx], origin: Origin) -> None:
    daemon, nginx = behind
    path = await first_segment(daemon, await channel(daemon, origin))
    url = nginx.url.removesuffix("/m3u-proxy") + path
    async with aiohttp.ClientSession() as http:
        async with http.get(url) as response:
            whole = await response.read()
            assert response.status == 200
            assert response.headers["Content-Type"] == "video/mp2t"
            assert response.headers["Cache-Control"] == "public, max-age=60, immutable"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert "X-Accel-Redirect" not in response.headers
        async with http.get(url, headers={"Range": "bytes=188-375"}) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == f"bytes 188-375/{len(whole)}"
            assert await response.read() == whole[188:376]
        async with http.get(url, headers={"Range": "bytes=-188"}) as response:
            assert (response.status, await response.read()) == (206, whole[-188:])
        async with http.get(url, headers={"Range": f"bytes={len(whole)}-"}) as response:
            assert response.status == 416
        async with http.head(url) as response:
            assert response.status == 200
            assert response.content_length == len(whole)


async def test_the_answer_names_the_file_and_has_no_body(
    handing_over: tuple[Daemon, Nginx], origin: Origin
) -> None:
    daemon, _ = handing_over
    path = await first_segment(daemon, await channel(daemon, origin))
    async with daemon.http.get(path) as response:
        named = response.headers["X-Accel-Redirect"]
        assert (response.status, await response.read()) == (200, b"")
    assert named.startswith(INSIDE)
    file = daemon.segments / named.removeprefix(INSIDE)
    assert file.is_file()
    assert file.parent.parent == daemon.segments
    async with daemon.http.head(path) as response:
        assert response.content_length == file.stat().st_size
        assert "X-Accel-Redirect" not in response.headers


async def test_a_segment_whose_file_is_gone_is_sent_from_here(
    handing_over: tuple[Daemon, Nginx], origin: Origin
) -> None:
    daemon, nginx = handing_over
    path = await first_segment(daemon, await channel(daemon, origin))
    async with daemon.http.get(path) as response:
        named = response.headers["X-Accel-Redirect"]
    (daemon.segments / named.removeprefix(INSIDE)).unlink()
    async with aiohttp.ClientSession() as http:
        body = await read_some(http, nginx.url.removesuffix("/m3u-proxy") + path, 1)
    assert verify(body).packets > 100


async def test_nobody_outside_reaches_the_files(handing_over: tuple[Daemon, Nginx], origin: Origin) -> None:
    daemon, nginx = handing_over
    path = await first_segment(daemon, await channel(daemon, origin))
    async with daemon.http.get(path) as response:
        named = response.headers["X-Accel-Redirect"]
    for target in (
        named,
        "/m3u-proxy/.." + named,
        "/m3u-proxy/%2e%2e" + named,
        "/" + named,
        "/m3u-proxy" + named,
        INSIDE,
        INSIDE + "../registry.sqlite3",
        INSIDE.rstrip("/") + "../registry.sqlite3",
    ):
        reply = await ask(nginx.port, head(target))
        assert reply.status in {400, 404}, target


async def test_a_provider_cannot_make_nginx_open_a_file(
    handing_over: tuple[Daemon, Nginx], origin: Origin
) -> None:
    daemon, nginx = handing_over
    origin.on("/live.ts", Answer(ts=True, headers={"X-Accel-Redirect": INSIDE + ".gitignore"}))
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    async with aiohttp.ClientSession() as http:
        body = await read_some(http, nginx.url + made["stream_endpoint"], 188 * 100)
    assert verify(body[: len(body) // 188 * 188]).clean


async def test_a_viewer_who_leaves_is_seen_to_leave(behind: tuple[Daemon, Nginx], origin: Origin) -> None:
    daemon, nginx = behind
    made = await daemon.post("/streams", url=origin.url("/live.ts"))

    async def alone() -> bool:
        return await daemon.metric("viewers") == 0 and origin.path("/live.ts").live == 0

    async with aiohttp.ClientSession() as http:
        await read_some(http, nginx.url + made["stream_endpoint"], 188 * 1000)
    assert await eventually(alone, within=6.0) < 6.0


async def test_a_proxy_that_asks_for_an_upgrade(daemon: Daemon, origin: Origin) -> None:
    """The nginx of the editor sends ``Connection: upgrade`` with every request, and no protocol."""
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    headers = {"Connection": "upgrade", "X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    async with daemon.http.get(made["stream_endpoint"], headers=headers) as response:
        assert response.status == 200
        assert (await response.content.readexactly(188))[0] == 0x47


async def test_the_prefix(behind: tuple[Daemon, Nginx]) -> None:
    _, nginx = behind
    async with aiohttp.ClientSession() as http:
        async with http.get(nginx.url, allow_redirects=False) as response:
            assert response.status == 302
            assert response.headers["Location"].endswith("/m3u-proxy/")
        async with http.get(nginx.url + "/readyz") as response:
            assert await response.text() == "ok\n"
        async with http.get(nginx.url + "/health?x=1") as response:
            assert (await response.json())["status"] == "healthy"
