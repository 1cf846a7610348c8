"""What players of HLS get: forms of addresses, headers, ranges, statuses, and how they are counted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.hls_bodies import (
    CORS,
    MIME,
    NO_CACHE,
    PREFIX,
    TS,
    ended,
    fetch,
    fill,
    listed,
    lower,
    made,
    playlist,
    row,
    segments,
    token,
    urls,
)
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Origin]:
    """A provider of one multivariant stream, one with a segment of each kind, and a film."""
    async with Origin() as server:
        fill(server)
        yield server


@pytest.mark.parametrize("prefix", ["", PREFIX])
async def test_a_playlist_and_its_addresses(daemon: Daemon, site: Origin, prefix: str) -> None:
    """Trap 19: addresses are path-absolute with the prefix; trap 20: their leaves."""
    stream_id = await made(daemon, site.url("/master.m3u8"))
    async with daemon.http.get(f"{prefix}/hls/{stream_id}/playlist.m3u8?client_id=a%2Fb") as response:
        headers, text = lower(response.headers), await response.text()
        assert response.status == 200
    expected = {
        "content-type": "application/vnd.apple.mpegurl",
        "content-length": str(len(text.encode())),
        "x-client-id": "a/b",
        "x-stream-id": stream_id,
        "x-content-type-options": "nosniff",
        **NO_CACHE,
        **CORS,
    }
    assert {name: headers.get(name) for name in expected} == expected
    found = urls(text)
    assert len(found) == 3
    for url in found:
        path = re.escape(f"{PREFIX}/hls/{stream_id}/playlist.m3u8")
        assert re.fullmatch(path + r"\?t=[0-9a-z-]+&client_id=a%2Fb", url), url


async def test_each_kind_of_resource_has_an_honest_address_and_type(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/mixed.m3u8"))
    found = await listed(daemon, stream_id)
    base = re.escape(f"{PREFIX}/hls/{stream_id}/")
    forms = ["segment .key", "segment .mp4", "segment .m4s", "segment .aac", "segment .vtt", "segment.ts .ts"]
    forms.append("segment .m4s")  # no ending, but a map is in force
    for url, form in zip(found, forms, strict=True):
        leaf, _, ending = form.partition(" ")
        assert re.fullmatch(
            base + re.escape(leaf) + r"\?client_id=tv&t=[0-9a-z-]+" + re.escape(ending), url
        ), url
    names = ["one.key", "init.mp4", "a.m4s", "b.aac", "c.vtt", "d.ts"]
    for url, name in zip(found, names, strict=False):
        data, content_type = MIME[name]
        for method in ("GET", "HEAD"):
            async with daemon.http.request(method, url) as response:
                assert response.status == 200
                headers = lower(response.headers)
                assert await response.read() == (data if method == "GET" else b"")
            wanted = {
                "content-type": content_type,
                "content-length": str(len(data)),
                "cache-control": "no-cache",
                "accept-ranges": "bytes",
                "x-content-type-options": "nosniff",
                **CORS,
            }
            assert {each: headers.get(each) for each in wanted} == wanted, (method, name)
        assert len(site.path(f"/{name}").connections) == 1


@pytest.mark.parametrize(("root", "prefix"), [("/", ""), ("/tv/", "/tv")])
async def test_the_root_path_of_addresses(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]],
    tmp_path: Path,
    site: Origin,
    root: str,
    prefix: str,
) -> None:
    async with launch(tmp_path, ROOT_PATH=root) as daemon:
        stream_id = await made(daemon, site.url("/mixed.m3u8"))
        variants = await made(daemon, site.url("/master.m3u8"))
        found = await listed(daemon, stream_id) + await listed(daemon, variants)
        assert {url.partition("?")[0].rpartition("/")[0] for url in found} == {
            f"{prefix}/hls/{stream_id}",
            f"{prefix}/hls/{variants}",
        }
        assert await fetch(daemon, found[5]) == TS
        async with daemon.http.get(f"/stream/{stream_id}?client_id=x", allow_redirects=False) as response:
            assert response.status == 302
            assert response.headers["Location"] == f"{prefix}/hls/{stream_id}/playlist.m3u8?client_id=x"


async def test_ranges_of_a_segment(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/film.m3u8"))
    [url] = await listed(daemon, stream_id)
    assert await fetch(daemon, url) == TS
    size = len(TS)
    cases = {
        "bytes=0-187": (206, TS[:188], f"bytes 0-187/{size}"),
        "bytes=188-": (206, TS[188:], f"bytes 188-{size - 1}/{size}"),
        "bytes=-10": (206, TS[-10:], f"bytes {size - 10}-{size - 1}/{size}"),
        f"bytes=0-{size * 2}": (206, TS, f"bytes 0-{size - 1}/{size}"),
        f"bytes={size}-": (416, None, f"bytes */{size}"),
        "bytes=-0": (416, None, f"bytes */{size}"),
        "bytes=5-3": (200, TS, None),
        "bytes=0-1,4-5": (200, TS, None),
        "bytes=x-": (200, TS, None),
        "packets=0-1": (200, TS, None),
    }
    for wanted, (status, data, content_range) in cases.items():
        for method in ("GET", "HEAD"):
            async with daemon.http.request(method, url, headers={"Range": wanted}) as response:
                got = await response.read()
                assert response.status == status, wanted
                assert response.headers.get("Content-Range") == content_range, wanted
                if data is not None:
                    assert int(response.headers["Content-Length"]) == len(data), wanted
                    assert got == (data if method == "GET" else b""), wanted
    assert len(site.path("/d.ts").connections) == 1


async def test_byte_ranges_that_a_playlist_names(daemon: Daemon, site: Origin) -> None:
    data = bytes(TS[n % len(TS)] for n in range(4000))
    lines = [
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:1000@0",
        "all.ts",
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:1000@1000",
        "all.ts",
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:4000@0",
        "all.ts",
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:1000@3500",  # beyond the end
        "all.ts",
        "#EXTINF:2,",
        "#EXT-X-BYTERANGE:1000@9000",  # behind it
        "all.ts",
    ]
    site.on("/parts.m3u8", playlist(ended(*lines)))
    site.on("/all.ts", Answer(body=data, file=True))
    stream_id = await made(daemon, site.url("/parts.m3u8"))
    url = (await listed(daemon, stream_id))[0]
    cases = {
        "bytes=0-999": data[:1000],
        "bytes=1000-1999": data[1000:2000],
        "bytes=0-3999": data,
        "bytes=100-199": data[100:200],
        "bytes=1500-1599": data[1500:1600],
        "bytes=3500-4499": data[3500:],
    }
    for wanted, part in cases.items():
        async with daemon.http.get(url, headers={"Range": wanted}) as response:
            assert response.status == 206, wanted
            assert await response.read() == part, wanted
            first = int(wanted[6:].partition("-")[0])
            assert response.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/4000"
    await fetch(daemon, url, 502, Range="bytes=9000-9999")
    for wanted in ("bytes=5-3", "bytes=-4000"):
        assert await fetch(daemon, url, 200 if wanted == "bytes=5-3" else 206, Range=wanted) == data
    ranges = [request.get("range") for request in site.path("/all.ts").requests]
    assert len(ranges) == len(set(ranges)), ranges


@pytest.mark.parametrize(
    ("how", "status"),
    [
        (
            Answer(status=206, headers={"Content-Range": "bytes 600-699/4000"}, body=TS[:100], length=True),
            503,
        ),
        (Answer(status=206, body=TS[:100], length=True), 206),
        (Answer(status=206, headers={"Content-Range": "bytes 500-549/550"}, body=TS[:50], length=True), 206),
        (Answer(body=TS[:520], length=True), 206),
        (Answer(body=TS[:400], length=True), 416),
    ],
    ids=["elsewhere", "unsaid", "less", "whole", "short"],
)
async def test_a_part_that_is_not_what_was_asked_for(
    daemon: Daemon, site: Origin, how: Answer, status: int
) -> None:
    site.on("/sly.m3u8", playlist(ended("#EXTINF:2,", "#EXT-X-BYTERANGE:100@500", "sly.ts")))
    site.on("/sly.ts", how)
    stream_id = await made(daemon, site.url("/sly.m3u8"))
    [url] = await listed(daemon, stream_id)
    reply = await ask(daemon.port, head(url, "Range: bytes=500-599"))
    assert reply.status == status, reply.raw
    if status == 206:
        assert int(reply.headers["content-length"]) == len(reply.body) > 0
    await daemon.http.delete(f"/streams/{stream_id}")


async def test_head_asks_and_counts_nobody(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/film.m3u8"))
    await fetch(daemon, f"/hls/{stream_id}/playlist.m3u8", method="HEAD")
    assert not site.connections
    [url] = await listed(daemon, stream_id, "reader")
    before = len(site.connections)
    for path in (url, f"/hls/{stream_id}/playlist.m3u8?client_id=other"):
        async with daemon.http.head(path.replace("client_id=reader", "client_id=other")) as response:
            assert response.status == 200
            kind = "video/mp2t" if path == url else "application/vnd.apple.mpegurl"
            assert response.headers["Content-Type"] == kind
    assert len(site.connections) == before
    assert (await row(daemon, stream_id))["client_count"] == 1


async def test_head_of_what_cannot_be_had(daemon: Daemon, site: Origin) -> None:
    site.on("/poor.m3u8", playlist(ended(*segments("poor.ts"))))
    site.on("/poor.ts", Answer(status=403))
    stream_id = await made(daemon, site.url("/poor.m3u8"))
    [url] = await listed(daemon, stream_id)
    await fetch(daemon, url, 502)
    await fetch(daemon, url, 502, method="HEAD")


async def test_tokens(daemon: Daemon, site: Origin) -> None:
    film, other = await made(daemon, site.url("/film.m3u8")), await made(daemon, site.url("/mixed.m3u8"))
    [url] = await listed(daemon, film)
    good = token(url)
    mac, _, label = good.partition("-")
    flipped = format(int(mac[0], 16) ^ 1, "x") + mac[1:]
    for bad in ("", "x", f"{flipped}-{label}", good + "x", good[:-3], f"{mac}-s00", good.upper(), "ü", "%00"):
        async with daemon.http.get(f"/hls/{film}/segment.ts?t={bad}") as response:
            assert response.status == 403, bad
            assert lower(response.headers)["access-control-allow-origin"] == "*"
            assert lower(response.headers)["cache-control"] == NO_CACHE["cache-control"]
    await listed(daemon, other)
    await fetch(daemon, f"/hls/{other}/segment.ts?t={good}", 403)
    await fetch(daemon, f"/hls/{film}/playlist.m3u8?t={good}x", 403)
    await fetch(daemon, f"/hls/{'0' * 32}/segment.ts?t={good}", 404)
    for leaf in ("segment.ts", "segment", "segment.m4s", "segment.mp4"):  # the name does not matter
        assert await fetch(daemon, f"/hls/{film}/{leaf}?t={good}") == TS


async def test_a_token_of_what_is_gone_has_expired(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/film.m3u8"))
    [url] = await listed(daemon, stream_id)
    assert await fetch(daemon, url) == TS
    async with daemon.http.delete(f"/streams/{stream_id}") as response:
        assert response.status == 200
    await fetch(daemon, url, 404)
    site.on("/film.m3u8", playlist(ended(*segments("other.ts"))))
    assert await made(daemon, site.url("/film.m3u8")) == stream_id
    for method in ("GET", "HEAD"):
        await listed(daemon, stream_id)
        await fetch(daemon, url, 404, method=method)


async def test_a_playlist_is_no_segment_and_a_segment_no_playlist(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/master.m3u8"))
    variant = (await listed(daemon, stream_id))[-1]
    for method in ("GET", "HEAD"):
        await fetch(daemon, f"/hls/{stream_id}/segment.ts?t={token(variant)}", 404, method=method)
    [url] = await listed(daemon, stream_id, t=token(variant))
    for method in ("GET", "HEAD"):
        await fetch(daemon, f"/hls/{stream_id}/playlist.m3u8?t={token(url)}", 404, method=method)


async def test_header_parameters_are_ignored(daemon: Daemon, site: Origin) -> None:
    """A48."""
    stream_id = await made(daemon, site.url("/film.m3u8"))
    evil = "&h_host=evil.example&h_authorization=CANARY&h_x%0d%0aY=1&h_cookie=CANARY"
    text = await fetch(daemon, f"/hls/{stream_id}/playlist.m3u8?client_id=tv{evil}")
    [url] = urls(text.decode())
    assert "h_" not in url
    assert await fetch(daemon, url + evil) == TS
    for request in [*site.path("/film.m3u8").requests, *site.path("/d.ts").requests]:
        assert "CANARY" not in str(request)
        assert request["host"] == f"127.0.0.1:{site.port}"


async def test_a_part_that_ends_before_its_end_is_broken_off(daemon: Daemon, site: Origin) -> None:
    """Its end was promised before anybody knew: the player must not wait for the rest."""
    site.on("/early.m3u8", playlist(ended("#EXTINF:2,", "#EXT-X-BYTERANGE:10000@5000", "early.ts")))
    site.on("/early.ts", Answer(body=TS[:9000], chunked=True, drip=9000))
    stream_id = await made(daemon, site.url("/early.m3u8"))
    [url] = await listed(daemon, stream_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(f"GET {url} HTTP/1.1\r\nHost: x\r\nRange: bytes=5000-14999\r\n\r\n".encode())
    async with asyncio.timeout(5.0):
        reply = await reader.read()
    writer.close()
    await writer.wait_closed()
    top, _, part = reply.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 206")
    assert b"Content-Length: 10000" in top
    assert part == TS[5000:9000]


async def test_overlapping_ranges_are_not_mixed_up(daemon: Daemon, site: Origin) -> None:
    """A whole that begins like one of its parts, in either order."""
    for name, sizes in (("up", (100, 1000)), ("down", (1000, 100))):
        lines = [line for n in sizes for line in ("#EXTINF:2,", f"#EXT-X-BYTERANGE:{n}@0", f"{name}.ts")]
        site.on(f"/{name}.m3u8", playlist(ended(*lines)))
        site.on(f"/{name}.ts", Answer(body=TS, file=True))
        url = (await listed(daemon, await made(daemon, site.url(f"/{name}.m3u8"))))[0]
        for size in (*sizes, 500):
            assert await fetch(daemon, url, 206, Range=f"bytes=0-{size - 1}") == TS[:size]


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_segment_of_unknown_length_that_breaks_off_does_not_look_whole(
    daemon: Daemon, site: Origin, version: str
) -> None:
    site.on("/broken.m3u8", playlist(ended(*segments(f"broken-{version}.ts"))))
    site.on(f"/broken-{version}.ts", Answer(body=TS, drip=60_000, trunc_chunk=True))
    stream_id = await made(daemon, site.url("/broken.m3u8"))
    [url] = await listed(daemon, stream_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(f"GET {url} HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
    if version == "1.0":
        with pytest.raises(ConnectionResetError):
            await reader.read()
    else:
        assert not (await reader.read()).endswith(b"0\r\n\r\n")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
