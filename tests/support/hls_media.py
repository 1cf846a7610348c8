"""Real media for HLS and VOD sources, made by FFmpeg once per test run and kept in memory.

Forty seconds in twenty segments, 25 pictures a second, H.264 and AAC. What a viewer got can be told apart:
``high`` is 640x360 with a tone of 440 Hz, ``low`` is 320x180 with another picture and 880 Hz.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from tests.support.media import ffmpeg

SECONDS = 40
SEGMENT = 2
"""Seconds of one segment, and of one group of pictures."""
COUNT = SECONDS // SEGMENT
KEY_PERIOD = 3
"""Segments under one AES key."""
VIDEO_CODEC = "avc1.42c01e"
AUDIO_CODEC = "mp4a.40.2"
FIRST_PTS = 126_000
"""Where FFmpeg's MPEG-TS begins, in units of 1/90000 s."""
PATIENCE = 120


@dataclass(frozen=True, repr=False)
class Track:
    """The segments of one rendition, in order; ``init`` is what EXT-X-MAP names (RFC 8216 §4.3.2.5)."""

    segments: tuple[bytes, ...]
    durations: tuple[float, ...]
    extension: str
    content_type: str
    init: bytes | None = None


@dataclass(frozen=True, repr=False)
class HlsMedia:
    """Everything there is. ``encrypted`` is ``high`` under ``keys``, one for each ``KEY_PERIOD`` segments."""

    high: Track
    low: Track
    fmp4: Track
    fmp4_low: Track
    high_video: Track
    low_video: Track
    audio_en: Track
    audio_de: Track
    subtitles: Track
    encrypted: Track
    keys: tuple[bytes, ...]
    mp4: bytes
    """Sample tables (moov) at the end of the file."""
    mp4_faststart: bytes
    """The same, moov first."""
    mkv: bytes


def iv_of(index: int) -> bytes:
    """IV of the encrypted segment ``index``: its number, as RFC 8216 §5.2 has it where no IV is given."""
    return index.to_bytes(16, "big")


@cache
def hls_media() -> HlsMedia:
    """All of it; the first call takes a few seconds."""
    with tempfile.TemporaryDirectory(prefix="hls-media-") as name:
        home = Path(name)
        _encode(home)
        _package(home)
        high = _track(home, "high", ".ts", "video/mp2t")
        keys = tuple(hashlib.md5(b"key %d" % n).digest() for n in range(-(-len(high.segments) // KEY_PERIOD)))
        return HlsMedia(
            high=high,
            low=_track(home, "low", ".ts", "video/mp2t"),
            fmp4=_track(home, "fmp4", ".m4s", "video/iso.segment"),
            fmp4_low=_track(home, "fmp4-low", ".m4s", "video/iso.segment"),
            high_video=_track(home, "high-video", ".ts", "video/mp2t"),
            low_video=_track(home, "low-video", ".ts", "video/mp2t"),
            audio_en=_track(home, "audio-en", ".ts", "video/mp2t"),
            audio_de=_track(home, "audio-de", ".ts", "video/mp2t"),
            subtitles=_subtitles(high.durations),
            encrypted=_encrypted(home, high, keys),
            keys=keys,
            mp4=(home / "end.mp4").read_bytes(),
            mp4_faststart=(home / "faststart.mp4").read_bytes(),
            mkv=(home / "high.mkv").read_bytes(),
        )


def aes_128(data: bytes, key: bytes, iv: bytes) -> bytes:
    """Decrypt AES-128-CBC with PKCS7 padding (RFC 8216 §4.3.2.4), by FFmpeg."""
    with tempfile.TemporaryDirectory(prefix="hls-aes-") as name:
        source = Path(name, "in")
        source.write_bytes(data)
        secret = ["-decryption_key", key.hex(), "-decryption_iv", iv.hex()]
        copied = ["-map", "0", "-c", "copy", "-f", "data", "pipe:1"]
        return _run([*secret, "-f", "data", "-i", f"crypto:{source}", *copied])


def _run(arguments: list[str]) -> bytes:
    command = [ffmpeg(), "-v", "error", "-nostdin", "-y", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=PATIENCE).stdout


def _encode(home: Path) -> None:
    """Two pictures, two tones; everything else is packed from these without encoding again."""
    inputs = ["testsrc2=size=640x360:rate=25", "testsrc=size=320x180:rate=25"]
    inputs += ["sine=frequency=440:sample_rate=48000", "sine=frequency=880:sample_rate=48000"]
    picture = ["-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline", "-level", "3.0"]
    picture += ["-pix_fmt", "yuv420p", "-g", str(25 * SEGMENT), "-sc_threshold", "0"]
    sound = ["-c:a", "aac", "-b:a", "64k", "-t", str(SECONDS)]
    arguments = [*chain.from_iterable(["-f", "lavfi", "-i", source] for source in inputs)]
    arguments += ["-map", "0", "-map", "2", *picture, "-b:v", "600k", *sound, str(home / "high.mkv")]
    arguments += ["-map", "1", "-map", "3", *picture, "-b:v", "150k", *sound, str(home / "low.mkv")]
    _run(arguments)


def _package(home: Path) -> None:
    arguments = ["-i", str(home / "high.mkv"), "-i", str(home / "low.mkv")]
    for name, *streams in (
        ("high", "0"),
        ("low", "1"),
        ("high-video", "0:v"),
        ("low-video", "1:v"),
        ("audio-en", "0:a"),
        ("audio-de", "1:a"),
    ):
        arguments += [*_maps(streams), *_hls(home, name), str(home / f"{name}.m3u8")]
    for name, stream in (("fmp4", "0"), ("fmp4-low", "1")):
        fragments = [*_hls(home, name, "m4s"), "-hls_segment_type", "fmp4", "-hls_fmp4_init_filename"]
        arguments += ["-map", stream, *fragments, f"{name}-init.mp4", str(home / f"{name}.m3u8")]
    arguments += ["-map", "0", "-c", "copy", str(home / "end.mp4")]
    arguments += ["-map", "0", "-c", "copy", "-movflags", "+faststart", str(home / "faststart.mp4")]
    _run(arguments)


def _maps(streams: list[str]) -> list[str]:
    return [*chain.from_iterable(["-map", stream] for stream in streams)]


def _hls(home: Path, name: str, extension: str = "ts") -> list[str]:
    pattern = str(home / f"{name}-%03d.{extension}")
    packing = ["-c", "copy", "-f", "hls", "-hls_time", str(SEGMENT), "-hls_list_size", "0"]
    return [*packing, "-hls_segment_filename", pattern]


def _track(home: Path, name: str, extension: str, content_type: str) -> Track:
    text = (home / f"{name}.m3u8").read_text()
    durations = tuple(float(found) for found in re.findall(r"#EXTINF:([\d.]+)", text))[:COUNT]
    paths = sorted(home.glob(f"{name}-[0-9]*{extension}"))[:COUNT]
    assert len(paths) == len(durations) == COUNT, text
    init = home / f"{name}-init.mp4"
    segments = tuple(path.read_bytes() for path in paths)
    return Track(segments, durations, extension, content_type, init.read_bytes() if init.exists() else None)


def _subtitles(durations: tuple[float, ...]) -> Track:
    """One cue per segment, which names it; RFC 8216 §3.5 ties its clock to that of the MPEG-TS."""
    head = f"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:{FIRST_PTS},LOCAL:00:00:00.000\n\n"
    cues = [
        f"00:00:{n * SEGMENT:02d}.000 --> 00:00:{n * SEGMENT + 1:02d}.500\nSegment {n}\n"
        for n in range(len(durations))
    ]
    return Track(tuple((head + cue).encode() for cue in cues), durations, ".vtt", "text/vtt")


def _encrypted(home: Path, plain: Track, keys: tuple[bytes, ...]) -> Track:
    """All segments encrypted by one FFmpeg: each is an input, and an output with a key."""
    count = range(len(plain.segments))
    arguments = [*chain.from_iterable(["-f", "data", "-i", str(home / f"high-{n:03d}.ts")] for n in count)]
    for n in count:
        arguments += ["-map", str(n), "-c", "copy", "-f", "data"]
        arguments += ["-encryption_key", keys[n // KEY_PERIOD].hex(), "-encryption_iv", iv_of(n).hex()]
        arguments.append(f"crypto:{home / f'aes-{n:03d}'}")
    _run(arguments)
    segments = tuple((home / f"aes-{n:03d}").read_bytes() for n in count)
    return Track(segments, plain.durations, plain.extension, plain.content_type)
