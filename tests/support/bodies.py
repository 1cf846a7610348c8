"""Bodies as FFmpeg writes them to a pipe, and what a decoder says of one."""

from __future__ import annotations

import re
import subprocess

import imageio_ffmpeg

X264 = "-c:v libx264 -preset ultrafast"
MOVFLAGS = "-movflags +frag_keyframe+empty_moov+default_base_moof"
BODIES: dict[str, tuple[str, str]] = {
    "mp4": ("mp4", f"{X264} -c:a aac {MOVFLAGS}"),
    "mp4, only audio": ("mp4", f"-vn -c:a aac {MOVFLAGS}+frag_every_frame"),
    "mp4, a fragment per frame": ("mp4", f"{X264} -c:a aac {MOVFLAGS}+frag_every_frame"),
    "mp4 for DASH": ("mp4", f"{X264} -c:a aac {MOVFLAGS}+dash+delay_moov"),
    "mp4 of rare keyframes": (
        "mp4",
        f"{X264} -force_key_frames 0,3 -g 999 -c:a aac {MOVFLAGS} -frag_duration 1000000",
    ),
    "mov": ("mov", f"{X264} -c:a aac {MOVFLAGS}"),
    "matroska": ("matroska", f"{X264} -c:a aac"),
    "matroska with B frames": ("matroska", f"{X264} -bf 2 -c:a flac"),
    "matroska as it is written live": ("matroska", f"{X264} -c:a aac -live 1"),
    "matroska, only audio": ("matroska", "-vn -c:a aac"),
    "matroska, long clusters": ("matroska", f"{X264} -b:v 20k -an -cluster_time_limit 9000"),
    "webm": ("webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus"),
    "flv": ("flv", f"{X264} -c:a aac"),
    "flv of the old codecs": ("flv", "-c:v flv -c:a libmp3lame -ar 44100"),
    "flv, only audio": ("flv", "-vn -c:a aac"),
    "ogg": ("ogg", "-c:v libtheora -c:a libvorbis"),
    "ogg, VP8": ("ogg", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus"),
    "ogg, only Opus": ("ogg", "-vn -c:a libopus"),
    "ogg, only FLAC": ("ogg", "-vn -c:a flac"),
    "mpeg": ("mpeg", "-c:v mpeg1video -c:a mp2"),
    "mpeg, MPEG-2 with B frames": ("mpeg", "-c:v mpeg2video -bf 2 -c:a mp2"),
    "mpeg, H.264": ("mpeg", f"{X264} -c:a mp2"),
    "adts": ("adts", "-vn -c:a aac"),
    "mp3": ("mp3", "-vn -c:a libmp3lame"),
    "mp3 at half the rate": ("mp3", "-vn -c:a libmp3lame -ar 22050"),
}
"""What it is called: container, and FFmpeg's output options."""


def make_body(ffmpeg: str, options: str, muxer: str, seconds: float = 4.0) -> bytes:
    """So many seconds with a keyframe every second."""
    inputs = "-f lavfi -i testsrc2=s=160x90:r=25 -f lavfi -i sine=1000:r=48000"
    output = f"-t {seconds} -g 25 {options} -flush_packets 1 -f {muxer} pipe:1"
    command = [ffmpeg, "-v", "error", *inputs.split(), *output.split()]
    return subprocess.run(command, check=True, capture_output=True, timeout=50).stdout


def decode(body: bytes, container: str = "") -> str:
    """Whatever FFmpeg complains of. Bare frames are told by their Content-Type, not by their looks.

    In a program stream only the pictures count: frames of sound begin and end in the midst of packets.
    """
    demuxer = {"adts": ["-f", "aac"], "mp3": ["-f", "mp3"]}.get(container, [])
    output = ["-i", "pipe:0", *(["-an"] if container == "mpeg" else []), "-f", "null", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *demuxer, *output]
    done = subprocess.run(command, input=body, capture_output=True, timeout=50, check=False)
    lines = done.stderr.decode().splitlines()
    return "\n".join(
        line for line in lines if container != "mpeg" or not re.search(r"^\[mp2 |repeated", line)
    )


def first_picture(body: bytes) -> str:
    """Type of the first picture that can be shown: ``I`` unless the body begins in the middle of others."""
    command = "ffprobe -v error -select_streams v:0 -read_intervals %+#1 -show_entries frame=pict_type"
    done = subprocess.run(
        [*command.split(), "-of", "default=nk=1:nw=1", "pipe:0"],
        input=body,
        capture_output=True,
        timeout=50,
        check=True,
    )
    return done.stdout.decode().split()[0]
