"""Downloads that the provider cuts: they go on at the very next byte of the same file, or not at all."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.pool.vod.position import Position, VodLimits
from tests.support.answer import Answer
from tests.support.attempts import QUICK
from tests.support.fake_ffmpeg import until
from tests.support.files import DATE, ETAG, PATH, VALID, Library, a_file, got, library, mp4, rest
from tests.support.house import Clock

FILE = mp4(300_000)
SIZE = len(FILE)
CUTS = {"rst": "reset", "fin": "short", "stall": "stall"}
NUMBERS = random.Random(3)
PLACES = [1, 564, SIZE - 1, *(NUMBERS.randrange(1, SIZE) for _ in range(2))]


async def until_lost(position: Position) -> tuple[bytes, str]:
    """What a body gave before it was broken off, and the reason."""
    data = b""
    try:
        while piece := await position.read():
            data += piece
    except UpstreamError as error:
        return data, error.reason
    pytest.fail("the body has a valid end")


async def cut_short(shelf: Library, wanted: str | None = None) -> tuple[bytes, str]:
    position = await shelf.vod.open(wanted)
    try:
        return await until_lost(position)
    finally:
        await position.aclose()


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("place", PLACES)
async def test_a_cut_download_goes_on_at_the_next_byte(cut: str, place: int) -> None:
    """F11, F12: of a file."""
    broken = replace(a_file(FILE), **{cut: place})  # type: ignore[arg-type]
    async with library(broken, a_file(FILE), wire=QUICK) as shelf:
        position, data = await got(shelf.vod)
        assert data == FILE
        assert position.length == SIZE
        assert shelf.ranges == [None, f"bytes={place}-{SIZE - 1}"]
        assert shelf.requests[1]["if-range"] == ETAG
        assert shelf.errors == {CUTS[cut]: 1}
        assert shelf.origin.path(PATH).peak == 1


async def test_a_cut_part_goes_on_to_its_own_end() -> None:
    async with library(a_file(FILE, rst=1000), a_file(FILE, fin=7), a_file(FILE)) as shelf:
        position, data = await got(shelf.vod, "bytes=5000-9999")
        assert (position.status, data) == (206, FILE[5000:10_000])
        assert shelf.ranges == ["bytes=5000-9999", "bytes=6000-9999", "bytes=6007-9999"]
        assert shelf.errors == {"reset": 1, "short": 1}


async def test_two_viewers_go_on_for_themselves() -> None:
    async with library(a_file(FILE, rst=1000), a_file(FILE, rst=2000), a_file(FILE)) as shelf:
        one, two = await shelf.vod.open(None), await shelf.vod.open(None)
        bodies = await asyncio.gather(rest(one), rest(two))
        assert set(bodies) == {FILE}
        assert sorted(each for each in shelf.ranges if each) == [
            f"bytes=1000-{SIZE - 1}",
            f"bytes=2000-{SIZE - 1}",
        ]


OTHERS = {
    "another etag": a_file(FILE, {**VALID, "ETag": '"v2"'}),
    "another etag, If-Range unknown": Answer(
        status=206,
        body=FILE[1000:],
        length=True,
        headers={**VALID, "ETag": '"v2"', "Content-Range": f"bytes 1000-{SIZE - 1}/{SIZE}"},
    ),
    "another size": Answer(
        status=206,
        body=FILE[1000:],
        length=True,
        headers={**VALID, "Content-Range": f"bytes 1000-{SIZE - 1}/{SIZE + 1}"},
    ),
    "another place": Answer(
        status=206,
        body=FILE[999:],
        length=True,
        headers={**VALID, "Content-Range": f"bytes 999-{SIZE - 1}/{SIZE}"},
    ),
    "from the start": Answer(body=FILE, length=True, headers=VALID),
    "gone": Answer(status=404),
    "refused": Answer(status=416),
    "shorter": a_file(FILE[:1000]),
    "forbidden": Answer(status=403),
}


@pytest.mark.parametrize("other", OTHERS)
async def test_what_is_not_the_rest_of_the_same_file_is_never_sent(other: str) -> None:
    async with library(a_file(FILE, rst=1000), OTHERS[other]) as shelf:
        assert await cut_short(shelf) == (FILE[:1000], "reset")
        assert len(shelf.requests) == 2
        await shelf.left()


async def test_what_was_lost_stays_lost() -> None:
    async with library(a_file(FILE, rst=1000), Answer(status=404)) as shelf:
        position = await shelf.vod.open(None)
        assert await until_lost(position) == (FILE[:1000], "reset")
        assert shelf.vod.connections == 0  # the account is free before the viewer has gone
        assert await until_lost(position) == (b"", "reset")
        await position.aclose()
        assert len(shelf.requests) == 2


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ({"ETag": ETAG}, ETAG),
        ({"ETag": 'W/"v1"', "Last-Modified": DATE}, DATE),
        ({"Last-Modified": DATE}, DATE),
        ({"ETag": 'W/"v1"'}, None),
        ({}, None),
    ],
)
async def test_the_condition_of_going_on(fields: dict[str, str], condition: str | None) -> None:
    async with library(a_file(FILE, fields, rst=1000), a_file(FILE, fields)) as shelf:
        _, data = await got(shelf.vod)
        assert data == FILE
        assert shelf.requests[1].get("if-range") == condition


async def test_a_weak_tag_that_has_changed() -> None:
    async with library(a_file(FILE, {"ETag": 'W/"v1"'}, rst=1000), a_file(FILE, {"ETag": 'W/"v2"'})) as shelf:
        assert await cut_short(shelf) == (FILE[:1000], "reset")


async def test_a_file_of_unknown_size_goes_on_by_its_validator() -> None:
    async with library(Answer(body=FILE[:1000], headers=VALID, trunc_chunk=True), a_file(FILE)) as shelf:
        position, data = await got(shelf.vod)
        assert (position.length, data) == (None, FILE)
        assert shelf.ranges == [None, "bytes=1000-"]


async def test_without_size_and_validator_nothing_is_gone_on_with() -> None:
    async with library(Answer(body=FILE, rst=1000), a_file(FILE)) as shelf:
        assert await cut_short(shelf) == (FILE[:1000], "reset")
        assert len(shelf.requests) == 1


async def test_a_size_can_only_be_compared_with_a_size() -> None:
    again = Answer(
        status=206, body=FILE[1000:], length=True, headers={"Content-Range": f"bytes 1000-{SIZE - 1}/*"}
    )
    async with library(a_file(FILE, {}, rst=1000), again) as shelf:
        assert await cut_short(shelf) == (FILE[:1000], "reset")


async def test_the_end_of_a_body_of_unknown_length_is_the_end() -> None:
    async with library(Answer(body=FILE, headers=VALID)) as shelf:
        position, data = await got(shelf.vod)
        assert (position.status, position.length, data) == (200, None, FILE)
        assert shelf.errors == {}


async def test_a_provider_that_lies_about_the_length() -> None:
    """F11: The bytes that are missing can never be had; the viewer's body must not look complete."""
    async with library(a_file(FILE, short_cl=10), Answer(status=416)) as shelf:
        assert await cut_short(shelf) == (FILE, "short")


async def test_a_provider_that_is_busy_for_a_while() -> None:
    busy = Answer(status=503), Answer(status=429), Answer(mute=True), Answer(raw="")
    limits = VodLimits(resume=10.0, pace=0.01)
    async with library(a_file(FILE, rst=1000), *busy, a_file(FILE), limits=limits, wire=QUICK) as shelf:
        _, data = await got(shelf.vod)
        assert data == FILE
        assert shelf.errors == {"reset": 1, "http_5xx": 1, "http_429": 1, "first_byte_timeout": 1, "eof": 1}
        assert shelf.origin.path(PATH).peak == 1


async def test_a_provider_that_stays_busy_is_given_up_in_time() -> None:
    limits = VodLimits(resume=3.0, pace=0.5)
    async with library(a_file(FILE, rst=1000), Answer(status=503), limits=limits) as shelf:
        assert await cut_short(shelf) == (FILE[:1000], "reset")
        assert len(shelf.requests) == 3  # after 0.5 and 1.5 s; 3.5 s would be too late


async def test_a_provider_that_wants_more_patience_than_there_is() -> None:
    busy = Answer(status=503, headers={"Retry-After": "60"})
    async with library(a_file(FILE, rst=1000), busy) as shelf:
        assert await cut_short(shelf) == (FILE[:1000], "reset")
        assert len(shelf.requests) == 2


async def test_a_viewer_that_leaves_between_two_attempts() -> None:
    limits = VodLimits(resume=60.0, pace=30.0)
    async with library(a_file(FILE, rst=1000), limits=limits) as shelf:
        position = await shelf.vod.open(None)
        reading = asyncio.ensure_future(rest(position))
        await until(lambda: shelf.vod.connections == 0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await position.aclose()
        assert len(shelf.requests) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(mute=True), "first_byte_timeout"),
        (a_file(FILE, stall=0), "first_byte_timeout"),
        (a_file(FILE, rst=0), "reset"),
        (Answer(raw=""), "eof"),
    ],
)
async def test_a_failure_before_the_first_byte_is_one_attempt(answer: Answer, reason: str) -> None:
    async with library(answer, wire=QUICK) as shelf:
        for attempt in (shelf.vod.open(None), shelf.vod.learn()):
            with pytest.raises(UpstreamError) as failed:
                await attempt
            assert failed.value.reason == reason
            await shelf.left()
        assert len(shelf.requests) == 2
        assert shelf.errors == {reason: 2}


@pytest.mark.parametrize(("status", "reason"), [(404, "http_404"), (403, "http_4xx"), (503, "http_5xx")])
async def test_a_file_that_is_refused_is_not_asked_for_by_every_player(
    monkeypatch: pytest.MonkeyPatch, status: int, reason: str
) -> None:
    """F17, F28: players that want a later part look for themselves, so what one was told counts for all."""
    clock = Clock()
    monkeypatch.setattr("m3u_proxy.pool.vod.vod.monotonic", clock)
    async with library(Answer(status=status), a_file(FILE)) as shelf:
        for attempt in (shelf.vod.open("bytes=100-"), shelf.vod.learn(), shelf.vod.open(None)):
            with pytest.raises(UpstreamError) as failed:
                await attempt
            assert failed.value.reason == reason
        assert (len(shelf.requests), shelf.errors) == (1, {reason: 1})
        assert failed.value.retry_after == 2.0
        clock.now += 2.0
        _, data = await got(shelf.vod, "bytes=100-")
        assert data == FILE[100:]


async def test_a_file_that_was_there_is_asked_for_again_where_its_provider_is_only_busy() -> None:
    async with library(a_file(FILE), Answer(status=503), a_file(FILE)) as shelf:
        await got(shelf.vod)
        with pytest.raises(UpstreamError):
            await shelf.vod.open("bytes=100-")
        _, data = await got(shelf.vod, "bytes=100-")
        assert data == FILE[100:]
