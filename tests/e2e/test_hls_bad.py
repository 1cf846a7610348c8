"""HLS sources that mean harm or do not work, beside one that does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.answer import Answer
from tests.support.daemon import Daemon
from tests.support.hls_lists import HlsStream, single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin, gzip_bomb, gzipped, playlist
from tests.support.hls_player import HlsReader
from tests.support.hls_reading import (
    BOUND,
    SPEED,
    endpoint,
    playlist_url,
)


@asynccontextmanager
async def untouched(daemon: Daemon, provider: HlsOrigin, media: HlsMedia) -> AsyncIterator[None]:
    """A viewer of another stream, beside the fault: it goes on, with every byte right."""
    good = provider.add(single("good", media.high))
    provider.play("good", SPEED)
    url = await endpoint(daemon, provider.url(good.path()))
    async with aiohttp.ClientSession() as http:
        reader = HlsReader(http, url)
        await reader.follow(url, segments=3)
        watching = asyncio.create_task(reader.follow(url, segments=10**6, within=600))
        try:
            yield
            sure = len(reader.fetched) + 2
            await provider.until(lambda: len(reader.fetched) >= sure, BOUND)
            assert not watching.done()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert not reader.errors
    assert all(data == media.high.segments[n % 20] for n, data in reader.fetched.items())
    numbers = sorted(reader.fetched)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


@pytest.fixture
async def hasty(tmp_path: Path) -> AsyncIterator[Daemon]:
    """A daemon that does not wait long."""
    async with Daemon(tmp_path, HLS_WAIT_TIME="4", DEFAULT_READ_TIMEOUT="2") as started:
        yield started


SEGMENTS = "#EXTINF:2,\nsegment.ts\n"
BAD = {
    "html": (Answer(html=True), {502}),
    "blank": (playlist(""), {502}),
    "not found": (Answer(status=404), {404}),
    "forbidden": (Answer(status=403), {502}),
    "broken": (Answer(status=500), {503}),
    "bomb": (gzip_bomb(), {502}),
    "broken gzip": (gzipped(b"#EXTM3U\n" * 500, broken=True), {502, 503}),
    "too large": (playlist("#EXTM3U\n" + SEGMENTS * 150_000), {502}),
    "too large, chunked": (playlist("#EXTM3U\n" + SEGMENTS * 150_000, length=False, chunked=True), {502}),
    "redirect loop": (Answer(redirect="loop"), {502}),
    "silent": (Answer(mute=True), {503}),
    "elsewhere": (Answer(redirect="http://169.254.169.254/latest"), {502}),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_playlist_is_told_in_time_and_harms_nobody(
    hasty: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia, kind: str
) -> None:
    answer, statuses = BAD[kind]
    provider.on("/bad.m3u8", answer)
    async with untouched(hasty, provider, media):
        url = await playlist_url(hasty, provider.url("/bad.m3u8"))
        async with asyncio.timeout(BOUND), http.get(url) as response:
            body = await response.json()
        assert response.status in statuses, body
        assert set(body) >= {"detail"}
        assert "127.0.0" not in str(body)
        assert ("Retry-After" in response.headers) == (response.status == 503)


async def test_variants_that_lead_to_themselves_end(
    hasty: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    provider.on("/loop.m3u8", playlist("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nloop.m3u8\n"))
    async with untouched(hasty, provider, media), asyncio.timeout(BOUND):
        reader = HlsReader(http, await playlist_url(hasty, provider.url("/loop.m3u8")))
        url, status = reader.url, 200
        for _ in range(5):
            async with http.get(url) as response:
                status = response.status
            if status != 200:
                break
            url = (await reader.playlist(url)).variants[0].url
        assert status == 502
    assert provider.count("/loop.m3u8") <= 5


async def test_segments_of_other_schemes_become_gaps(
    hasty: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = provider.add(single("news", media.high))
    bad = ["file:///etc/passwd", "data:video/mp2t;base64,AAAA", "concat:a|b", "http://169.254.169.254/x.ts"]
    good = [f"#EXTINF:2,\n{news.main.uri(0)}"]
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:2", *good, *(f"#EXTINF:2,\n{uri}" for uri in bad)]
    news.main.override = lambda: "\n".join([*lines, ""])
    async with untouched(hasty, provider, media), asyncio.timeout(BOUND):
        reader = HlsReader(http, await endpoint(hasty, provider.url(news.path())))
        now = await reader.playlist()
        assert [each.gap for each in now.segments[:4]] == [False, True, True, True]
        assert await reader.fetch(now.segments[0]) == media.high.segments[0]
        for each in now.segments[1:]:
            assert each.span.url.startswith(hasty.url)
            async with http.get(each.span.url) as response:
                assert response.status >= 400
        for word in ("file:", "data:", "concat:", "passwd", "169.254"):
            assert word not in now.text


async def test_a_key_that_hangs_is_told_in_time(
    hasty: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    """F42: a slow key."""
    secret: HlsStream = provider.add(single("secret", media.encrypted, keys=media.keys))
    provider.hold(secret.path(secret.main.key_uri(0)))
    async with untouched(hasty, provider, media):
        reader = HlsReader(http, await endpoint(hasty, provider.url(secret.path())))
        key = (await reader.playlist()).segments[0].key
        assert key is not None
        async with asyncio.timeout(BOUND), http.get(key.url) as response:
            assert response.status == 503, await response.text()
            assert response.headers["Retry-After"]


async def test_a_missing_segment_is_404_and_the_next_one_plays(
    hasty: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    """F34."""
    news = provider.add(single("news", media.high))
    news.main.missing.add(1)
    async with untouched(hasty, provider, media):
        reader = HlsReader(http, await endpoint(hasty, provider.url(news.path())))
        now = await reader.playlist()
        async with asyncio.timeout(BOUND), http.get(now.segments[1].span.url) as response:
            assert response.status == 404
        assert await reader.fetch(now.segments[2]) == media.high.segments[2]
    assert provider.count(news.segment(1)) <= 2
