"""Material made by FFmpeg, and what ffprobe says of a capture."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any


def ffmpeg() -> str:
    """The system's FFmpeg, else the wheel's."""
    found = shutil.which("ffmpeg")
    if found is None:
        import imageio_ffmpeg  # noqa: PLC0415  # only where the system has none

        found = imageio_ffmpeg.get_ffmpeg_exe()
    return str(found)


def make_live_sample(
    path: Path,
    *,
    seconds: int = 20,
    rate: str = "2M",
    video: bool = True,
    sound: str = "sine=frequency=440:sample_rate=48000",
) -> None:
    """Write constant-rate MPEG-TS with a keyframe every 2 s; audio only without ``video``.

    ``sound`` is a graph of FFmpeg's lavfi.
    """
    picture = ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"] if video else []
    tone = ["-f", "lavfi", "-i", sound]
    codec = [
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-b:v",
        "1200k",
        "-maxrate",
        "1200k",
        "-bufsize",
        "600k",
    ]
    codec += ["-g", "50", "-keyint_min", "50", "-sc_threshold", "0", "-pix_fmt", "yuv420p"]
    output = [
        "-c:a",
        "aac",
        "-b:a",
        "96k",
        "-t",
        str(seconds),
        "-f",
        "mpegts",
        "-muxrate",
        rate,
        "-y",
        str(path),
    ]
    command = [ffmpeg(), "-v", "error", *picture, *tone, *(codec if video else []), *output]
    subprocess.run(command, check=True, timeout=120)


def probe(path: Path) -> dict[str, Any]:
    """ffprobe's account of a file: streams, and how many frames of each were decoded without an error."""
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_streams", "-of", "json", str(path)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=60)
    answer: dict[str, Any] = json.loads(done.stdout)
    answer["errors"] = done.stderr.decode()
    return answer
