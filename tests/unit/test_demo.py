"""The demo's command line: what every FFmpeg can encode, paced, endless, with a clock and a tone."""

from __future__ import annotations

import pytest

from m3u_proxy.daemon.demo import command


def _option(argv: list[str], name: str) -> str:
    return argv[argv.index(name) + 1]


@pytest.mark.parametrize(
    ("encoders", "wanted"),
    [
        ({"libx264", "aac", "mpeg2video"}, "libx264"),
        ({"aac", "mpeg2video"}, "mpeg2video"),
        ((), "mpeg2video"),
    ],
)
def test_picture_is_encoded_with_x264_or_with_what_every_build_has(encoders: set[str], wanted: str) -> None:
    assert _option(command("/bin/ffmpeg", encoders), "-c:v") == wanted


@pytest.mark.parametrize("encoders", [{"libx264"}, set()])
def test_it_is_live_mpegts_on_stdout(encoders: set[str]) -> None:
    argv = command("/opt/ffmpeg/bin/ffmpeg", encoders)
    assert argv[0] == "/opt/ffmpeg/bin/ffmpeg"
    assert argv[-3:] == ["-f", "mpegts", "pipe:1"]
    inputs = [argv[at - 3 : at + 2] for at, word in enumerate(argv) if word == "-i"]
    assert [words[:4] for words in inputs] == [["-re", "-f", "lavfi", "-i"]] * 2, "both inputs keep real time"
    assert [words[4].partition("=")[0] for words in inputs] == ["testsrc2", "sine"]
    assert not {"-t", "-frames:v", "-shortest"} & set(argv), "nothing ends it"


@pytest.mark.parametrize("encoders", [{"libx264"}, set()])
def test_a_joiner_waits_a_second_at_most_for_a_keyframe(encoders: set[str]) -> None:
    argv = command("ffmpeg", encoders)
    rate = next(word for word in argv if "rate=25" in word)
    assert "testsrc2" in rate
    assert int(_option(argv, "-g")) <= 25
