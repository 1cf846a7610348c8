"""Sources whose tracks change, or are none; and a disk that is slow under them."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.hls_channels import check, players, reached, seams
from tests.support.hls_reading import HLS_COPY
from tests.support.inv import ask, control, eventually, labelled, rig
from tests.support.media import ffmpeg, make_live_sample
from tests.support.origin import Answer, Origin, null_packets
from tests.support.slow_disk import slow_disk
from tests.support.watching import SECOND, watching

SPEED = 3
BEFORE = 15
"""Seconds of the first codecs."""
SEGMENT = 2.0


def other_codecs(path: Path) -> None:
    """45 s of MPEG-2 video and MPEG audio at another size, on other PIDs, at 2 Mbit/s."""
    inputs = ["-f", "lavfi", "-i", "testsrc=size=352x288:rate=25", "-f", "lavfi", "-i", "sine=frequency=880"]
    codecs = ["-c:v", "mpeg2video", "-b:v", "1200k", "-maxrate", "1200k", "-bufsize", "600k", "-g", "25"]
    codecs += ["-c:a", "mp2", "-b:a", "96k", "-t", "45"]
    muxer = [
        "-f",
        "mpegts",
        "-mpegts_pmt_start_pid",
        "0x1100",
        "-mpegts_start_pid",
        "0x200",
        "-muxrate",
        "2M",
    ]
    subprocess.run([ffmpeg(), "-v", "error", *inputs, *codecs, *muxer, str(path)], check=True, timeout=60)


def counted(data: bytes, pids: set[int]) -> bytes:
    """The continuity counters of these PIDs go on from one end to the other."""
    packets = bytearray(data)
    counters = dict.fromkeys(pids, 0)
    for at in range(0, len(packets), 188):
        pid = int.from_bytes(packets[at + 1 : at + 3], "big") & 0x1FFF
        if pid in counters:
            packets[at + 3] = packets[at + 3] & 0xF0 | counters[pid]
            counters[pid] = (counters[pid] + 1) % 16
    return bytes(packets)


@pytest.fixture(scope="module")
def changing(sample: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A channel that turns from H.264 and AAC to MPEG-2."""
    path = tmp_path_factory.mktemp("other") / "mpeg2.ts"
    other_codecs(path)
    first = sample[: BEFORE * SECOND // 188 * 188]
    return counted(first + path.read_bytes(), {0, 0x11})


@pytest.mark.needs("ffprobe")
async def test_other_codecs_on_other_pids_go_through(daemon: Daemon, changing: bytes, tmp_path: Path) -> None:
    """F38: tables before data for those who watch; under FFmpeg a new one, behind one discontinuity."""
    async with Origin(ts=changing, rate=SPEED * 2e6) as origin:
        origin.on("/one.ts", Answer(ts=True))
        stream = (await daemon.post("/streams", url=origin.url("/one.ts")))["stream_id"]
        made = (await daemon.post("/transcode", url=origin.url("/one.ts"), profile=HLS_COPY))["stream_id"]
        async with watching(daemon, stream, 2) as viewers, players(daemon, made, 1) as (reader,):
            playing = asyncio.create_task(reader.follow(reader.url, segments=60, within=60))
            await origin.until(lambda: origin.edge > BEFORE * SECOND, within=30)

            async def is_back() -> bool:
                return seams(reader) == 1

            assert await eventually(is_back, within=30) < 3 + SEGMENT
            size = len(reader.fetched) + 2
            await eventually(lambda: reached([reader], size), within=20)
            await origin.until(lambda: origin.edge > (BEFORE + 6) * SECOND, within=30)
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            assert not any(viewer.ended for viewer in viewers)
        for viewer in viewers:
            viewer.check(tmp_path, seams=0)
        assert len(origin.path("/one.ts").connections) == 1
    assert seams(reader) == 1
    check(reader, tmp_path)


TABLES_ONLY = "tables, and never a packet of what they name"


@pytest.mark.parametrize("kind", ["nothing but null packets", TABLES_ONLY])
async def test_what_cannot_be_decoded_is_left_within_five_seconds(
    daemon: Daemon, sample: bytes, kind: str
) -> None:
    """F45: the reason is in the timeline."""
    blank = null_packets(7 * 64)
    if kind == TABLES_ONLY:
        packets = (sample[at : at + 188] for at in range(0, len(sample), 188))
        tables = {b"\x00\x00", b"\x10\x00"}
        head = b"".join(one for one in packets if bytes((one[1] & 0x1F, one[2])) in tables)[: 188 * 8]
        blank = head + null_packets(7 * 64 - 8)
    async with Origin(ts=blank, rate=1e6) as bad, Origin(ts=sample, rate=8e6) as good:
        bad.on("/one.ts", Answer(ts=True))
        good.on("/two.ts", Answer(ts=True))
        urls = [bad.url("/one.ts"), good.url("/two.ts")]
        stream = (await daemon.post("/streams", url=urls[0], failover_urls=urls[1:]))["stream_id"]
        async with asyncio.timeout(5 + 1), daemon.http.get(f"/stream/{stream}") as response:
            assert response.status == 200, await response.text()
            await response.content.readexactly(188 * 100)
        assert await labelled(daemon, "failovers_total") == {"not_media": 1}
        told = (await daemon.get(f"/streams/{stream}/timeline"))["events"]
        assert "not_media" in [moment["reason"] for moment in told if moment["kind"] == "lost"]


async def test_sound_alone_plays_as_hls(daemon: Daemon, tmp_path: Path) -> None:
    """F45: audio only."""
    path = tmp_path / "radio.ts"
    make_live_sample(path, seconds=10, rate="300k", video=False)
    async with Origin(ts=path.read_bytes(), rate=SPEED * 300e3) as origin:
        origin.on("/radio.ts", Answer(ts=True))
        made = await daemon.post("/transcode", url=origin.url("/radio.ts"), profile=HLS_COPY)
        async with players(daemon, made["stream_id"], 1) as (reader,):
            await reader.follow(reader.url, segments=2, within=25)
    assert not reader.errors


def late(text: str, bound: str) -> float:
    """Timers of the loop that were later than a bound."""
    buckets = dict(re.findall(r'loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text))
    return float(buckets["+Inf"]) - float(buckets[bound])


@pytest.mark.needs("strace", "root")
async def test_a_slow_disk_keeps_nobody_waiting_but_its_own_stream(tmp_path: Path, origin: Origin) -> None:
    """F79: half a second for each call that changes a directory."""
    async with rig(tmp_path, origin) as daemon, control(daemon, origin):
        before = late((await ask(daemon, "/metrics")).text, "0.25")
        async with slow_disk(daemon.pid, 0.5):
            made = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=HLS_COPY)
            playlist = f"/hls/{made['stream_id']}/playlist.m3u8"

            async def is_served() -> bool:
                return (await ask(daemon, playlist)).status == 200

            await eventually(is_served, within=25, every=0.2)
            async with daemon.http.delete(f"/streams/{made['stream_id']}") as response:
                assert response.status == 200
        assert late((await ask(daemon, "/metrics")).text, "0.25") == before
