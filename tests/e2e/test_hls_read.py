"""HLS sources of every kind, read by FFmpeg and byte by byte."""

from __future__ import annotations

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.hls_lists import groups, single, variants
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.hls_player import HlsReader
from tests.support.hls_reading import (
    SPEED,
    decode,
    endpoint,
    once_each,
    shows_nothing,
    streams_of,
)

LIVE = {
    "live": lambda media: single("news", media.high),
    "aes": lambda media: single("news", media.encrypted, keys=media.keys),
    "fmp4": lambda media: single("news", media.fmp4),
    "variants": lambda media: variants("news", media),
    "groups": lambda media: groups("news", media),
    "low-latency": lambda media: single("news", media.high, low_latency=True),
    "byte-ranges": lambda media: single("news", media.high, one_file=True),
}


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("kind", LIVE)
async def test_ffmpeg_reads_every_kind_of_live_source(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, kind: str
) -> None:
    news = provider.add(LIVE[kind](media))
    provider.play("news", SPEED)
    url = await endpoint(daemon, provider.url(news.path()))
    assert {"video", "audio"} <= await streams_of(url)
    frames = await decode(url, 8)
    assert frames["video"] == 200
    assert frames["audio"] >= 370
    assert not [request for request in provider.requests if "_HLS_" in (request.target or "")]


@pytest.mark.parametrize("mode", ["explicit", "implicit"])
async def test_ffmpeg_reads_an_encrypted_film_to_its_end(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, mode: str
) -> None:
    film = single("film", media.encrypted, window=None, keys=media.keys, key_mode=mode)  # type: ignore[arg-type]
    provider.add(film)
    frames = await decode(await endpoint(daemon, provider.url(film.path())), 60)
    assert frames["video"] == 1000
    once_each(provider, r"/film/.*\.(ts|key)")


# Bytes


@pytest.mark.parametrize("kind", ["live", "aes", "fmp4", "variants", "groups", "byte-ranges"])
async def test_a_viewer_gets_the_providers_bytes_and_none_of_its_names(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia, kind: str
) -> None:
    news = provider.add(LIVE[kind](media))
    reader = HlsReader(http, await endpoint(daemon, provider.url(news.path())))
    top = await reader.playlist()
    track = {"fmp4": media.fmp4, "groups": media.high_video}.get(kind, media.high)
    now = await reader.playlist(top.variant("640x360").url) if top.variants else top
    movie = await reader.read(now)
    assert movie == (track.init or b"") + b"".join(track.segments[:4])
    if kind == "groups":
        spoken = await reader.playlist(top.rendition("AUDIO", "de").url)
        assert await reader.read(spoken) == b"".join(media.audio_de.segments[:4])
        text = await reader.playlist(top.rendition("SUBTITLES", "en").url)
        assert await reader.read(text) == b"".join(media.subtitles.segments[:4])
        assert reader.types[text.segments[0].span.url] == "text/vtt"
    shows_nothing(reader.served, provider)


async def test_low_latency_tags_stay_and_blocking_reload_goes(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = provider.add(single("news", media.high, low_latency=True))
    reader = HlsReader(http, await endpoint(daemon, provider.url(news.path())))
    text = (await reader.playlist()).text
    for tag in ("PART-INF:", "PART:", "PRELOAD-HINT:", "RENDITION-REPORT:"):
        assert text.count(f"#EXT-X-{tag}") == news.main.text().decode().count(f"#EXT-X-{tag}"), tag
    assert "CAN-BLOCK-RELOAD" not in text
    shows_nothing([text], provider)


async def test_headers_of_the_stream_reach_everything(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = provider.add(variants("news", media))
    news.require["X-Token"] = "abc"
    url = await endpoint(daemon, provider.url(news.path()), headers={"X-Token": "abc"})
    reader = HlsReader(http, url)
    now = await reader.playlist((await reader.playlist()).variants[1].url)
    assert await reader.fetch(now.segments[0]) == media.low.segments[0]


async def test_a_redirect_to_changing_hosts_is_followed(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    """F41."""
    news = provider.add(single("news", media.high))
    provider.rotate(news.path())
    provider.play("news", SPEED)
    reader = HlsReader(http, await endpoint(daemon, provider.url(news.path())))
    await reader.follow(reader.url, segments=6)
    assert not reader.errors
    assert reader.fetched == {n: media.high.segments[n] for n in reader.fetched}
    assert all((each.target or "").startswith("/edge/") for each in provider.requests if each.status == 200)
    once_each(provider, r"/news/index-.*\.ts")
    shows_nothing(reader.served, provider)


# One fetch for everybody
