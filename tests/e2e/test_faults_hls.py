"""Playlists, segments and keys that fail, row by row: what the provider sees and what players get."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.support.answer import Answer
from tests.support.daemon import Daemon
from tests.support.hls_channels import channel, check, has_both_tracks, players, reached, seams
from tests.support.hls_lists import HlsStream, MediaList, single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.hls_player import HlsReader, parse
from tests.support.hls_reading import HLS_COPY, endpoint
from tests.support.inv import ask, eventually, labelled

FREEZE = 12.0
ENDED = 10.0
"""Seconds until a playlist of two seconds a segment is left: PL_FREEZE, and F39."""
POLL = 1.0
"""Seconds from one look at it to the next: half its target duration."""
LATE = 1.5


async def create(daemon: Daemon, *urls: str) -> str:
    answer = await daemon.post("/streams", url=urls[0], failover_urls=list(urls[1:]))
    return str(answer["stream_id"])


# --- playlists


async def leave(daemon: Daemon, provider: HlsOrigin, media: HlsMedia, home: Path, fault: str) -> float:
    """Two players of a channel whose playlist stands still: seconds until its spare was asked."""
    one, two = channel(provider, f"{fault}1", media), channel(provider, f"{fault}2", media, edge=104)
    stream = await create(daemon, provider.url(one.path()), provider.url(two.path()))
    for each in (one, two):
        provider.play(each.name)
    async with players(daemon, stream, 2) as readers:
        playing = [asyncio.create_task(each.follow(each.url, segments=10, within=60)) for each in readers]
        await eventually(lambda: reached(readers, 5), within=20)
        one.main.ended = fault == "endlist"
        one.main.freeze()
        began, asked = asyncio.get_running_loop().time(), provider.count(one.path())
        await provider.until(lambda: provider.count(two.path()) > 0, within=20)
        took = provider.asked(two.path())[0].opened - began
        assert provider.count(one.path()) - asked <= took / POLL + 1
        await asyncio.gather(*playing)
    for reader in readers:
        assert seams(reader) == 1
    home.mkdir()
    check(readers[0], home)
    return took


async def recover(daemon: Daemon, provider: HlsOrigin, media: HlsMedia) -> None:
    """A player of a channel that says it ends, and goes on a little later."""
    one, two = channel(provider, "again1", media), channel(provider, "again2", media, edge=104)
    stream = await create(daemon, provider.url(one.path()), provider.url(two.path()))
    provider.play(one.name)
    async with players(daemon, stream, 1) as (reader,):
        playing = asyncio.create_task(reader.follow(reader.url, segments=8, within=60))
        await eventually(lambda: reached([reader], 4), within=20)
        one.main.ended = True
        one.main.freeze()
        polled = provider.count(one.path()) + 4
        await provider.until(lambda: provider.count(one.path()) >= polled, within=10)
        one.main.ended = False
        one.main.thaw()
        await playing
    assert not reader.errors
    assert not [text for text in reader.served if "ENDLIST" in text]
    assert seams(reader) == 0
    assert provider.count(two.path()) == 0


@pytest.mark.needs("ffprobe")
async def test_a_playlist_that_stands_still_is_left_in_time(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, tmp_path: Path
) -> None:
    """F31 frozen, F39 ended for good and ended for a moment: side by side, as each takes its time."""
    frozen, ended, _ = await asyncio.gather(
        leave(daemon, provider, media, tmp_path / "frozen", "freeze"),
        leave(daemon, provider, media, tmp_path / "ended", "endlist"),
        recover(daemon, provider, media),
    )
    assert FREEZE - 2 <= frozen <= FREEZE + POLL + LATE
    assert ENDED <= ended <= ENDED + 2 * POLL + LATE
    assert await labelled(daemon, "upstream_errors_total") == {"playlist_freeze": 1, "eof": 1}
    assert await labelled(daemon, "failovers_total") == {"playlist_freeze": 1, "eof": 1}


# --- segments


async def test_one_missing_segment_is_skipped_and_all_of_them_are_a_reason_to_leave(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia
) -> None:
    """F34, F35: the origin's log decides."""
    one, two = channel(provider, "one", media), channel(provider, "two", media, edge=104)
    one.main.missing.add(9)
    stream = await create(daemon, provider.url(one.path()), provider.url(two.path()))
    for each in (one, two):
        provider.play(each.name, speed=2)
    async with players(daemon, stream, 2) as readers:
        playing = [asyncio.create_task(each.follow(each.url, segments=12)) for each in readers]
        await eventually(lambda: reached(readers, 5), within=20)
        assert provider.count(one.segment(9)) <= 2 * 5, "one retry, for all who ask"
        assert provider.count(two.path()) == 0
        assert not await labelled(daemon, "failovers_total")
        one.main.all_missing = True
        await asyncio.gather(*playing)
    assert await labelled(daemon, "failovers_total") == {"segments": 1}
    later = {path: n for path, n in provider.counts(r"/one/.*\.ts").items() if path != one.segment(9)}
    assert max(later.values()) <= 2
    assert sum(later.values()) <= len(later) + 1, "only the first that was missing is asked for again"
    for reader in readers:
        assert seams(reader) == 1
        assert not [error for error in reader.errors if "404" not in error]


# --- initialization sections and keys


@pytest.mark.needs("ffprobe")
async def test_fragmented_mp4_goes_on_with_the_section_of_the_new_source(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, tmp_path: Path
) -> None:
    """F38: another resolution behind another EXT-X-MAP."""
    one = provider.add(single("one", media.fmp4, window=5))
    two = provider.add(single("two", media.fmp4_low, window=5))
    one.main.edge, two.main.edge = 8, 107
    stream = await create(daemon, provider.url(one.path()), provider.url(two.path()))
    for each in (one, two):
        provider.play(each.name, speed=2)
    async with players(daemon, stream, 1) as (reader,):
        playing = asyncio.create_task(reader.follow(reader.url, segments=9))
        await eventually(lambda: reached([reader], 4), within=20)
        provider.on(one.path(), Answer(status=503))
        await playing
        seam = next(parse(text, reader.url) for text in reader.served if "#EXT-X-DISCONTINUITY\n" in text)
        sections = {each.sequence: each.map for each in seam.segments}
        assert len(set(sections.values())) == 2
        newest = max(sections)
        section = sections[newest]
        assert section is not None
        init = await reader.get(section)
    assert init == media.fmp4_low.init
    assert not reader.errors
    assert seams(reader) == 1
    has_both_tracks(init + reader.fetched[newest], tmp_path)


async def test_keys_go_with_their_segments_over_a_switch(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia
) -> None:
    """F42: keys that change, and those of another source."""
    one = provider.add(single("one", media.encrypted, window=5, keys=media.keys))
    two = provider.add(single("two", media.encrypted, window=5, keys=media.keys))
    one.main.edge, two.main.edge = 8, 110
    stream = await create(daemon, provider.url(one.path()), provider.url(two.path()))
    for each in (one, two):
        provider.play(each.name, speed=2)
    async with players(daemon, stream, 2) as readers:
        playing = [asyncio.create_task(each.follow(each.url, segments=9)) for each in readers]
        await eventually(lambda: reached(readers, 4), within=20)
        provider.on(one.path(), Answer(status=503))
        await asyncio.gather(*playing)
    for reader in readers:
        assert not reader.errors
        assert seams(reader) == 1
        assert set(reader.fetched.values()) <= set(media.high.segments), "what was decrypted is the picture"
        assert not [text for text in reader.served if "/one/" in text or "index-" in text]
    assert set(provider.counts(r".*\.key").values()) == {1}
    said = "\n".join(daemon.log)
    assert not [key for key in media.keys if key.hex() in said or repr(key) in said]


async def test_a_key_that_is_refused_is_told_and_asked_for_once(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    """F42: 403, and a body that is no key."""
    news = provider.add(single("news", media.encrypted, keys=media.keys, window=7))
    news.step(4)
    refused, wrong = (news.path(news.main.key_uri(number)) for number in (1, 4))
    assert refused != wrong
    provider.on(refused, Answer(status=403))
    provider.on(wrong, Answer(body=b"fifteen bytes..", length=True))
    reader = HlsReader(http, await endpoint(daemon, provider.url(news.path())))
    now = await reader.playlist()
    keys = {each.sequence: each.key for each in now.segments}
    for number in (1, 4):
        key = keys[number]
        assert key is not None
        assert key.url.startswith(daemon.url)
        replies = [await ask(daemon, key.url) for _ in range(3)]
        assert {reply.status for reply in replies} == {502}
        assert "127.0.0" not in replies[0].text.replace(daemon.url, "")
    assert provider.count(refused) == provider.count(wrong) == 1
    good = next(each for each in now.segments if each.sequence == 7)
    assert await reader.fetch(good) == media.high.segments[7]


# --- variants


def three_variants(provider: HlsOrigin, media: HlsMedia) -> HlsStream:
    """``high``, ``mid`` and ``low``; the second is the first under another name."""
    tracks = {"high": media.high, "mid": media.high, "low": media.low}
    lists = {name: MediaList(name, track, window=5, edge=8) for name, track in tracks.items()}
    master = ["#EXTM3U"]
    for name, bandwidth in (("high", 900_000), ("mid", 600_000), ("low", 300_000)):
        master += [f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth}", f"{name}.m3u8"]
    return provider.add(HlsStream("three", lists, master))


@pytest.mark.needs("ffprobe")
async def test_one_dead_variant_of_three_costs_nobody_the_channel(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, tmp_path: Path
) -> None:
    """F43: a player takes another one, and for FFmpeg we do."""
    three = three_variants(provider, media)
    provider.on(three.path("high.m3u8"), Answer(status=404))
    provider.play("three", speed=2)
    stream = await create(daemon, provider.url(three.path()))
    made = await daemon.post("/transcode", url=provider.url(three.path()), profile=HLS_COPY)
    async with players(daemon, made["stream_id"], 1) as (reader,):

        async def is_served() -> bool:
            return (await ask(daemon, reader.url)).status == 200

        await eventually(is_served, within=15)
        await reader.follow(reader.url, segments=3)
    check(reader, tmp_path)
    async with players(daemon, stream, 1) as (reader,):
        top = await reader.playlist()
        assert [(await ask(daemon, each.url)).status for each in top.variants] == [404, 200, 200]
        await reader.follow(top.variants[1].url, segments=4)
        assert not reader.errors
    assert provider.count(three.path("low.m3u8")) == 1
    assert await labelled(daemon, "failovers_total") == {"variant": 1}
    assert (await daemon.get(f"/streams/{stream}"))["stream"]["failover_attempts"] == 0
