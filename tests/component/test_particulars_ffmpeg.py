"""Size and channels are those that FFmpeg has put into a transport stream, whatever the codec."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.media import pictures, sounds
from m3u_proxy.media.mpegts import Scanner, without
from m3u_proxy.media.particulars import ENOUGH, Looks, Particulars
from tests.support.media import ffmpeg

PICTURES = {
    "h264, cropped": ("1920x1080", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
    "h264, odd numbers": ("322x242", ["-c:v", "libx264", "-pix_fmt", "yuv420p"]),
    "h264 of fields": ("720x576", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-flags", "+ilme+ildct"]),
    "h264, baseline": ("640x360", ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-profile:v", "baseline"]),
    "h264, 4:4:4": ("322x242", ["-c:v", "libx264", "-pix_fmt", "yuv444p"]),
    "hevc": ("642x362", ["-c:v", "libx265", "-pix_fmt", "yuv420p", "-x265-params", "log-level=error"]),
    "mpeg-2": ("720x576", ["-c:v", "mpeg2video"]),
}
SOUNDS = {
    "aac": (2, ["-c:a", "aac"]),
    "aac, 5.1": (6, ["-c:a", "aac"]),
    "mp2": (1, ["-c:a", "mp2"]),
    "mp3": (2, ["-c:a", "libmp3lame"]),
    "ac-3": (2, ["-c:a", "ac3"]),
    "ac-3, 5.1": (6, ["-c:a", "ac3"]),
    "e-ac-3, 5.1": (6, ["-c:a", "eac3"]),
}


def sample(size: str, video: list[str], channels: int, audio: list[str]) -> bytes:
    """A few pictures and some sound; skips where this FFmpeg lacks an encoder."""
    source = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r=25", "-f", "lavfi", "-i", "sine"]
    coding = [*video, "-preset", "ultrafast"] if video[1].startswith("lib") else video
    output = [*audio, "-ac", str(channels), "-t", "0.4", "-f", "mpegts", "pipe:1"]
    command = [ffmpeg(), "-hide_banner", "-loglevel", "error", *source, *coding, *output]
    made = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if b"Unknown encoder" in made.stderr:
        pytest.skip(made.stderr.decode())
    assert made.returncode == 0, made.stderr.decode()
    return made.stdout


def particulars(data: bytes, step: int = 5_000) -> Particulars:
    """What is found when the bytes come in pieces."""
    scanner, found = Scanner(), Particulars()
    for at in range(0, len(data), step):
        batch = scanner.feed(data[at : at + step])
        found.feed(batch.data, scanner.programme)
    return found


@pytest.mark.parametrize("name", PICTURES)
def test_the_size_of_the_picture(name: str) -> None:
    size, video = PICTURES[name]
    found = particulars(sample(size, video, 2, ["-c:a", "aac"]))
    told = found.info
    assert (told["resolution"], told["audio_channels"]) == (size, 2)


@pytest.mark.parametrize("name", SOUNDS)
def test_the_channels_of_the_sound(name: str) -> None:
    channels, audio = SOUNDS[name]
    found = particulars(sample("320x240", ["-c:v", "mpeg2video"], channels, audio))
    told = found.info
    assert (told["resolution"], told["audio_channels"]) == ("320x240", channels)


def test_another_programme_is_looked_at_again() -> None:
    first = sample("320x240", ["-c:v", "mpeg2video"], 2, ["-c:a", "aac"])
    second = sample("640x360", ["-c:v", "libx264"], 1, ["-c:a", "mp2"])
    scanner, found = Scanner(), Particulars()
    for data in (first, second):
        found.feed(scanner.feed(data).data, scanner.programme)
    found.feed(scanner.feed(second).data, scanner.programme)
    told = found.info
    assert (told["resolution"], told["audio_channels"]) == ("640x360", 1)


def test_what_tells_nothing_is_not_looked_at_for_ever() -> None:
    data = sample("320x240", ["-c:v", "mpeg2video"], 2, ["-c:a", "aac"])
    scanner, found = Scanner(), Particulars()
    scanner.feed(data)
    nothing = b"".join(bytes(data[at : at + 4]) + bytes(184) for at in range(0, len(data), 188))
    for _ in range(ENOUGH // len(nothing) + 1):
        found.feed(nothing, scanner.programme)
    found.feed(scanner.feed(data).data, scanner.programme)
    assert not {"resolution", "audio_channels"} & found.info.keys()


def test_renditions_tell_together_and_no_more_is_looked_at_than_needed() -> None:
    whole = sample("320x240", ["-c:v", "mpeg2video"], 2, ["-c:a", "aac"])
    scanner = Scanner()
    scanner.feed(whole)
    assert scanner.programme is not None
    video, audio = (scanner.programme.first(kind) for kind in ("video", "audio"))
    assert video is not None
    assert audio is not None
    looks = Looks()
    for data in (without(whole, [audio.pid]), b"\xde\xad" * 5000, without(whole, [video.pid])):
        assert looks.is_open
        looks.look(data)
    assert not looks.is_open
    assert (looks.info["resolution"], looks.info["audio_channels"]) == ("320x240", 2)


@given(st.sampled_from(sorted(pictures.CODECS | sounds.CODECS)), st.binary(max_size=300))
def test_rubbish_is_no_failure(codec: str, data: bytes) -> None:
    for start in (
        b"",
        b"\0\0\1",
        b"\0\0\1\0\0\1",
        b"\0\0\1\x67",
        b"\0\0\1\x42\1",
        b"\0\0\1\xb3",
        b"\xff\xf1",
        b"\x0b\x77",
    ):
        size = pictures.size_of(codec, start + data)
        assert size is None or (min(size) >= 16 and max(size) <= 16384)
        channels = sounds.channels_of(codec, start + data)
        assert channels is None or 1 <= channels <= 8
