"""A file read at the scriptable origin: what viewers get of it, and what the provider sees of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import pytest

from m3u_proxy.errors import Closed, UpstreamError
from m3u_proxy.media.sniff import MP4, MPEGTS
from m3u_proxy.pool.vod.about import RangeNotSatisfiable
from m3u_proxy.upstream.begun import Begun, begin
from m3u_proxy.upstream.ranges import Unsatisfiable, parse_range
from tests.support.answer import HTML, Answer, null_packets
from tests.support.fake_ffmpeg import until
from tests.support.files import DATE, ETAG, PATH, VALID, Library, a_file, got, library, mp4, rest

SMALL = mp4(7)
FILE = mp4(100_000)
LARGE = mp4(1 << 20)


async def check(shelf: Library, body: bytes, wanted: str | None) -> None:
    """The answer to ``wanted`` is that part of ``body``, and says so."""
    try:
        part = parse_range(wanted, len(body))
    except Unsatisfiable:
        with pytest.raises(RangeNotSatisfiable) as refused:
            await shelf.vod.open(wanted)
        assert refused.value.size == len(body)
        return
    position, data = await got(shelf.vod, wanted)
    first, last = part or (0, len(body) - 1)
    assert data == body[first : last + 1], wanted
    assert position.status == (206 if part else 200)
    assert position.length == len(data)
    assert position.headers == {
        "Content-Type": "video/mp4",
        "Accept-Ranges": "bytes",
        "ETag": ETAG,
        "Last-Modified": DATE,
        **({"Content-Range": f"bytes {first}-{last}/{len(body)}"} if part else {}),
    }


def every_range(size: int) -> list[str]:
    ends = [str(n) for n in range(size + 2)]
    return [f"bytes={a}-{b}" for a in ["", *ends] for b in ["", *ends]]


async def test_every_range_of_a_small_file() -> None:
    async with library(a_file(SMALL)) as shelf:
        for wanted in every_range(len(SMALL)):
            await check(shelf, SMALL, wanted)


async def test_every_first_range_of_a_file_that_nobody_knows_yet() -> None:
    async with library(a_file(SMALL)) as shelf:
        for wanted in every_range(len(SMALL))[::7]:
            shelf.vod.about = None
            await check(shelf, SMALL, wanted)


async def test_ranges_of_a_large_file() -> None:
    numbers = random.Random(7)
    async with library(a_file(LARGE)) as shelf:
        await check(shelf, LARGE, None)
        for _ in range(20):
            first = numbers.randrange(len(LARGE))
            last = numbers.choice(["", numbers.randrange(first, len(LARGE) + 9)])
            await check(shelf, LARGE, f"bytes={first}-{last}")
            await check(shelf, LARGE, f"bytes=-{first + 1}")
        assert shelf.vod.connections == 0
        assert shelf.origin.path(PATH).peak == 1


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "items=0-5", "bytes=5-4", "nonsense"])
async def test_what_is_no_single_range_is_answered_with_the_whole(wanted: str) -> None:
    async with library(a_file(FILE)) as shelf:
        position, data = await got(shelf.vod, wanted)
        assert (position.status, data) == (200, FILE)
        assert shelf.ranges == [None]


async def test_a_known_file_is_asked_for_exact_bytes() -> None:
    async with library(a_file(FILE)) as shelf:
        await got(shelf.vod, "bytes=-5")
        await got(shelf.vod, "bytes=-5")
        await got(shelf.vod, "bytes=7-8")
        await got(shelf.vod, "bytes=7-999999")
        assert shelf.ranges == ["bytes=-5", "bytes=99995-", "bytes=7-8", "bytes=7-"]


async def test_a_file_that_has_grown() -> None:
    async with library(a_file(FILE), a_file(LARGE)) as shelf:
        await got(shelf.vod, "bytes=0-")
        position, data = await got(shelf.vod, "bytes=100000-100009")
        assert (position.status, data) == (206, LARGE[100_000:100_010])
        assert shelf.vod.about is not None
        assert shelf.vod.about.size == len(LARGE)


async def test_a_range_beyond_the_size_we_know_is_cut_if_the_file_has_grown() -> None:
    async with library(a_file(FILE), a_file(LARGE)) as shelf:
        await got(shelf.vod, "bytes=0-")
        position, data = await got(shelf.vod, "bytes=99990-100009")
        assert data == LARGE[99_990:100_010]
        assert position.headers["Content-Range"] == f"bytes 99990-100009/{len(LARGE)}"


IGNORES = Answer(body=FILE, length=True, headers=VALID)


@pytest.mark.parametrize("wanted", ["bytes=0-", "bytes=0-9", "bytes=50-", "bytes=-5", "bytes=999999-"])
async def test_a_provider_that_ignores_ranges_sends_the_whole(wanted: str) -> None:
    """F25."""
    async with library(IGNORES) as shelf:
        position, data = await got(shelf.vod, wanted)
        assert (position.status, position.length, data) == (200, len(FILE), FILE)
        assert position.headers["Accept-Ranges"] == "none"
        assert "Content-Range" not in position.headers
        reply = await shelf.vod.head(wanted)
        assert (reply.status, reply.length, len(shelf.requests)) == (200, len(FILE), 1)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "no Content-Range"),
        ({"Content-Range": "bytes 6-15/100"}, "another part"),
        ({"Content-Range": "bytes 5-15/100"}, "not this length"),
        ({"Content-Range": "bytes 5-14/9"}, "outside the size"),
        ({"Content-Range": "bytes */100"}, "none"),
    ],
)
async def test_a_206_that_contradicts_itself(fields: Mapping[str, str], why: str) -> None:
    answer = Answer(status=206, body=FILE[5:15], length=True, headers={**VALID, **fields})
    async with library(answer) as shelf:
        with pytest.raises(UpstreamError) as failed:
            await shelf.vod.open("bytes=5-14")
        assert failed.value.reason == "protocol", why
        await shelf.left()


async def test_a_206_of_unknown_size_is_passed_on() -> None:
    fields = {**VALID, "Content-Range": "bytes 5-14/*"}
    async with library(Answer(status=206, body=FILE[5:15] + b"more", chunked=True, headers=fields)) as shelf:
        position, data = await got(shelf.vod, "bytes=5-14")
        assert (position.status, position.length, data) == (206, 10, FILE[5:15])
        assert position.headers["Content-Range"] == "bytes 5-14/*"


@pytest.mark.parametrize(
    ("if_range", "status", "asked"),
    [
        (ETAG, 206, ["bytes=5-9"]),
        (DATE, 206, ["bytes=5-9"]),
        ('"v0"', 200, [None]),
        ("Mon, 02 Mar 2026 10:00:01 GMT", 200, [None]),
        ('W/"v1"', 200, [None]),
        ("\x07", 200, [None]),
    ],
)
async def test_if_range_of_a_known_file(if_range: str, status: int, asked: list[str | None]) -> None:
    async with library(a_file(FILE)) as shelf:
        await shelf.vod.learn()
        reply = await shelf.vod.head("bytes=5-9", if_range)
        position, data = await got(shelf.vod, "bytes=5-9", if_range)
        assert (position.status, data) == (status, FILE[5:10] if status == 206 else FILE)
        assert (reply.status, reply.headers, reply.length) == (status, position.headers, position.length)
        assert shelf.ranges[1:] == asked


@pytest.mark.parametrize(("if_range", "status"), [(ETAG, 206), (DATE, 206), ('"v0"', 200)])
async def test_if_range_of_an_unknown_file_is_sent_on(if_range: str, status: int) -> None:
    async with library(a_file(FILE)) as shelf:
        position, data = await got(shelf.vod, "bytes=5-9", if_range)
        assert (position.status, data) == (status, FILE[5:10] if status == 206 else FILE)
        assert shelf.requests[0]["if-range"] == if_range
        assert position.headers["Accept-Ranges"] == "bytes"


async def test_if_range_that_the_provider_does_not_know() -> None:
    part = Answer(
        status=206,
        body=FILE[5:10],
        length=True,
        headers={**VALID, "Content-Range": f"bytes 5-9/{len(FILE)}"},
    )
    async with library(part, a_file(FILE)) as shelf:
        position, data = await got(shelf.vod, "bytes=5-9", '"v0"')
        assert (position.status, data) == (200, FILE)
        assert shelf.ranges == ["bytes=5-9", None]
        assert shelf.origin.path(PATH).peak == 1


async def begun(shelf: Library) -> Begun:
    return await begin(shelf.source(), lambda prefix: len(prefix) >= 16)


@pytest.mark.parametrize(
    ("wanted", "status", "part"),
    [(None, 200, FILE), ("bytes=0-", 206, FILE), ("bytes=0-9", 206, FILE[:10])],
)
async def test_a_source_begun_elsewhere_is_gone_on_with(wanted: str | None, status: int, part: bytes) -> None:
    async with library(a_file(FILE)) as shelf:
        position = await shelf.vod.open(wanted, None, await begun(shelf))
        assert shelf.vod.connections == 1
        assert (position.status, await rest(position)) == (status, part)
        await position.aclose()
        assert len(shelf.requests) == 1


async def test_a_source_begun_elsewhere_that_has_no_ranges() -> None:
    answer = Answer(body=FILE, length=True, headers={**VALID, "Accept-Ranges": "none"})
    async with library(answer) as shelf:
        position = await shelf.vod.open("bytes=0-9", None, await begun(shelf))
        assert (position.status, await rest(position)) == (200, FILE)
        await position.aclose()


async def test_a_source_begun_elsewhere_is_closed_before_another_is_opened() -> None:
    async with library(a_file(FILE)) as shelf:
        position = await shelf.vod.open("bytes=5-9", None, await begun(shelf))
        assert (position.status, await rest(position)) == (206, FILE[5:10])
        await position.aclose()
        assert shelf.ranges == [None, "bytes=5-9"]
        assert shelf.origin.path(PATH).connections[0].sent <= len(FILE)
        await shelf.left()


async def test_what_was_seen_elsewhere_is_noted() -> None:
    async with library(a_file(FILE)) as shelf:
        source = await begun(shelf)
        shelf.vod.note(source)
        await source.aclose()
        about = await shelf.vod.learn()
        assert (about.size, about.etag, about.container) == (len(FILE), ETAG, MP4)
        assert len(shelf.requests) == 1


async def test_two_viewers_are_two_positions_on_two_connections() -> None:
    async with library(a_file(LARGE)) as shelf:
        one = await shelf.vod.open(None)
        two = await shelf.vod.open("bytes=500000-")
        assert shelf.vod.connections == 2
        assert len(shelf.requests) == 2
        assert await rest(two) == LARGE[500_000:]
        assert await rest(one) == LARGE
        assert shelf.vod.connections == 0  # at the end of a body, whatever its viewer does
        assert shelf.vod.bytes_in == shelf.received == len(LARGE) * 2 - 500_000
        await one.aclose()
        await two.aclose()


async def test_a_viewer_that_leaves_closes_its_connection_only() -> None:
    async with library(a_file(mp4(8 << 20))) as shelf:
        one, two = await shelf.vod.open(None), await shelf.vod.open(None)
        await one.read()
        await one.aclose()
        await one.aclose()
        assert shelf.vod.connections == 1
        await shelf.origin.until(lambda: shelf.origin.path(PATH).live == 1)
        assert await two.read()
        with pytest.raises(Closed):
            await one.read()


@pytest.mark.parametrize("answer", [Answer(mute=True), a_file(FILE, stall=0)], ids=["mute", "no byte"])
async def test_an_opening_that_is_cancelled_leaves_no_connection(answer: Answer) -> None:
    async with library(answer) as shelf:
        opening = asyncio.ensure_future(shelf.vod.open(None))
        await shelf.origin.until(lambda: shelf.origin.path(PATH).live == 1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await shelf.left()


async def test_the_end_of_the_file_ends_openings_and_reads() -> None:
    async with library(a_file(FILE, stall=1000), a_file(FILE, stall=0)) as shelf:
        position = await shelf.vod.open(None)
        await position.read()
        waiting = [asyncio.ensure_future(position.read()), asyncio.ensure_future(shelf.vod.open(None))]
        await shelf.origin.until(lambda: shelf.origin.path(PATH).live == 2)
        await shelf.vod.aclose()
        assert shelf.vod.connections == 0
        for each in waiting:
            with pytest.raises(Closed):
                await each
        with pytest.raises(Closed):
            await shelf.vod.open(None)


async def test_head_learns_with_one_request() -> None:
    async with library(a_file(mp4(8 << 20))) as shelf:
        about, same = await asyncio.gather(shelf.vod.learn(), shelf.vod.learn())
        assert about == same
        assert (about.size, about.content_type, about.container) == (8 << 20, "video/mp4", MP4)
        assert (about.etag, about.last_modified, about.accepts_ranges) == (ETAG, DATE, True)
        await shelf.left()
        assert len(shelf.requests) == 1
        assert shelf.origin.path(PATH).connections[0].sent < 8 << 20
        with pytest.raises(RangeNotSatisfiable):
            await shelf.vod.head(f"bytes={8 << 20}-")
        assert (await shelf.vod.head("bytes=-5")).length == 5


async def test_head_waits_for_a_viewer_that_is_about_to_learn_the_same() -> None:
    async with library(a_file(FILE, drip=300_000)) as shelf:
        opening = asyncio.ensure_future(shelf.vod.open(None))
        await until(lambda: shelf.vod.connections == 1)
        assert (await shelf.vod.learn()).size == len(FILE)
        await (await opening).aclose()
        assert len(shelf.requests) == 1


async def test_a_viewer_waits_until_head_has_hung_up() -> None:
    async with library(a_file(FILE, drip=10_000), a_file(FILE)) as shelf:
        learning = asyncio.ensure_future(shelf.vod.learn())
        await until(lambda: shelf.vod.connections == 1)
        _, data = await got(shelf.vod)
        assert (data, (await learning).size) == (FILE, len(FILE))
        assert (len(shelf.requests), shelf.origin.path(PATH).peak) == (2, 1)


TS = null_packets(20)


@pytest.mark.parametrize(
    ("body", "said", "path", "content_type"),
    [
        (FILE, "application/octet-stream", "/1", "video/mp4"),
        (TS, "application/octet-stream", "/1", MPEGTS.content_type),
        (FILE, "video/quicktime", "/1.mkv", "video/quicktime"),
        (FILE, "text/html", "/1", "video/mp4"),
        (b"\0" * 1000, "application/octet-stream", "/1.AVI", "video/x-msvideo"),
        (b"\0" * 1000, "binary/octet-stream", "/1.mkv", "video/x-matroska"),
        (b"\0" * 1000, "", "/1", "application/octet-stream"),
    ],
)
async def test_the_content_type(body: bytes, said: str, path: str, content_type: str) -> None:
    async with library(a_file(body, {"Content-Type": said}), path=path) as shelf:
        position, data = await got(shelf.vod)
        assert (position.headers["Content-Type"], data) == (content_type, body)
        later, _ = await got(shelf.vod, "bytes=500-")
        assert later.headers["Content-Type"] == content_type


PLAYLIST = b"#EXTM3U\n#EXTINF:2,\nhttp://127.0.0.1/1.ts\n"


@pytest.mark.parametrize("wanted", [None, "bytes=0-"])
@pytest.mark.parametrize(
    "answer",
    [
        Answer(html=True, length=True),
        Answer(html=True, headers={"Content-Type": "video/mp4"}),
        a_file(HTML),
        a_file(PLAYLIST),
        a_file(b"\0" * 100, {"Content-Type": "text/html"}),
        a_file(FILE, {**VALID, "Content-Encoding": "gzip"}),
        Answer(zero=True),
        Answer(),
        Answer(chunked=True),
    ],
    ids=["html", "no length", "html file", "playlist", "type", "gzip", "empty", "no byte", "no chunk"],
)
async def test_what_is_no_media(answer: Answer, wanted: str | None) -> None:
    async with library(answer) as shelf:
        with pytest.raises(UpstreamError) as failed:
            await shelf.vod.open(wanted)
        assert failed.value.reason == "not_media"
        assert shelf.errors == {"not_media": 1}
        await shelf.left()


async def test_head_of_an_empty_file() -> None:
    async with library(a_file(b"")) as shelf:
        with pytest.raises(UpstreamError) as failed:
            await shelf.vod.learn()
        assert failed.value.reason == "not_media"
