"""The scanner and the verifier on what FFmpeg really writes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from m3u_proxy.media.mpegts import PACKET, Scanner, counters_at, discontinuity
from tests.support.tsverify import slices_of, verify

FFMPEG, FFPROBE = shutil.which("ffmpeg"), shutil.which("ffprobe")

pytestmark = pytest.mark.skipif(not (FFMPEG and FFPROBE), reason="ffmpeg and ffprobe are not on PATH")

VIDEO = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25"],
    "h264 with B frames": ["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "2"],
    "h264 at constant rate": ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-muxrate", "4M"],
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=25:log-level=none"],
    "mpeg2video": ["-c:v", "mpeg2video", "-g", "25", "-b:v", "2M"],
    "audio": ["-vn"],
}


@pytest.fixture(scope="module", params=VIDEO)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ts") / "source.ts"
    lavfi = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-f", "lavfi", "-i", "sine"]
    audio = ["-c:a", "aac", "-t", "3", "-f", "mpegts", str(path)]
    assert FFMPEG
    subprocess.run([FFMPEG, "-v", "error", *lavfi, *VIDEO[request.param], *audio], check=True, timeout=50)
    return path


def probe(path: Path) -> tuple[list[str], list[int]]:
    """Codecs in order, and the file offset of each video keyframe."""
    assert FFPROBE
    command = [FFPROBE, "-v", "error", "-show_packets", "-show_streams", "-of", "json", str(path)]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=50).stdout)
    keys = [p for p in answer["packets"] if p["codec_type"] == "video" and p["flags"].startswith("K")]
    return [stream["codec_name"] for stream in answer["streams"]], [int(p["pos"]) for p in keys]


def unflagged(data: bytes) -> bytes:
    """The same stream from a muxer that never sets the random_access_indicator."""
    packets = bytearray(data)
    for at in range(0, len(packets), PACKET):
        if packets[at + 3] & 0x20 and packets[at + 4]:
            packets[at + 5] &= ~0x40
    return bytes(packets)


@pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "unflagged"])
def test_points_are_where_ffprobe_sees_keyframes(source: Path, flagged: bool) -> None:
    data = source.read_bytes() if flagged else unflagged(source.read_bytes())
    codecs, keyframes = probe(source)
    scanner = Scanner()
    batch = scanner.feed(data)
    assert batch.data == data
    assert scanner.programme is not None
    assert [stream.codec for stream in scanner.programme.streams] == codecs
    assert (scanner.programme.first("video") is not None) == bool(keyframes)
    offsets = [point.offset for point in batch.points]
    if keyframes:
        assert offsets == keyframes
        assert len(keyframes) >= 3
    else:
        assert 5 <= len(offsets) <= 8  # 3 s of audio, a point each 0.4 s or the next frame after it


def test_ffmpegs_output_is_clean(source: Path) -> None:
    data = source.read_bytes()
    report = verify(data)
    assert report.clean
    assert report.packets * PACKET == len(data)
    payloads = (at for at in range(20 * PACKET, len(data), PACKET) if data[at + 3] & 0x10)
    lost = next(at for at in payloads if data[at + 1 : at + 3] != b"\x1f\xff")
    assert sum(verify(data[:lost] + data[lost + PACKET :]).continuity_errors.values()) == 1


def test_a_join_and_a_skip_are_clean_slices_of_the_source(source: Path) -> None:
    data = source.read_bytes()
    scanner = Scanner()
    pieces = [scanner.feed(data[at : at + 1000]) for at in range(0, len(data), 1000)]
    assert b"".join(piece.data for piece in pieces) == data
    points = Scanner().feed(data).points
    join, leave, back = points[0], points[1].offset, points[2]
    assert scanner.programme is not None
    pids = [0, scanner.programme.pmt_pid, *(stream.pid for stream in scanner.programme.streams)]
    rest = data[back.offset :]
    first = discontinuity(counters_at(rest, pids)) + back.psi
    capture = join.psi + data[join.offset : leave] + first + rest
    report = verify(capture)
    assert report.first_packets[:2] == ("PAT", "PMT")
    assert report.first_video_is_keyframe is (True if scanner.programme.first("video") else None)
    assert set(report.flagged_discontinuities) == set(pids)
    slices = slices_of(capture, data)
    assert slices == [(join.offset, leave - join.offset), (back.offset, len(rest))]
