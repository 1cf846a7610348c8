"""Every kind of command line, run by the FFmpegs at hand: they take it and deliver what it promises."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import datetime
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import pytest

from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.command.profiles import profiles
from m3u_proxy.ffmpeg.command.render import Rendered, hls_argv, pipe_argv, render
from m3u_proxy.ffmpeg.command.shape import HlsOptions
from m3u_proxy.ffmpeg.process.progress import ProgressParser
from m3u_proxy.ffmpeg.process.stderr import StderrLines, classify
from m3u_proxy.media.timeline import parse
from m3u_proxy.model import Naming
from m3u_proxy.redact import redact

SECONDS = 4
SHAPE = HlsOptions(segment_duration=2.0, window=6, keep_extra=2)
X264 = "-c:v libx264 -preset ultrafast -c:a aac"
BINARIES = [
    pytest.param("ffmpeg", marks=pytest.mark.needs("ffmpeg"), id="system"),
    pytest.param(imageio_ffmpeg.get_ffmpeg_exe(), id="wheel"),
]

pytestmark = pytest.mark.parametrize("ffmpeg", BINARIES)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A live MPEG-TS as the relay feeds it: tables, a keyframe every second, AAC."""
    path = tmp_path_factory.mktemp("source") / "in.ts"
    subprocess.run(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x90:r=25"),
            *("-f", "lavfi", "-i", "sine=440:r=48000", "-t", str(SECONDS), "-c:v", "libx264", "-preset"),
            *("ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac", "-ac", "2", str(path)),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return path.read_bytes()


@cache
def version(ffmpeg: str) -> tuple[int, int]:
    text = subprocess.run([ffmpeg, "-version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version n?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (99, 0)


def run(
    ffmpeg: str,
    one: Rendered,
    source: bytes,
    directory: Path,
    *,
    adts: bool = False,
    shape: HlsOptions = SHAPE,
    first: int = 0,
) -> bytes:
    """Feed the source to the command; returns its standard output."""
    reader, writer = os.pipe()
    words = version(ffmpeg)
    if one.output == "hls":
        argv = hls_argv(
            *(ffmpeg, one, shape), source=Input(), progress_fd=writer, version=words, adts=adts, first=first
        )
    else:
        argv = pipe_argv(ffmpeg, one, source=Input(), progress_fd=writer, version=words, adts=adts)
    try:
        done = subprocess.run(
            argv, input=source, capture_output=True, cwd=directory, pass_fds=[writer], check=False, timeout=30
        )
    finally:
        os.close(writer)
        with open(reader, "rb") as pipe:
            report = pipe.read(65536)
    assert done.returncode == 0, (argv, done.stderr)
    progress = ProgressParser()
    progress.feed(report)
    assert progress.latest is not None
    assert progress.latest.progress == "end"
    assert not [line for line in StderrLines(redact).feed(done.stderr) if classify(line).fatal]
    return done.stdout


DATED = re.compile(r"segment_(\d{8}_\d{6})_(\d{3,})\.ts")
OWN_NAMES = re.compile(r"index\.m3u8|segment_\d\.(ts|m4s)|init\.mp4")


def durations(directory: Path) -> list[float]:
    return [float(one) for one in re.findall(r"#EXTINF:([\d.]+)", (directory / "index.m3u8").read_text())]


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("-fflags nobuffer -i {input_url} -c copy -f hls {output_args}", {"segment_0.ts", "segment_1.ts"}),
        (f"-fflags +genpts -i {{input_url}} {X264} -f hls x.m3u8", {"segment_0.ts", "segment_1.ts"}),
        (
            f"-i {{input_url}} {X264} -hls_segment_type fmp4 -f hls {{output_args}}",
            {"init.mp4", "segment_0.m4s", "segment_1.m4s"},
        ),
        (
            "-i {input_url} -c copy -hls_segment_type fmp4 -hls_fmp4_init_filename i.mp4 -f hls x.m3u8",
            {"init.mp4", "segment_0.m4s"},
        ),
        ("-i {input_url} -vn -c:a aac -hls_flags round_durations -f hls", {"segment_0.ts", "segment_1.ts"}),
        (
            "-copyts -vsync passthrough -i {input_url} -c:v libx264 -preset ultrafast -an -f hls",
            {"segment_0.ts"},
        ),
        (
            "-i {input_url} -c:v libx265 -preset ultrafast -tag:v hvc1 -hls_segment_type fmp4 -f hls",
            {"init.mp4"},
        ),
    ],
)
def test_hls(ffmpeg: str, source: bytes, tmp_path: Path, template: str, names: set[str]) -> None:
    one = render(template, {}, input_url="http://p.example/1", output_format="mpegts")
    assert run(ffmpeg, one, source, tmp_path, adts=True) == b""
    found = {path.name for path in tmp_path.iterdir()}
    assert names | {"index.m3u8"} <= found
    assert all(OWN_NAMES.fullmatch(name) for name in found)
    assert all(path.stat().st_size for path in tmp_path.iterdir())
    written = durations(tmp_path)
    assert written[0] == pytest.approx(SHAPE.segment_duration, abs=0.1)
    assert sum(written) == pytest.approx(SECONDS, abs=0.2), "something of the beginning is lost"
    playlist = (tmp_path / "index.m3u8").read_text()
    assert "#EXT-X-PROGRAM-DATE-TIME" in playlist
    assert "#EXT-X-ENDLIST" not in playlist


def test_dated_segments_go_on_with_the_numbers(ffmpeg: str, source: bytes, tmp_path: Path) -> None:
    one = render("-i {input_url} -c copy -f hls", {}, input_url="http://p.example/1", output_format="hls")
    shape = HlsOptions(segment_duration=1.0, window=2, keep_extra=2, naming=Naming.DATED, linger=4.0)
    before = datetime.now().astimezone().replace(microsecond=0)
    assert run(ffmpeg, one, source, tmp_path, shape=shape, first=998) == b""
    found = sorted(
        (match for path in tmp_path.iterdir() if (match := DATED.fullmatch(path.name))),
        key=lambda match: int(match[2]),
    )
    assert [match[2] for match in found] == ["998", "999", "1000", "1001"]  # FFmpeg has deleted none
    assert len(list(tmp_path.iterdir())) == 5
    written = parse((tmp_path / "index.m3u8").read_text(), 998)
    assert [entry.name for entry in written.entries] == [match[0] for match in found[-2:]]
    assert [entry.number for entry in written.entries] == [2, 3]
    first = datetime.strptime(found[0][1], "%Y%m%d_%H%M%S").astimezone()
    assert before <= first <= datetime.now().astimezone(), "not local time"


@pytest.mark.parametrize(
    ("template", "start"),
    [
        ("-i {input_url} -c copy", b"G"),
        ("-vsync cfr -i {input_url}", b"G"),
        (
            f"-i {{input_url}} {X264} -vf yadif,scale=-2:90,format=yuv420p -af volume=2dB,aresample=48000",
            b"G",
        ),
        ("-i {input_url} -filter_complex '[0:v]scale=160:90[v]' -map '[v]' -map 0:a? -c:v mpeg2video", b"G"),
        ("-i {input_url} -f lavfi -i anullsrc -map 0:v -map 1:a -c:v copy -c:a aac -shortest", b"G"),
        (
            "-re -user_agent x -headers 'A: b' -reconnect 1 -err_detect ignore_err -i {input_url} -c copy",
            b"G",
        ),
        ("-i {input_url} -c copy -f mp4", b"\0\0\0\x1cftyp"),
        (f"-i {{input_url}} {X264} -movflags +faststart -f mov", b"\0\0\0\x14ftypqt"),
        (f"-i {{input_url}} {X264} -f mkv", b"\x1aE\xdf\xa3"),
        ("-i {input_url} -c copy -f mkv", b"\x1aE\xdf\xa3"),
        ("-i {input_url} -c copy -f flv", b"FLV"),
        ("-i {input_url} -vn -c:a libopus -f ogg", b"OggS"),
        ("-i {input_url} -f mpeg", b"\0\0\x01\xba"),
        ("-i {input_url} -vn -c:a libmp3lame -f mp3", b"ID3"),
        ("-i {input_url} -vn -c:a aac -f adts", b"\xff\xf1"),
        ("-i {input_url} -c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus -f webm", b"\x1aE\xdf\xa3"),
    ],
)
def test_pipe(ffmpeg: str, source: bytes, tmp_path: Path, template: str, start: bytes) -> None:
    one = render(template, {}, input_url="http://p.example/1", output_format="mpegts")
    assert run(ffmpeg, one, source, tmp_path, adts=True).startswith(start)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(profiles()))
def test_profiles(ffmpeg: str, source: bytes, tmp_path: Path, name: str) -> None:
    template = profiles()[name].template.replace("1920:1080", "192:108").replace("1280:720", "128:72")
    one = render(template, {}, input_url="http://p.example/1", output_format="mpegts")
    assert run(ffmpeg, one, source, tmp_path).startswith(b"G")
