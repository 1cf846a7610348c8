"""HLS sources and files shared: by many viewers, and by FFmpeg with them."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from tests.support.answer import Answer
from tests.support.daemon import Daemon
from tests.support.hls_lists import groups, single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import File, HlsOrigin
from tests.support.hls_player import HlsReader
from tests.support.hls_reading import (
    BOUND,
    HLS_COPY,
    SPEED,
    TS_COPY,
    decode,
    endpoint,
    once_each,
    playlist_url,
    shows_nothing,
    transcode,
)
from tests.support.origin import Origin
from tests.support.player import HlsViewer, read_some
from tests.support.tsverify import verify


async def test_a_hundred_viewers_are_one_to_the_provider(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = provider.add(single("news", media.high))
    provider.play("news")
    url = await endpoint(daemon, provider.url(news.path()))
    readers = [HlsReader(http, f"{url}?client_id=v{number}") for number in range(100)]
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(reader.follow(reader.url, segments=6, poll=0.5) for reader in readers))
    took = asyncio.get_running_loop().time() - began
    assert not [error for reader in readers for error in reader.errors]
    for reader in readers:
        assert all(data == media.high.segments[n] for n, data in reader.fetched.items())
    once_each(provider, r"/news/index-.*\.ts")
    assert provider.count(news.path()) <= took / 1.0 + 1, "half the target duration is one second"
    assert await daemon.metric("viewers") == 100
    shows_nothing([text for reader in readers for text in reader.served], provider)


async def test_a_viewer_attaches_in_the_middle_of_a_download(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = provider.add(single("news", media.high))
    whole, path = media.high.segments[3], news.segment(3)
    hold = provider.hold(path, after=len(whole) // 2)
    reader = HlsReader(http, await endpoint(daemon, provider.url(news.path())))
    wanted = (await reader.playlist()).segments[-1].span.url
    async with http.get(wanted) as first:
        assert await first.content.readexactly(20_000) == whole[:20_000]
        async with http.get(wanted) as second:
            assert await second.content.readexactly(20_000) == whole[:20_000]
            assert provider.busy(path) == 1, "the download has not ended"
            hold.finish()
            assert await second.read() == whole[20_000:]
        assert await first.read() == whole[20_000:]
    assert provider.count(path) == 1


async def test_every_third_playlist_answer_may_fail(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    """F36."""
    news = provider.add(single("news", media.high))
    provider.every(news.path(), 3, Answer(status=503))
    provider.play("news", SPEED)
    reader = HlsReader(http, await endpoint(daemon, provider.url(news.path())))
    await reader.follow(reader.url, segments=10)
    assert not reader.errors
    assert provider.count(news.path()) >= 3


# Files


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("profile", [HLS_COPY, TS_COPY], ids=["hls", "ts"])
async def test_viewers_and_ffmpeg_share_one_fetch_of_an_hls_source(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia, profile: str
) -> None:
    news = provider.add(single("news", media.high))
    provider.play("news")
    source = provider.url(news.path())
    reader = HlsReader(http, await endpoint(daemon, source))
    watching = asyncio.create_task(reader.follow(reader.url, segments=8))
    frames = await decode(await transcode(daemon, source, profile), 6)
    await watching
    assert frames["video"] == 150
    assert frames["audio"] >= 275
    assert not reader.errors
    assert reader.fetched == {n: media.high.segments[n] for n in reader.fetched}
    once_each(provider, r"/news/index-.*\.ts")


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("profile", [HLS_COPY, TS_COPY], ids=["hls", "ts"])
@pytest.mark.parametrize("name", ["mp4", "mp4_faststart", "mkv"])
async def test_ffmpeg_reads_a_file(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, name: str, profile: str
) -> None:
    kind = "video/x-matroska" if name == "mkv" else "video/mp4"
    provider.file("/movie/film", File(getattr(media, name), kind))
    frames = await decode(await transcode(daemon, provider.url("/movie/film"), profile), 6)
    assert frames["video"] >= 149, "the picture may begin one later than the sound"
    assert frames["audio"] >= 275
    assert provider.peak("/movie/film") == 1


async def test_a_transcode_of_hls_sources_decrypts_and_joins_renditions(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia
) -> None:
    provider.add(single("secret", media.encrypted, keys=media.keys))
    provider.add(groups("news", media))
    for name in ("secret", "news"):
        provider.play(name, SPEED)
        url = await transcode(daemon, provider.url(f"/{name}/index.m3u8"), HLS_COPY)
        viewer = HlsViewer(daemon.http, url.removeprefix(daemon.url))
        await viewer.watch(6.0)
        assert not viewer.errors
        assert verify(bytes(viewer.media)).clean


# Types


async def test_a_transport_stream_behind_a_playlists_name(
    daemon: Daemon, origin: Origin, http: aiohttp.ClientSession
) -> None:
    origin.on("/tv.m3u8", Answer(ts=True))
    url = await playlist_url(daemon, origin.url("/tv.m3u8"))
    async with asyncio.timeout(BOUND), http.get(f"{url}?u=me", allow_redirects=False) as response:
        assert response.status == 302, await response.text()
        assert response.headers["Location"].endswith("?u=me")
        assert "/stream/" in response.headers["Location"]
    data = await read_some(http, url, 188 * 2000)
    assert verify(data[: len(data) // 188 * 188]).clean
    assert len(origin.path("/tv.m3u8").connections) == 1


async def test_a_playlist_behind_a_transport_streams_name(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = provider.add(single("news", media.high))
    provider.alias("/news/1.ts", news.path())
    url = await endpoint(daemon, provider.url("/news/1.ts"))
    assert "/stream/" in url
    async with asyncio.timeout(BOUND), http.get(f"{url}?u=me", allow_redirects=False) as response:
        assert response.status == 302, await response.text()
        assert response.headers["Location"].endswith("/playlist.m3u8?u=me")
    reader = HlsReader(http, url)
    now = await reader.playlist()
    assert await reader.fetch(now.segments[0]) == media.high.segments[0]


# Bad input
