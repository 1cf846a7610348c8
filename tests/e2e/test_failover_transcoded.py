"""Failover under FFmpeg: the same playlist with one discontinuity, the same body with one seam."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, descendants
from tests.support.inv import eventually
from tests.support.media import probe
from tests.support.origin import Answer, Origin
from tests.support.player import read_some
from tests.support.tsverify import verify

SECOND = 250_000
COPY = "-i {input_url} -c copy -f hls -hls_time 2 -hls_list_size 6 index.m3u8"


async def transcode(daemon: Daemon, origin: Origin, profile: str) -> str:
    answer = await daemon.post(
        "/transcode", url=origin.url("/one.ts"), failover_urls=[origin.url("/two.ts")], profile=profile
    )
    return str(answer["stream_id"])


@pytest.mark.needs("ffprobe")
async def test_hls_goes_on_over_a_failover(daemon: Daemon, origin: Origin, tmp_path: Path) -> None:
    """F4: a reset under FFmpeg."""
    origin.on("/one.ts", Answer(ts=True, rst=7 * SECOND), Answer(status=503))
    origin.on("/two.ts", Answer(ts=True))
    stream = await transcode(daemon, origin, COPY)
    sequences: list[int] = []
    segments: dict[str, bytes] = {}
    lines: dict[str, list[str]] = {}

    async def is_beyond() -> bool:
        async with daemon.http.get(f"/hls/{stream}/playlist.m3u8") as response:
            assert response.status == 200, await response.text()
            text = await response.text()
        found = re.search(r"MEDIA-SEQUENCE:(\d+)", text)
        assert found
        sequences.append(int(found[1]))
        tags: list[str] = []
        for line in text.splitlines():
            if line.startswith("#"):
                tags.append(line)
                continue
            lines.setdefault(line, tags)
            tags = []
            if line not in segments:
                async with daemon.http.get(line) as response:
                    assert response.status == 200
                    segments[line] = await response.read()
        after = [number for number, url in enumerate(lines) if "#EXT-X-DISCONTINUITY" in lines[url]]
        return bool(after) and len(lines) >= after[0] + 3

    await eventually(is_beyond, within=30, every=0.5)
    assert sequences == sorted(sequences)
    seams = [url for url, tags in lines.items() if "#EXT-X-DISCONTINUITY" in tags]
    assert len(seams) == 1
    path = tmp_path / "after.ts"
    path.write_bytes(segments[seams[0]])
    kinds = {row["codec_type"]: int(row["nb_read_frames"]) for row in probe(path)["streams"]}
    assert kinds["video"] > 10
    assert kinds["audio"] > 10
    assert len(origin.path("/two.ts").connections) == 1


async def test_a_transcoded_body_goes_on_over_a_failover(daemon: Daemon, origin: Origin) -> None:
    """F5: an end under FFmpeg."""
    origin.on("/one.ts", Answer(ts=True, fin=5 * SECOND), Answer(status=503))
    origin.on("/two.ts", Answer(ts=True))
    stream = await transcode(daemon, origin, "-i {input_url} -c copy -f mpegts pipe:1")
    capture = await read_some(daemon.http, f"/stream/{stream}", 10 * SECOND, within=40)
    report = verify(capture[: len(capture) // 188 * 188])
    assert report.clean, report
    assert len(origin.path("/two.ts").connections) == 1


async def test_an_order_by_hand_reaches_the_source_of_a_transcode(daemon: Daemon, origin: Origin) -> None:
    origin.on("/one.ts", Answer(ts=True))
    origin.on("/two.ts", Answer(ts=True))
    stream = await transcode(daemon, origin, COPY)
    async with daemon.http.get(f"/hls/{stream}/playlist.m3u8") as response:
        assert response.status == 200
    answer = await daemon.post(f"/streams/{stream}/failover")
    assert answer["stream_type"] == "Transcoded"

    async def is_spliced() -> bool:
        async with daemon.http.get(f"/hls/{stream}/playlist.m3u8") as response:
            assert response.status == 200
            return "#EXT-X-DISCONTINUITY\n" in await response.text()

    assert await eventually(is_spliced, within=12, every=0.3) < 8
    assert origin.path("/one.ts").live == 0
    assert origin.path("/two.ts").live == 1


async def test_a_lost_ffmpeg_is_told_in_the_timeline(daemon: Daemon, origin: Origin) -> None:
    origin.on("/one.ts", Answer(ts=True))
    stream = await transcode(daemon, origin, COPY)
    async with daemon.http.get(f"/hls/{stream}/playlist.m3u8") as response:
        assert response.status == 200
    pids = [pid for pid in descendants(daemon.pid) if pid]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    async def is_told() -> bool:
        rows = (await daemon.get(f"/streams/{stream}/timeline"))["events"]
        return any(row["kind"] == "restart" and row["reason"] == "ffmpeg_signal" for row in rows)

    await eventually(is_told, within=8)
    async with daemon.http.get(f"/hls/{stream}/playlist.m3u8") as response:
        assert response.status == 200
