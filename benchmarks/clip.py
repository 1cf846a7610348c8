"""The source material: 60 s of constant-rate MPEG-TS, made by FFmpeg once and kept."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

OUT = Path(__file__).with_name("out")
"""Everything that is made and kept between runs; not under version control."""

RATE = 8_000_000
"""Bits per second of the whole multiplex."""
SECONDS = 60
GOP = 2.0
"""Seconds between two keyframes."""
PACKET = 188
PMT_PID = 0x1000
VIDEO_PID = 0x100
"""What FFmpeg gives the first programme it multiplexes, and its first stream."""

_MAKE_PATIENCE = 180.0


class Missing(Exception):
    """Something this machine lacks; its text says what."""


def ffmpeg() -> str:
    """Path of the system's FFmpeg; raises ``Missing``."""
    found = shutil.which("ffmpeg")
    if found is None:
        raise Missing("FFmpeg is not installed")
    return found


def clip() -> Path:
    """The file: 1280x720 H.264 with a keyframe every 2 s, and AAC, at a constant 8 Mbit/s.

    The picture is noisy, so that the rate is filled by video and not by null packets.
    """
    path = OUT / "clip.ts"
    if path.exists():
        return path
    OUT.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    gop = str(int(25 * GOP))
    command = [
        *(ffmpeg(), "-v", "error", "-nostdin", "-y"),
        *("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25,noise=alls=24:allf=t,format=yuv420p"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0"),
        *("-b:v", "7300k", "-minrate", "7300k", "-maxrate", "7300k", "-bufsize", "3650k"),
        *("-x264-params", "nal-hrd=cbr"),
        *("-c:a", "aac", "-b:a", "128k", "-ac", "2", "-t", str(SECONDS)),
        *("-f", "mpegts", "-muxrate", str(RATE), str(part)),
    ]
    subprocess.run(command, check=True, timeout=_MAKE_PATIENCE)
    part.rename(path)
    return path


def segments() -> Path:
    """A folder with the clip as ``0.ts``, ``1.ts``, ..., each of one GOP and at the rate of the clip."""
    folder = OUT / "segments"
    if folder.exists():
        return folder
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    command = [
        *(ffmpeg(), "-v", "error", "-nostdin", "-y", "-i", str(clip()), "-map", "0", "-c", "copy"),
        *("-f", "segment", "-segment_time", str(GOP), "-segment_format_options", f"muxrate={RATE}"),
        str(part / "%d.ts"),
    ]
    subprocess.run(command, check=True, timeout=_MAKE_PATIENCE)
    part.rename(folder)
    return folder


def keyframes(data: bytes) -> list[int]:
    """Byte offsets of the video packets that carry the random access indicator (ISO/IEC 13818-1 §2.4.3.5)."""
    return [offset for offset in range(0, len(data) - PACKET + 1, PACKET) if is_keyframe(data, offset)]


def is_keyframe(data: bytes, offset: int) -> bool:
    """Whether the packet at ``offset`` starts a video frame at which a decoder can begin."""
    return pid(data, offset) == VIDEO_PID and bool(
        data[offset + 3] & 0x20 and data[offset + 4] and data[offset + 5] & 0x40
    )


def pid(data: bytes, offset: int) -> int:
    """PID of the packet at ``offset``."""
    return (data[offset + 1] & 0x1F) << 8 | data[offset + 2]


def longest_gop(offsets: list[int]) -> float:
    """Seconds between the two neighbouring keyframes that lie furthest apart."""
    return max((b - a) * 8 / RATE for a, b in pairwise(offsets))
