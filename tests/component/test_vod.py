"""A file read at the scriptable origin: what viewers get of it, and what the provider sees of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

import pytest

from m3u_proxy.errors import Closed, UpstreamError
from m3u_proxy.media.sniff import MP4, MPEGTS
from m3u_proxy.pool.vod import RangeNotSatisfiable
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
