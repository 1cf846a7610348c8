"""Addresses for FFmpeg: one process, one source, one place in it; gone with the process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from m3u_proxy.ffmpeg.command.arguments import Setting
from m3u_proxy.pool.loopback import Grant, Grants, InputSpec
from m3u_proxy.web.door import Arrivals
from m3u_proxy.web.listener import Deadlines, Listener, bind
from m3u_proxy.web.players.loopback import loopback_application
from tests.support.answer import Answer
from tests.support.files import PATH, Library, a_file, library, mp4

BODY = mp4(3_000_000)
FILM = InputSpec("file.mp4", "mov", "http,tcp", is_finite=True, has_adts=False)
LIVE = InputSpec("index.m3u8", "hls", "http,tcp", is_finite=False, has_adts=True)


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[tuple[Grants, Library, aiohttp.ClientSession]]:
    """A loopback listener, a file at a provider, and a client like FFmpeg's."""
    sockets = bind("127.0.0.1", 0)
    base = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    grants = Grants(lambda: base)
    deadlines = Deadlines(header=5.0, idle=5.0)
    listener = Listener(loopback_application(grants), sockets, deadlines, Arrivals(), inside=True)
    await listener.start()
    try:
        async with library(*answers) as shelf, aiohttp.ClientSession() as http:
            yield grants, shelf, http
    finally:
        await listener.aclose()


def issue(grants: Grants, shelf: Library, reading: InputSpec = FILM) -> Grant:
    return grants.issue(shelf.vod, reading, lambda: None)


async def test_an_address_is_one_secret_and_dies_once() -> None:
    async with serving(a_file(BODY)) as (grants, shelf, http):
        one, two = issue(grants, shelf), issue(grants, shelf)
        assert one.input.url != two.input.url
        assert len(grants) == 2
        async with http.get(one.input.url) as response:
            assert (response.status, await response.read()) == (200, BODY)
        one.close()
        one.close()
        assert len(grants) == 1
        for url in (one.input.url, one.input.folder + "x/file.mp4", two.input.url.upper()):
            async with http.get(url) as response:
                assert response.status == 404
        async with http.head(two.input.url) as response:
            assert response.status == 405


async def test_a_new_place_is_opened_once_the_old_one_is_closed() -> None:
    async with serving(a_file(BODY)) as (grants, shelf, http):
        grant = issue(grants, shelf)
        async with http.get(grant.input.url) as old:
            await old.content.readexactly(1000)
            for start in (1_000_000, 2_999_000, 5):
                async with http.get(grant.input.url, headers={"Range": f"bytes={start}-"}) as new:
                    assert new.status == 206
                    assert await new.content.readexactly(500) == BODY[start : start + 500]
                    assert shelf.vod.connections <= 1
        assert shelf.origin.path(PATH).peak == 1
        assert not grant.ended.done(), "a place that was left is no failure"


async def test_places_asked_for_at_once_come_one_after_the_other() -> None:
    async with serving(a_file(BODY)) as (grants, shelf, http):
        grant = issue(grants, shelf)

        async def read(start: int) -> bytes:
            try:
                async with http.get(grant.input.url, headers={"Range": f"bytes={start}-"}) as response:
                    return await response.content.readexactly(100)
            except (aiohttp.ClientError, asyncio.IncompleteReadError):
                return b""

        pieces = await asyncio.gather(*(read(start) for start in range(0, 1_000_000, 100_000)))
        assert BODY[900_000:900_100] in pieces
        assert shelf.origin.path(PATH).peak == 1
        assert not grant.ended.done()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Answer(status=404), "http_404"), (Answer(status=429, length=True), "http_429")],
)
async def test_a_place_that_cannot_be_had_is_the_end_of_the_input(answer: Answer, reason: str) -> None:
    async with serving(a_file(BODY), answer) as (grants, shelf, http):
        grant = issue(grants, shelf)
        async with http.get(grant.input.url) as old:
            await old.content.readexactly(1000)
            async with http.get(grant.input.url, headers={"Range": "bytes=1000000-"}) as new:
                assert new.status in (404, 503)
        assert grant.ended.result() == reason


async def test_beyond_the_end_is_no_failure() -> None:
    async with serving(a_file(BODY)) as (grants, shelf, http):
        grant = issue(grants, shelf)
        async with http.get(grant.input.url, headers={"Range": "bytes=3000000-"}) as response:
            assert response.status == 416
        assert not grant.ended.done()


async def test_a_cut_that_cannot_be_mended_is_told_before_ffmpeg_can_see_an_end() -> None:
    async with serving(a_file(BODY, fin=1_000_000), Answer(status=404)) as (grants, shelf, http):
        grant = issue(grants, shelf)
        async with http.get(grant.input.url) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert grant.ended.result() == "short"


async def test_a_reader_that_goes_leaves_no_connection() -> None:
    async with serving(a_file(BODY, stall=5000)) as (grants, shelf, http):
        grant = issue(grants, shelf)
        async with http.get(grant.input.url) as response:
            await response.content.readexactly(1000)
            assert shelf.vod.connections == 1
        await shelf.left()
        assert grant.sent >= 1000


async def test_films_begin_where_a_template_says_and_live_streams_where_they_are() -> None:
    late = [Setting("ss", "", "37")]
    async with serving(a_file(BODY)) as (grants, shelf, _):
        film, live = issue(grants, shelf), issue(grants, shelf, LIVE)
        assert ("-ss", "37") in _pairs(list(film.input.argv(late)))
        assert "-ss" not in list(live.input.argv(late))
        assert ("-http_multiple", "0") in _pairs(list(live.input.argv([])))
        assert "-http_multiple" not in list(film.input.argv([]))


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(itertools.pairwise(words))
