"""Playlists of providers fail, players stay: one media sequence, one discontinuity, one fetch for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.answer import Answer
from tests.support.daemon import Daemon
from tests.support.hls_channels import channel, check, players, reached, seams
from tests.support.hls_lists import HlsStream, MediaList, variants
from tests.support.hls_media import COUNT, HlsMedia, hls_media
from tests.support.hls_origin import HlsOrigin
from tests.support.hls_player import HlsReader
from tests.support.inv import eventually

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


async def create(daemon: Daemon, *urls: str) -> str:
    answer = await daemon.post("/streams", url=urls[0], failover_urls=list(urls[1:]))
    return str(answer["stream_id"])


async def timeline(daemon: Daemon, stream: str) -> list[dict[str, Any]]:
    return list((await daemon.get(f"/streams/{stream}/timeline"))["events"])


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
    told = [moment["kind"] for moment in happened]
    assert (told.count("lost"), told.count("failover")) == (1, 1), happened
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
    assert ("failover", 1) in [(one["kind"], one["source"]) for one in await timeline(daemon, stream)]
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


async def test_silence_is_heard_in_segments(
    daemon: Daemon, hls: HlsOrigin, media: HlsMedia, tmp_path: Path
) -> None:
    """Full scale as the threshold makes any sound a silence; each source is left for it once, and no more."""
    one, two = channel(hls, "one", media), channel(hls, "two", media, edge=48)
    fields = {
        "enable_silence_detection": True,
        "silence_threshold_db": 0,
        "silence_duration": 0.5,
        "silence_check_interval": 0.5,
        "silence_monitoring_grace_period": 1,
        "silence_failover_threshold": 2,
    }
    answer = await daemon.post(
        "/streams", url=hls.url(one.path()), failover_urls=[hls.url(two.path())], **fields
    )
    stream = str(answer["stream_id"])
    for name in ("one", "two"):
        hls.play(name, speed=2)
    async with players(daemon, stream, 3) as readers:
        await asyncio.gather(*(each.follow(each.url, segments=12) for each in readers))
        told = [each for each in await timeline(daemon, stream) if each["kind"] == "failover"]
        assert told
        assert {each["reason"] for each in told} == {"silence_detected"}
        assert len(told) <= 2, told
    check(readers[0], tmp_path)
    assert not [reader.errors for reader in readers if reader.errors]
    assert set(hls.counts(r"/(one|two)/.*\.ts").values()) == {1}, "the listener fetches nothing of its own"
