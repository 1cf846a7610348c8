"""What players get: headers, redirects between the forms, ranges, and the status of a failure."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import Reply, ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

TO_HLS = "-i {input_url} -c copy -f hls -hls_time 1 index.m3u8"
TO_TS = "-i {input_url} -c copy -f mpegts {output_args}"
NO_CACHE = {"cache-control": "no-cache, no-store, must-revalidate", "pragma": "no-cache", "expires": "0"}


async def test_a_live_answer(daemon: Daemon, origin: Origin) -> None:
    path = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
    for fields in ((), ("Range: bytes=0-99",), ("Range: bytes=1000-",)):
        async with daemon.http.get(path, headers=dict(field.split(": ") for field in fields)) as response:
            assert response.status == 200
            headers = {name.lower(): value for name, value in response.headers.items()}
            body = await response.content.readexactly(188 * 20)
        assert headers["content-type"] == "video/mp2t"
        assert headers["accept-ranges"] == "none"
        assert headers["access-control-allow-origin"] == "*"
        assert {name: headers[name] for name in NO_CACHE} == NO_CACHE
        assert not {"content-length", "content-range", "set-cookie"} & headers.keys()
        assert {body[at] for at in range(0, len(body), 188)} == {0x47}
    assert len(origin.path("/live.ts").connections) <= 3


async def test_head_of_a_live_stream(daemon: Daemon, origin: Origin) -> None:
    url = origin.url("/live.ts")
    plain = (await daemon.post("/streams", url=url))["stream_endpoint"]
    pipe = (await daemon.post("/transcode", url=url, profile=TO_TS))["stream_endpoint"]
    for path in (plain, pipe):
        reply = await ask(daemon.port, head(path, method="HEAD"))
        assert (reply.status, reply.body, reply.closed) == (200, b"", True)
        assert reply.headers["content-type"] == "video/mp2t"
        assert reply.headers["accept-ranges"] == "none"
        assert not {"content-length", "transfer-encoding"} & reply.headers.keys()
    assert not origin.connections


async def test_what_is_sent_upstream(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post(
        "/streams",
        url=origin.url("/live.ts?a=%41"),
        user_agent="VLC/3.0",
        headers={"X-Own": "1", "Connection": "x", "Transfer-Encoding": "chunked", "X-Null": None},
    )
    viewer = {
        "Authorization": "Bearer CANARY",
        "Cookie": "c=CANARY",
        "X-Forwarded-For": "203.0.113.9",
        "Referer": "http://CANARY/",
        "User-Agent": "CANARY",
        "Range": "bytes=5-",
    }
    path = f"{made['stream_endpoint']}?username=CANARY&h_x-evil=CANARY&h_host=CANARY"
    async with daemon.http.get(path, headers=viewer) as response:
        assert response.status == 200
    (request,) = origin.path("/live.ts").connections
    base = origin.url("")
    assert request.target == "/live.ts?a=%41"
    assert {
        name: request.headers.get(name) for name in ("user-agent", "referer", "origin", "accept", "x-own")
    } == {
        "user-agent": "VLC/3.0",
        "referer": f"{base}/",
        "origin": base,
        "accept": "*/*",
        "x-own": "1",
    }
    assert request.headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "x-forwarded-for", "range", "x-null"} & request.headers.keys()
    assert "transfer-encoding" not in request.headers
    assert "CANARY" not in str(request.headers)


async def test_nothing_of_the_providers_headers_reaches_viewers(daemon: Daemon, origin: Origin) -> None:
    """A87, A114."""
    theirs = {
        "Set-Cookie": "a=CANARY",
        "Refresh": "0; CANARY",
        "Content-Disposition": "CANARY",
        "X-Any": "CANARY",
    }
    origin.on("/live.ts", Answer(ts=True, headers={**theirs, "Content-Type": "application/octet-stream"}))
    path = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
    async with daemon.http.get(path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "video/mp2t"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "CANARY" not in str(response.headers)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(status=401), 502),
        (Answer(status=403), 502),
        (Answer(status=404), 404),
        (Answer(status=410), 404),
        (Answer(status=451), 502),
        (Answer(status=429), 503),
        (Answer(status=500), 503),
        (Answer(status=503), 503),
        (Answer(html=True, length=True), 502),
        (Answer(status=200, body=b"\x89PNG\r\n\x1a\n" * 9999, length=True), 502),
        (Answer(zero=True), 503),
        (Answer(raw=b"SSH-2.0-OpenSSH\r\n"), 503),
        (Answer(raw=b""), 503),
        (Answer(rst=0), 503),
        (Answer(redirect="loop"), 502),
    ],
)
async def test_an_upstream_failure_is_told_before_the_first_byte(
    daemon: Daemon, origin: Origin, answer: Answer, status: int
) -> None:
    """Trap 24: a real status before the first byte, never 200 with nothing."""
    origin.on("/bad.ts", answer)
    url = origin.url("/bad.ts?password=CANARY")
    plain = (await daemon.post("/streams", url=url))["stream_endpoint"]
    async with daemon.http.get(plain) as response:
        text = await response.text()
        assert response.status == status, text
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert {"Retry-After"} & response.headers.keys() == ({"Retry-After"} if status == 503 else set())
        assert (await response.json())["detail"]
    assert "CANARY" not in text
    assert "http://" not in text
    tried = len(origin.path("/bad.ts").connections)
    for _ in range(3):  # answered from memory
        async with daemon.http.get(plain) as response:
            assert response.status == status
    assert len(origin.path("/bad.ts").connections) == tried


async def test_a_refused_connection_is_503(daemon: Daemon) -> None:
    path = (await daemon.post("/streams", url="http://127.0.0.1:1/x.ts"))["stream_endpoint"]
    async with daemon.http.get(path) as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
        assert "127.0.0.1" not in (await response.json())["detail"]


async def test_a_silent_source_is_503_within_its_time(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path, origin: Origin
) -> None:
    origin.on("/mute.ts", Answer(mute=True))
    origin.on("/stall.ts", Answer(ts=True, stall=188 * 7))
    loop = asyncio.get_running_loop()
    async with launch(tmp_path, DEFAULT_READ_TIMEOUT="0.5", HLS_WAIT_TIME="1") as daemon:
        for name, profile in (("mute", None), ("mute", TO_TS), ("stall", TO_HLS)):
            url = origin.url(f"/{name}.ts?{profile}")
            made = await daemon.post("/transcode" if profile else "/streams", url=url, profile=profile)
            began = loop.time()
            async with daemon.http.get(made["stream_endpoint"]) as response:
                assert response.status == 503, (name, profile)
                assert int(response.headers["Retry-After"]) >= 1
                assert (await response.json())["detail"]
            assert loop.time() - began < 3.0


async def test_a_failure_is_told_to_hls_players_too(daemon: Daemon, origin: Origin) -> None:
    origin.on("/denied.ts", Answer(status=403))
    made = await daemon.post("/transcode", url=origin.url("/denied.ts"), profile=TO_HLS)
    async with daemon.http.get(made["stream_endpoint"]) as response:
        assert response.status == 502
        assert "playlist" not in response.headers["Content-Type"]
        assert (await response.json())["detail"]


async def test_each_form_leads_to_the_other(daemon: Daemon) -> None:
    """Trap 21: both endpoints work for every stream."""
    url = "http://provider.example/forms.ts"
    plain = (await daemon.post("/streams", url=url))["stream_id"]
    hls = (await daemon.post("/transcode", url=url, profile=TO_HLS))["stream_id"]
    for asked, led in (
        (f"/stream/{hls}", f"/m3u-proxy/hls/{hls}/playlist.m3u8"),
        (f"/hls/{plain}/playlist.m3u8", f"/m3u-proxy/stream/{plain}"),
    ):
        for prefix in ("", "/m3u-proxy"):
            for method in ("GET", "HEAD"):
                reply = await ask(
                    daemon.port, head(f"{prefix}{asked}?username=a%20b&client_id=c%2Fd", method=method)
                )
                assert reply.status == 302
                assert reply.headers["location"] == f"{led}?username=a%20b&client_id=c%2Fd"
                assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("client_id", ["a" * 129, "a%00b", "a%0Ab", "%1b[31m"])
async def test_a_bad_client_id_is_422(daemon: Daemon, client_id: str) -> None:
    made = await daemon.post("/streams", url="http://provider.example/client.ts")
    reply = await ask(daemon.port, head(f"{made['stream_endpoint']}?client_id={client_id}"))
    assert reply.status == 422
    assert reply.json()["detail"][0]["loc"] == ["query", "client_id"]


@pytest_asyncio.fixture(loop_scope="session")
async def listed(daemon: Daemon, origin: Origin) -> AsyncIterator[tuple[str, str, Reply]]:
    """Stream id, playlist and its answer, of a running HLS stream."""
    made = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=TO_HLS)
    path = f"{made['stream_endpoint']}?client_id=a%20b%26c"
    host = (b"proxy.example", b"evil.example:99")
    reply = await ask(daemon.port, head(path, "X-Forwarded-Host: evil.example").replace(*host), within=10.0)
    assert reply.status == 200, reply.raw
    yield made["stream_id"], path, reply
    async with daemon.http.delete(f"/streams/{made['stream_id']}") as response:
        assert response.status == 200


async def test_a_playlist(daemon: Daemon, origin: Origin, listed: tuple[str, str, Reply]) -> None:
    stream_id, path, reply = listed
    assert reply.headers["content-type"] == "application/vnd.apple.mpegurl"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert reply.headers["x-client-id"] == "a b&c"
    assert reply.headers["x-stream-id"] == stream_id
    assert {name: reply.headers[name] for name in NO_CACHE} == NO_CACHE
    lines = reply.body.decode().splitlines()
    assert lines[0] == "#EXTM3U"
    uris = [line for line in lines if not line.startswith("#")]
    shape = rf"/m3u-proxy/hls/{stream_id}/segment\.ts\?client_id=a%20b%26c&t=[0-9a-f-]+\.ts"
    assert uris
    assert all(re.fullmatch(shape, uri) for uri in uris), uris
    for secret in (b"evil", b"http:", str(origin.port).encode(), str(daemon.segments).encode()):
        assert secret not in reply.body
    headed = await ask(daemon.port, head(path, method="HEAD"))
    assert (headed.status, headed.body) == (200, b"")


async def test_a_segment_and_its_ranges(daemon: Daemon, listed: tuple[str, str, Reply]) -> None:
    _, _, playlist = listed
    url = next(line for line in playlist.body.decode().splitlines() if not line.startswith("#"))
    whole = await ask(daemon.port, head(url))
    size = len(whole.body)
    assert whole.status == 200
    assert whole.headers["content-type"] == "video/mp2t"
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-length"] == str(size)
    assert size % 188 == 0
    for text, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=188-375", 188, 375),
        (f"bytes=188-{size * 9}", 188, size - 1),
        ("bytes=188-", 188, size - 1),
        ("bytes=-188", size - 188, size - 1),
        (f"bytes=-{size * 9}", 0, size - 1),
    ):
        part = await ask(daemon.port, head(url, f"Range: {text}"))
        assert part.status == 206, text
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.body == whole.body[first : last + 1]
        headed = await ask(daemon.port, head(url, f"Range: {text}", method="HEAD"))
        assert (headed.status, headed.headers["content-range"]) == (206, part.headers["content-range"])
        assert headed.headers["content-length"] == str(last - first + 1)
        assert headed.body == b""
    for text in (f"bytes={size}-", "bytes=9000000000-", "bytes=-0", f"bytes={2**62}-"):
        beyond = await ask(daemon.port, head(url, f"Range: {text}"))
        assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{size}"), text
    many = "bytes=" + ",".join(f"{n}-{n}" for n in range(1000))
    for text in (
        many,
        "bytes=0-9,5-14",
        "lines=0-1",
        "bytes=9-5",
        f"bytes={2**70}-",
        "bytes=-",
        "bytes",
        "bytes=a-b",
    ):
        reply = await ask(daemon.port, head(url, f"Range: {text}"))
        assert (reply.status, len(reply.body)) == (200, size), text


async def test_a_segment_is_found_by_its_own_token_only(
    daemon: Daemon, listed: tuple[str, str, Reply]
) -> None:
    stream_id, _, playlist = listed
    url = next(line for line in playlist.body.decode().splitlines() if not line.startswith("#"))
    base, _, token = url.partition("t=")
    other = (await daemon.post("/transcode", url="http://provider.example/o.ts", profile=TO_HLS))["stream_id"]
    name = f"/hls/{stream_id}/segment"
    for leaf in (".ts", "", ".m4s", ".mp4"):
        assert (await ask(daemon.port, head(f"{name}{leaf}?t={token}&h_host=evil"))).status == 200
    flipped = ("1" if token[0] == "0" else "0") + token[1:]
    bad = [
        flipped,
        token.replace(".ts", ".mp4"),
        token[:-1],
        "",
        "x",
        "..%2f..%2fetc%2fpasswd",
        "%00",
        "%ff",
        "%C3%A9",
    ]
    for forged in [f"{base}t={each}" for each in bad] + [
        url.replace(stream_id, other),
        name,
    ]:
        assert (await ask(daemon.port, head(forged))).status == 403, forged
    for leaf in (
        "index.m3u8",
        "segment_0.ts",
        "..%2findex.m3u8",
        "%2e%2e/index.m3u8",
        "a%00b",
        ".",
        "index.m3u8.tmp",
    ):
        assert (await ask(daemon.port, head(f"/hls/{stream_id}/{leaf}"))).status == 404, leaf
