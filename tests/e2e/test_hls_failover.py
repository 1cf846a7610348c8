"""Playlists of providers fail, players stay: one media sequence, one discontinuity, one fetch for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.answer import Answer
from tests.support.daemon import Daemon
from tests.support.hls_lists import HlsStream, MediaList, single, variants
from tests.support.hls_media import COUNT, HlsMedia, hls_media
from tests.support.hls_origin import HlsOrigin
from tests.support.hls_player import HlsReader
from tests.support.inv import eventually
from tests.support.media import probe

VIEWERS = 20
COPY = "-i {input_url} -c copy -f hls -hls_time 2 -hls_list_size 8 index.m3u8"
ENCODE = (
    "-i {input_url} -c:v libx264 -preset ultrafast -c:a aac -f hls -hls_time 2 -hls_list_size 8 index.m3u8"
)


@pytest.fixture(scope="session")
def media() -> HlsMedia:
    return hls_media()


@pytest.fixture
async def hls() -> AsyncIterator[HlsOrigin]:
    async with HlsOrigin() as server:
        yield server


def channel(origin: HlsOrigin, name: str, media: HlsMedia, *, edge: int = 8) -> HlsStream:
    """A live channel of its own numbers."""
    stream = origin.add(single(name, media.high, window=5))
    stream.main.edge = edge
    return stream


@asynccontextmanager
async def players(daemon: Daemon, stream: str, count: int) -> AsyncIterator[list[HlsReader]]:
    """So many players of one stream, each with connections of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        url = f"{daemon.url}/hls/{stream}/playlist.m3u8?client_id=v"
        yield [HlsReader(http, f"{url}{number}") for number in range(count)]


async def create(daemon: Daemon, *urls: str) -> str:
    answer = await daemon.post("/streams", url=urls[0], failover_urls=list(urls[1:]))
    return str(answer["stream_id"])


async def timeline(daemon: Daemon, stream: str) -> list[dict[str, Any]]:
    return list((await daemon.get(f"/streams/{stream}/timeline"))["timeline"])


def seams(reader: HlsReader) -> int:
    """Segments that a player has seen behind a discontinuity."""
    found = set()
    for text in reader.served:
        tags: list[str] = []
        for line in text.splitlines():
            if not line.startswith("#"):
                found |= {line} if "#EXT-X-DISCONTINUITY" in tags else set()
                tags = []
            tags.append(line)
    return len(found)


def check(reader: HlsReader, tmp_path: Path) -> None:
    """Both tracks decode behind the seam, and no number was left out."""
    assert not reader.errors
    numbers = sorted(reader.fetched)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    path = tmp_path / "tail.ts"
    path.write_bytes(b"".join(reader.fetched[number] for number in numbers[-2:]))
    kinds = {row["codec_type"]: int(row["nb_read_frames"]) for row in probe(path)["streams"]}
    assert kinds.get("video", 0) > 10, kinds
    assert kinds.get("audio", 0) > 10, kinds


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("fault", [Answer(status=503), Answer(html=True), Answer(rst=0)])
async def test_a_hard_fault_is_seen_by_nobody(
    daemon: Daemon, hls: HlsOrigin, media: HlsMedia, tmp_path: Path, fault: Answer
) -> None:
    one, two = channel(hls, "one", media), channel(hls, "two", media, edge=104)
    stream = await create(daemon, hls.url(one.path()), hls.url(two.path()))
    for name in ("one", "two"):
        hls.play(name, speed=2)
    async with players(daemon, stream, VIEWERS) as readers:
        playing = [asyncio.create_task(each.follow(each.url, segments=9)) for each in readers]
        await hls.until(lambda: hls.count(one.path()) >= 3, within=15)
        hls.on(one.path(), fault)
        await asyncio.gather(*playing)
    for reader in readers:
        assert seams(reader) == 1
    check(readers[0], tmp_path)
    assert not [reader.errors for reader in readers if reader.errors]
    assert set(hls.counts(r"/(one|two)/.*\.ts").values()) == {1}
    assert hls.peak(r"/.*\.m3u8") == 1
    happened = await timeline(daemon, stream)
    told = [moment["event"] for moment in happened]
    assert (told.count("lost"), told.count("switch")) == (1, 1), happened
    assert await daemon.metric("failovers_total") == 1
    broken = hls.asked(one.path())[-1].opened
    assert hls.asked(two.path())[0].opened - broken < 1.0


@pytest.mark.needs("ffprobe")
async def test_an_order_by_hand(daemon: Daemon, hls: HlsOrigin, media: HlsMedia, tmp_path: Path) -> None:
    names = ("one", "two", "three")
    channels = [channel(hls, name, media, edge=8 + 40 * number) for number, name in enumerate(names)]
    urls = [hls.url(each.path()) for each in channels]
    stream = await create(daemon, *urls)
    for name in names:
        hls.play(name, speed=2)
    async with players(daemon, stream, 3) as readers:
        playing = [asyncio.create_task(each.follow(each.url, segments=12)) for each in readers]
        for number, order in ((4, 1), (8, 2)):
            await eventually(partial(reached, readers, number), within=20)
            answer = await daemon.post(f"/streams/{stream}/failover")
            assert (answer["new_url"], answer["failover_index"]) == (urls[order], order)
            assert (answer["active_clients"], answer["stream_type"]) == (3, "HLS")
        await asyncio.gather(*playing)
    assert [seams(reader) for reader in readers] == [2] * 3
    check(readers[0], tmp_path)
    assert set(hls.counts(r"/.*/.*\.ts").values()) == {1}


async def reached(readers: list[HlsReader], number: int) -> bool:
    return all(len(reader.fetched) >= number for reader in readers)


async def test_a_reset_of_the_encoder_is_one_discontinuity(
    daemon: Daemon, hls: HlsOrigin, media: HlsMedia, tmp_path: Path
) -> None:
    """F32."""
    one = channel(hls, "one", media, edge=20 * COUNT + 6)
    stream = await create(daemon, hls.url(one.path()))
    hls.play("one", speed=2)
    async with players(daemon, stream, 2) as readers:
        playing = [asyncio.create_task(each.follow(each.url, segments=9)) for each in readers]
        await eventually(lambda: reached(readers, 4), within=15)
        one.main.restart()
        await asyncio.gather(*playing)
    assert [seams(reader) for reader in readers] == [1, 1]
    check(readers[0], tmp_path)


async def test_missing_segments_are_a_reason_to_leave(
    daemon: Daemon, hls: HlsOrigin, media: HlsMedia
) -> None:
    """F35."""
    one, two = channel(hls, "one", media), channel(hls, "two", media, edge=104)
    stream = await create(daemon, hls.url(one.path()), hls.url(two.path()))
    one.main.all_missing = True
    for name in ("one", "two"):
        hls.play(name, speed=2)
    async with players(daemon, stream, 1) as (reader,):
        await reader.follow(reader.url, segments=3)
    assert all("404" in error for error in reader.errors)
    assert ("switch", 1) in [(one["event"], one["failover_index"]) for one in await timeline(daemon, stream)]
    assert max(hls.counts(r"/one/.*\.ts").values()) <= 2


async def test_a_player_of_a_variant_is_led_to_its_counterpart(
    daemon: Daemon, hls: HlsOrigin, media: HlsMedia, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        hls.add(variants(name, media, window=5))
        hls.step(name, 4 if name == "one" else 60)
        hls.play(name, speed=2)
    one, two = hls.streams["one"], hls.streams["two"]
    stream = await create(daemon, hls.url(one.path()), hls.url(two.path()))
    async with players(daemon, stream, 3) as readers:
        low = (await readers[0].playlist()).variant("320x180").url
        for reader in readers:
            reader.url = low
        playing = [asyncio.create_task(each.follow(low, segments=9)) for each in readers]
        await eventually(lambda: reached(readers, 4), within=15)
        for path in (one.path(), one.path("low.m3u8"), one.path("high.m3u8")):
            hls.on(path, Answer(status=503))
        await asyncio.gather(*playing)
    assert [seams(reader) for reader in readers] == [1] * 3
    check(readers[0], tmp_path)
    assert hls.count(two.path("high.m3u8")) == 0
    assert set(hls.counts(r"/.*/.*\.ts").values()) == {1}


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("profile", [COPY, ENCODE], ids=["copy", "encode"])
async def test_ffmpeg_goes_on_over_a_switch(
    daemon: Daemon, hls: HlsOrigin, media: HlsMedia, tmp_path: Path, profile: str
) -> None:
    one = channel(hls, "one", media)
    two = hls.add(HlsStream("two", {"index": MediaList("index", media.low, window=5, edge=57)}))
    for name in ("one", "two"):
        hls.play(name, speed=2)
    answer = await daemon.post(
        "/transcode", url=hls.url(one.path()), failover_urls=[hls.url(two.path())], profile=profile
    )
    stream = str(answer["stream_id"])
    async with players(daemon, stream, 1) as (reader,):
        await eventually(lambda: serves(reader), within=15)
        playing = asyncio.create_task(reader.follow(reader.url, segments=10, within=50))
        await eventually(lambda: reached([reader], 3), within=20)
        await daemon.post(f"/streams/{stream}/failover")
        await playing
    check(reader, tmp_path)
    assert seams(reader) == 1, reader.served[-1]


async def serves(reader: HlsReader) -> bool:
    async with reader.http.get(reader.url) as response:
        return response.status == 200
