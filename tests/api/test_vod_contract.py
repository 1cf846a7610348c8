"""What players of files get: ranges, conditions, types, HEAD, and the status of a failure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.files import DATE, ETAG, a_file, mp4
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import Reply, ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIZE = 50_000
BODY = mp4(SIZE)
NO_CACHE = {"cache-control": "no-cache, no-store, must-revalidate", "pragma": "no-cache", "expires": "0"}
PLAIN = {"Content-Type": "video/mp4"}
ONE_TS_PACKET = b"\x47\x1f\xff\x10" + b"\xff" * 184
_numbers = count(1)


class Film:
    """A stream of a file at an origin."""

    def __init__(self, daemon: Daemon, origin: Origin, source: str, path: str) -> None:
        self.daemon = daemon
        self.origin = origin
        self.source = source
        self.path = path

    async def get(self, *fields: str, method: str = "GET") -> Reply:
        """One request on a connection of its own."""
        return await ask(self.daemon.port, head(self.path, *fields, method=method))

    async def head(self, *fields: str) -> Reply:
        """The same as HEAD."""
        return await self.get(*fields, method="HEAD")

    @property
    def asked(self) -> list[str | None]:
        """Range of each request that the provider saw."""
        return [fields.get("range") for fields in self.origin.path(self.source).requests]

    async def released(self) -> None:
        """The provider sees no connection any more."""
        await self.origin.until(lambda: self.origin.path(self.source).live == 0)


@pytest_asyncio.fixture(loop_scope="session")
async def provider() -> AsyncIterator[Origin]:
    """A provider whose account allows one connection."""
    async with Origin(limit=1) as server:
        yield server


async def film(
    daemon: Daemon, origin: Origin, *answers: Answer, source: str | None = None, **more: Any
) -> Film:
    """A stream of its own for a file with these answers."""
    source = source or f"/movie/{next(_numbers)}.mp4"
    origin.on(source, *answers)
    made = await daemon.post("/streams", url=origin.url(source), **more)
    return Film(daemon, origin, source, made["stream_endpoint"])


async def test_a_whole_file(daemon: Daemon, provider: Origin) -> None:
    one = await film(daemon, provider, a_file(BODY))
    reply = await one.get()
    assert (reply.status, reply.body) == (200, BODY)
    headers = reply.headers
    assert headers["content-length"] == str(SIZE)
    assert headers["content-type"] == "video/mp4"
    assert headers["accept-ranges"] == "bytes"
    assert (headers["etag"], headers["last-modified"]) == (ETAG, DATE)
    assert headers["access-control-allow-origin"] == "*"
    assert {name: headers[name] for name in NO_CACHE} == NO_CACHE
    assert headers["x-stream-id"] in one.path
    assert not {"content-range", "transfer-encoding", "content-encoding"} & headers.keys()
    assert provider.path(one.source).requests[0]["accept-encoding"] == "identity"
    assert one.asked == [None]


RANGES: dict[str, tuple[int, ...] | None] = {
    # None: answered with the whole file; (): there is no such part
    "bytes=0-0": (0, 0),
    "bytes=0-": (0, SIZE - 1),
    "bytes=1-": (1, SIZE - 1),
    "bytes=100-199": (100, 199),
    "Bytes=100-199": None,
    "bytes=100-999999": (100, SIZE - 1),
    f"bytes={SIZE - 1}-": (SIZE - 1, SIZE - 1),
    "bytes=-10": (SIZE - 10, SIZE - 1),
    "bytes=-999999": (0, SIZE - 1),
    "bytes=0-0,5-9": None,
    "bytes=9-5": None,
    "bytes=-": None,
    "bytes=abc": None,
    "lines=1-2": None,
    "bytes=1e3-": None,
    "bytes=" + "9" * 30 + "-": None,
    f"bytes={SIZE}-": (),
    "bytes=9999999999999999999-": (),
    "bytes=-0": (),
}


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "known"])
@pytest.mark.parametrize("wanted", RANGES)
async def test_every_kind_of_range(daemon: Daemon, provider: Origin, wanted: str, is_known: bool) -> None:
    """A101, Trap 26: exact 206 and 416, and lengths."""
    one = await film(daemon, provider, a_file(BODY))
    if is_known:
        await one.get()
        await one.released()
    before = len(one.asked)
    reply = await one.get(f"Range: {wanted}")
    expected = RANGES[wanted]
    if expected == ():
        assert reply.status == 416
        assert reply.headers["content-range"] == f"bytes */{SIZE}"
        assert "detail" in reply.json()
    elif expected is None:
        assert (reply.status, reply.body) == (200, BODY)
        assert "content-range" not in reply.headers
    else:
        first, last = expected
        assert (reply.status, reply.body) == (206, BODY[first : last + 1])
        assert reply.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
        assert reply.headers["content-length"] == str(last - first + 1)
        assert reply.headers["content-type"] == "video/mp4"
    assert len(one.asked) - before == 1
    assert provider.refused == 0


async def test_a_sweep_of_ranges_is_the_file(daemon: Daemon, provider: Origin) -> None:
    one = await film(daemon, provider, a_file(BODY))
    cuts = [0, *sorted(random.Random(7).sample(range(1, SIZE), 24)), SIZE]
    parts = []
    for start, stop in pairwise(cuts):
        reply = await one.get(f"Range: bytes={start}-{stop - 1}")
        assert reply.status == 206
        parts.append(reply.body)
    assert b"".join(parts) == BODY
    assert provider.refused == 0


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (ETAG, 206),
        (DATE, 206),
        ('"v2"', 200),
        (f"W/{ETAG}", 200),
        ("Mon, 02 Mar 2020 10:00:00 GMT", 200),
        ("nonsense, in two parts", 200),
        ("non;sense", 200),
    ],
)
async def test_if_range(daemon: Daemon, provider: Origin, condition: str, status: int) -> None:
    for is_known in (False, True):
        one = await film(daemon, provider, a_file(BODY))
        if is_known:
            await one.get()
        reply = await one.get("Range: bytes=10-19", f"If-Range: {condition}")
        assert reply.status == status
        assert reply.body == (BODY[10:20] if status == 206 else BODY)


async def test_head_asks_once_and_then_no_more(daemon: Daemon, provider: Origin) -> None:
    one = await film(daemon, provider, a_file(BODY))
    reply = await one.head()
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", str(SIZE))
    assert reply.headers["accept-ranges"] == "bytes"
    assert (reply.headers["etag"], reply.headers["content-type"]) == (ETAG, "video/mp4")
    assert not {"x-client-id", "content-range"} & reply.headers.keys()
    part = await one.head("Range: bytes=10-19")
    assert (part.status, part.headers["content-range"]) == (206, f"bytes 10-19/{SIZE}")
    assert part.headers["content-length"] == "10"
    beyond = await one.head(f"Range: bytes={SIZE}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{SIZE}")
    stale = await one.head("Range: bytes=10-19", 'If-Range: "old"')
    assert (stale.status, stale.headers["content-length"]) == (200, str(SIZE))
    assert len(one.asked) == 1
    stream = one.path.rsplit("/", 1)[1]
    assert (await daemon.get(f"/streams/{stream}"))["client_count"] == 0


async def test_head_with_a_range_first_of_all(daemon: Daemon, provider: Origin) -> None:
    one = await film(daemon, provider, a_file(BODY))
    reply = await one.head("Range: bytes=-100")
    assert (reply.status, reply.headers["content-range"]) == (206, f"bytes {SIZE - 100}-{SIZE - 1}/{SIZE}")
    assert len(one.asked) == 1


async def test_head_before_get_is_one_connection(daemon: Daemon, provider: Origin) -> None:
    one = await film(daemon, provider, a_file(BODY))
    assert (await one.head()).status == 200
    assert (await one.get("Range: bytes=0-")).body == BODY
    assert len(one.asked) <= 2
    assert provider.path(one.source).peak == 1
    assert provider.refused == 0


async def test_head_beside_a_viewer_contacts_nobody(daemon: Daemon, provider: Origin) -> None:
    large = mp4(40_000_000)
    one = await film(daemon, provider, a_file(large))
    async with daemon.http.get(one.path) as response:
        await response.content.readexactly(10)
        assert (await one.head()).headers["content-length"] == str(len(large))
        assert len(one.asked) == 1


async def test_an_unknown_length_is_left_out(daemon: Daemon, provider: Origin) -> None:
    one = await film(daemon, provider, Answer(headers=PLAIN, body=BODY, chunked=True))
    known = await one.head()
    assert (known.status, known.body) == (200, b"")
    assert "content-length" not in known.headers
    async with daemon.http.get(one.path) as response:
        assert (response.status, await response.read()) == (200, BODY)
        assert "Content-Length" not in response.headers


TS = ONE_TS_PACKET * 200
CONTAINERS = {
    "mp4": (BODY, "video/mp4"),
    "mkv": (b"\x1aE\xdf\xa3\x93B\x82\x88matroska" + BODY, "video/x-matroska"),
    "webm": (b"\x1aE\xdf\xa3\x93B\x82\x84webm" + BODY, "video/webm"),
    "avi": (b"RIFF\x00\x00\x01\x00AVI LIST" + BODY, "video/x-msvideo"),
    "ts": (TS, "video/mp2t"),
}


@pytest.mark.parametrize("said", ["right", "octets", "binary", "html", "none"])
@pytest.mark.parametrize("suffix", CONTAINERS)
async def test_content_types(daemon: Daemon, provider: Origin, suffix: str, said: str) -> None:
    body, kind = CONTAINERS[suffix]
    types = {"right": kind, "octets": "application/octet-stream", "binary": "binary/octet-stream"}
    types |= {"html": "text/html", "none": ""}
    answer = a_file(body, {"Content-Type": types[said], "ETag": ETAG})
    one = await film(daemon, provider, answer, source=f"/movie/u/p/{next(_numbers)}.{suffix}")
    reply = await one.get()
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, body, kind)
    part = await one.get("Range: bytes=500-599")
    assert (part.status, part.body, part.headers["content-type"]) == (206, body[500:600], kind)


async def test_a_part_first_of_all_is_typed_by_its_name(daemon: Daemon, provider: Origin) -> None:
    octets = {"Content-Type": "application/octet-stream"}
    for suffix in ("mkv", "mp4", "webm", "avi"):
        body, kind = CONTAINERS[suffix]
        source = f"/series/u/p/{next(_numbers)}.{suffix}?token=x.ts"
        one = await film(daemon, provider, a_file(body, octets), source=source.partition("?")[0])
        reply = await one.get("Range: bytes=1000-1999")
        assert (reply.status, reply.headers["content-type"]) == (206, kind)


async def test_a_playlist_under_the_name_of_a_film(daemon: Daemon, provider: Origin) -> None:
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na.ts\n#EXT-X-ENDLIST\n"
    listed = {"Content-Type": "application/vnd.apple.mpegurl"}
    for fields in ((), ("Range: bytes=0-",), ("Range: bytes=0-1,5-9",), ("Range: nonsense",)):
        for method in ("GET", "HEAD"):
            source = f"/movie/u/p/{next(_numbers)}.m3u8"
            one = await film(daemon, provider, Answer(headers=listed, body=text, length=True), source=source)
            stream = one.path.split("/")[2]
            reply = await ask(daemon.port, head(f"/stream/{stream}?client_id=a%2Fb", *fields, method=method))
            assert reply.status == 302, (fields, method)
            assert reply.headers["location"].endswith(f"/hls/{stream}/playlist.m3u8?client_id=a%2Fb")
            assert provider.refused == 0


FAILURES = {
    "404": (Answer(status=404, body="gone", length=True), 404),
    "410": (Answer(status=410, body="gone", length=True), 404),
    "401": (Answer(status=401, body="no", length=True), 502),
    "403": (Answer(status=403, body="no", length=True), 502),
    "429": (Answer(status=429, headers={"Retry-After": "7"}, body="no", length=True), 503),
    "500": (Answer(status=500, body="no", length=True), 503),
    "503": (Answer(status=503, body="no", length=True), 503),
    "html": (Answer(html=True, length=True), 502),
    "html-as-mp4": (Answer(headers=PLAIN, body=b"<!DOCTYPE html>" + b"x" * 900, length=True), 502),
    "closed": (Answer(raw=b""), 503),
    "loop": (Answer(redirect="loop"), 502),
    "compressed": (Answer(headers=PLAIN | {"Content-Encoding": "gzip"}, body=BODY, length=True), 502),
}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("wanted", ["", "bytes=0-", "bytes=100-"])
@pytest.mark.parametrize("why", FAILURES)
async def test_failures_before_the_first_byte(
    daemon: Daemon, provider: Origin, why: str, wanted: str, method: str
) -> None:
    answer, status = FAILURES[why]
    one = await film(daemon, provider, answer)
    reply = await one.get(*([f"Range: {wanted}"] if wanted else []), method=method)
    assert reply.status == status
    assert ("retry-after" in reply.headers) == (status == 503)
    if why == "429":
        assert int(reply.headers["retry-after"]) >= 7
    if method == "GET":
        assert provider.url("")[7:-1] not in reply.body.decode()
        assert reply.json()["detail"]
    await one.released()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_provider_that_is_not_there(daemon: Daemon, provider: Origin, method: str) -> None:
    async with Origin() as gone:
        url = gone.url("/movie/1.mp4")
    path = (await daemon.post("/streams", url=url))["stream_endpoint"]
    for fields in ((), ("Range: bytes=100-",)):
        reply = await ask(daemon.port, head(path, *fields, method=method), within=10.0)
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=100-199"])
async def test_a_provider_that_ignores_ranges(daemon: Daemon, provider: Origin, wanted: str) -> None:
    """F25."""
    whole = Answer(headers=PLAIN | {"Accept-Ranges": "none"}, body=BODY, length=True)
    one = await film(daemon, provider, whole)
    for _ in range(2):
        reply = await one.get(f"Range: {wanted}")
        assert (reply.status, reply.body) == (200, BODY)
        assert reply.headers["accept-ranges"] == "none"
        assert "content-range" not in reply.headers
    probe = await one.head(f"Range: {wanted}")
    assert (probe.status, probe.headers["content-length"]) == (200, str(SIZE))


async def test_another_part_than_the_one_asked_for_is_refused(daemon: Daemon, provider: Origin) -> None:
    fields = PLAIN | {"Content-Range": f"bytes 0-99/{SIZE}"}
    one = await film(daemon, provider, Answer(status=206, headers=fields, body=BODY[:100], length=True))
    assert (await one.get("Range: bytes=100-199")).status in (502, 503)


async def test_a_cut_that_can_be_mended_is_not_seen(daemon: Daemon, provider: Origin) -> None:
    """Trap 26: a lost file is resumed at the byte."""
    for broken in (a_file(BODY, rst=20_000), a_file(BODY, fin=20_000)):
        one = await film(daemon, provider, broken, a_file(BODY))
        async with daemon.http.get(one.path) as response:
            assert await response.read() == BODY
        assert one.asked == [None, "bytes=20000-49999"]
        assert provider.path(one.source).peak == 1


UNMENDABLE = {
    "another file": [a_file(BODY, fin=20_000), a_file(BODY, {**PLAIN, "ETag": '"v2"'})],
    "another size": [a_file(BODY, PLAIN, fin=20_000), a_file(BODY + b"x", PLAIN)],
    "no ranges": [a_file(BODY, fin=20_000), Answer(headers=PLAIN, body=BODY, length=True)],
    "gone": [a_file(BODY, fin=20_000), Answer(status=404)],
    "unknown length": [Answer(headers=PLAIN, body=BODY, chunked=True, rst=20_000), a_file(BODY)],
    "bad chunks": [Answer(headers=PLAIN, body=BODY[:20_000], trunc_chunk=True), a_file(BODY)],
}


@pytest.mark.parametrize("why", UNMENDABLE)
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_cut_that_cannot_be_mended_is_seen(
    daemon: Daemon, provider: Origin, why: str, version: str
) -> None:
    """Trap 26: what cannot be resumed is broken off."""
    one = await film(daemon, provider, *UNMENDABLE[why])
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        writer.write(head(one.path).replace(b"HTTP/1.1", f"HTTP/{version}".encode()))
        raw, is_reset = b"", False
        async with asyncio.timeout(10.0):
            try:
                while piece := await reader.read(65536):
                    raw += piece
            except ConnectionError:
                is_reset = True
    finally:
        writer.close()
    top, _, body = raw.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in top.lower():
        assert BODY[10_000:20_000] in body
        assert not body.endswith(b"0\r\n\r\n")
    elif b"content-length" in top.lower():
        assert BODY[:20_000] == body
        assert b"content-length: 50000" in top.lower()
    else:
        assert is_reset


async def test_what_is_declared_live_is_never_a_part(daemon: Daemon, origin: Origin) -> None:
    absurd = {"Content-Length": "99999999999", "Accept-Ranges": "bytes", "ETag": ETAG}
    answer = Answer(ts=True, headers=absurd)
    one = await film(daemon, origin, answer, source="/movie/strict.ts", strict_live_ts=True)
    for wanted in ("bytes=0-", "bytes=1000-", "bytes=-10"):
        for method in ("HEAD", "GET"):
            async with daemon.http.request(method, one.path, headers={"Range": wanted}) as response:
                assert response.status == 200
                assert response.headers["Accept-Ranges"] == "none"
                assert response.headers["Content-Type"] == "video/mp2t"
                assert not {"Content-Length", "Content-Range", "ETag"} & set(response.headers)
                if method == "GET":
                    assert (await response.content.readexactly(188))[0] == 0x47


async def test_a_viewer_is_counted_once_and_leaves_nothing(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path, provider: Origin
) -> None:
    async with launch(tmp_path) as mine:
        one = await film(mine, provider, a_file(mp4(20_000_000)))
        stream = one.path.rsplit("/", 1)[1]
        async with mine.http.get(one.path) as response:
            await response.content.readexactly(1000)
            listed = await mine.get(f"/streams/{stream}")
            assert listed["client_count"] == 1
            assert await mine.metric("viewers") == 1
            assert provider.path(one.source).live == 1
        await provider.until(lambda: provider.path(one.source).live == 0, within=1.0)

        async def is_empty() -> bool:
            return bool((await mine.get(f"/streams/{stream}"))["client_count"] == 0)

        await eventually(is_empty, 0.5)
