"""One FFmpeg writes HLS for everybody."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon, descendants
from tests.support.fake_ffmpeg import until
from tests.support.inv import eventually
from tests.support.media import probe
from tests.support.origin import Origin
from tests.support.player import HlsViewer, read_some
from tests.support.tsverify import verify

COPY = "-i {input_url} -c copy -f hls index.m3u8"
PIPE = "-i {input_url} -c copy -f mpegts {output_args}"


async def transcode(daemon: Daemon, url: str, profile: str) -> str:
    """Endpoint of a new transcoded stream."""
    return str((await daemon.post("/transcode", url=url, profile=profile))["stream_endpoint"])


def sequence_of(playlist: str) -> int:
    """Media sequence number of the first segment."""
    found = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", playlist)
    assert found is not None, playlist
    return int(found[1])


async def nobody(daemon: Daemon) -> bool:
    """Whether no viewer is counted any more."""
    return not await daemon.metric("viewers")


def ffmpegs(daemon: Daemon) -> list[int]:
    """Living FFmpeg processes of a daemon."""
    return [pid for pid in descendants(daemon.pid) if "ffmpeg" in name_of(pid)]


def name_of(pid: int) -> str:
    """Name of a process; empty when it has gone meanwhile."""
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


@pytest.mark.needs("ffprobe")
async def test_a_copied_stream_plays_as_hls(daemon: Daemon, origin: Origin, tmp_path: Path) -> None:
    viewer = HlsViewer(daemon.http, await transcode(daemon, origin.url("/live.ts"), COPY))
    await viewer.watch(12.0)
    assert not viewer.errors
    assert viewer.sequences == sorted(viewer.sequences)
    assert len(viewer.segments) >= 4
    assert verify(bytes(viewer.media)).clean
    path = tmp_path / "capture.ts"
    path.write_bytes(viewer.media)
    kinds = {row["codec_type"] for row in probe(path)["streams"]}
    assert kinds == {"video", "audio"}


async def test_a_join_storm_is_one_ffmpeg_and_one_connection(daemon: Daemon, origin: Origin) -> None:
    endpoint = await transcode(daemon, origin.url("/live.ts"), COPY)
    async with aiohttp.ClientSession(daemon.url, connector=aiohttp.TCPConnector(limit=0)) as http:
        viewers = [HlsViewer(http, f"{endpoint}?client_id=v{number}") for number in range(60)]
        await asyncio.gather(*(viewer.watch(6.0) for viewer in viewers))
    assert not [error for viewer in viewers for error in viewer.errors]
    assert await daemon.metric("ffmpeg_starts_total") == 1
    assert len(origin.path("/live.ts").connections) == 1
    assert await daemon.metric("viewers") == 60


async def test_direct_and_transcoded_share_one_upstream(daemon: Daemon, origin: Origin) -> None:
    endpoint = await transcode(daemon, origin.url("/live.ts"), PIPE)
    plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
    captures = await asyncio.gather(
        read_some(daemon.http, endpoint, 500_000), read_some(daemon.http, plain, 500_000)
    )
    for capture in captures:
        assert verify(capture[: len(capture) // 188 * 188]).clean
    assert len(origin.path("/live.ts").connections) == 1
    assert len(ffmpegs(daemon)) == 1


async def test_playlists_show_no_address_and_no_path(daemon: Daemon, origin: Origin) -> None:
    endpoint = await transcode(daemon, origin.url("/live.ts"), COPY)
    async with daemon.http.get(endpoint + "?client_id=a%20b") as response:
        text = await response.text()
        assert response.headers["Content-Type"] == "application/vnd.apple.mpegurl"
        assert "no-store" in response.headers["Cache-Control"]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines
    pattern = r"/m3u-proxy/hls/[0-9a-f]{32}/segment\.ts\?client_id=a%20b&t=[0-9a-f-]+\.ts"
    assert all(re.fullmatch(pattern, line) for line in lines), lines
    assert str(origin.port) not in text
    assert str(daemon.segments) not in text


async def test_a_segment_needs_its_own_token(daemon: Daemon, origin: Origin) -> None:
    endpoint = await transcode(daemon, origin.url("/live.ts"), COPY)
    async with daemon.http.get(endpoint) as response:
        url = next(line for line in (await response.text()).splitlines() if not line.startswith("#"))
    flipped = url.replace("t=", "t=0", 1)
    for bad in (flipped, url.partition("?")[0], url.partition("?")[0] + "?t=../../etc/passwd"):
        async with daemon.http.get(bad) as response:
            assert response.status == 403, bad
    async with daemon.http.get(url, headers={"Range": "bytes=188-375"}) as response:
        assert response.status == 206
        body = await response.read()
        assert len(body) == 188
        assert body[0] == 0x47
    async with daemon.http.get(url, headers={"Range": "bytes=999999999-"}) as response:
        assert response.status == 416


async def test_a_writer_nobody_watches_leaves_nothing(tmp_path: Path, origin: Origin) -> None:
    """F98: a viewer that stops without a word."""
    async with Daemon(tmp_path, SHARED_STREAM_GRACE="0.5", CLIENT_TIMEOUT="1") as daemon:
        endpoint = await transcode(daemon, origin.url("/live.ts"), COPY)
        async with daemon.http.get(endpoint) as response:
            assert response.status == 200
        assert len(list(daemon.segments.iterdir())) == 1
        await until(lambda: not ffmpegs(daemon) and not any(daemon.segments.iterdir()), 12.0)
        await origin.until(lambda: origin.path("/live.ts").live == 0)
        assert await daemon.metric("viewers") == 0


async def test_at_the_limit_a_channel_change_takes_the_place_of_the_old_channel(
    tmp_path: Path, origin: Origin
) -> None:
    async with Daemon(tmp_path, MAX_FFMPEG="1") as daemon:
        first = await transcode(daemon, origin.url("/live.ts"), PIPE)
        second = await transcode(daemon, origin.url("/live.ts"), PIPE.replace("-c copy", "-c copy -sn"))
        async with daemon.http.get(first) as viewer:
            await viewer.content.readexactly(188)
            async with daemon.http.get(second) as refused:
                assert refused.status == 503
                assert "MAX_FFMPEG" in (await refused.json())["detail"]
        await eventually(lambda: nobody(daemon), 2.0)
        await read_some(daemon.http, second, 188)


async def test_a_dead_source_is_told_to_hls_viewers(daemon: Daemon, origin: Origin) -> None:
    endpoint = await transcode(daemon, origin.url("/missing.ts"), COPY)
    async with asyncio.timeout(3.0), daemon.http.get(endpoint) as response:
        assert response.status == 404
        assert "detail" in await response.json()
    assert await daemon.metric("ffmpeg_starts_total") == 0
    assert list(daemon.segments.iterdir()) == []


async def test_each_form_leads_to_the_other(daemon: Daemon, origin: Origin) -> None:
    hls = await transcode(daemon, origin.url("/live.ts"), COPY)
    stream = hls.split("/")[2]
    async with daemon.http.get(f"/stream/{stream}?u=me", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == f"/m3u-proxy/hls/{stream}/playlist.m3u8?u=me"
    plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_id"]
    async with daemon.http.get(f"/hls/{plain}/playlist.m3u8", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == f"/m3u-proxy/stream/{plain}"


@pytest.mark.needs("ffprobe")
async def test_fragmented_mp4_keeps_its_types_and_plays(
    daemon: Daemon, origin: Origin, tmp_path: Path
) -> None:
    profile = "-i {input_url} -c copy -hls_segment_type fmp4 -f hls index.m3u8"
    endpoint = await transcode(daemon, origin.url("/live.ts"), profile)
    async with daemon.http.get(endpoint) as response:
        text = await response.text()
    found = re.search(r'#EXT-X-MAP:URI="([^"]+)"', text)
    assert found is not None, text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all("/segment?client_id=" in line and line.endswith(".m4s") for line in lines)
    movie = b""
    for url, kind in ((found[1], "video/mp4"), (lines[0], "video/iso.segment")):
        async with daemon.http.get(url) as response:
            assert response.headers["Content-Type"] == kind
            movie += await response.read()
    path = tmp_path / "capture.mp4"
    path.write_bytes(movie)
    kinds = {row["codec_type"]: int(row["nb_read_frames"]) for row in probe(path)["streams"]}
    assert kinds["video"] >= 49
    assert kinds["audio"] > 80
