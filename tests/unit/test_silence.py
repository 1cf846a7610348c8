"""What FFmpeg is told to listen for, and its words for what it hears."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.silence import SilenceParser, listen_argv
from m3u_proxy.model import SilenceCheck

CHECK = SilenceCheck(threshold_db=-50, duration=3, interval=10, failures=3, grace=15)
START = b"[silencedetect @ 0x56093d6045c0] silence_start: 4.01091\n"
END = b"[silencedetect @ 0x56093d6045c0] silence_end: 8.01959 | silence_duration: 4.00868\n"
NOISE = b"[mpegts @ 0x5609] PES packet size mismatch\nsize=N/A time=00:00:08.01 bitrate=N/A speed= 936x    \r"


def test_the_command_decodes_sound_alone_and_writes_nothing() -> None:
    argv = listen_argv("/usr/bin/ffmpeg", CHECK, source=Input(), progress_fd=7)
    text = " ".join(argv)
    assert argv[0] == "/usr/bin/ffmpeg"
    assert text.endswith("-f mpegts -i pipe:0 -map 0:a:0 -af silencedetect=noise=-50.000dB:d=3.000 -f null -")
    assert text.index("-vn") < text.index("-i "), "video must be dropped before it is decoded"
    assert "-progress pipe:7" in text
    assert "-protocol_whitelist pipe" in text


@pytest.mark.parametrize(
    ("threshold", "duration", "said"),
    [
        (-0.00001, 0.001, "noise=-0.000dB:d=0.001"),
        (-35.5, 1e9, "noise=-35.500dB:d=86400.000"),
    ],
)
def test_numbers_are_written_as_ffmpeg_reads_them(threshold: float, duration: float, said: str) -> None:
    check = SilenceCheck(threshold_db=threshold, duration=duration, interval=1, failures=1, grace=0)
    assert f"silencedetect={said}" in listen_argv("ffmpeg", check, source=Input(), progress_fd=3)


@pytest.mark.parametrize(
    ("said", "is_silent", "ends"),
    [
        (NOISE, False, 0),
        (START, True, 0),
        (START + END, False, 1),
        (NOISE + START + NOISE + END + START, True, 1),
        (START[:-1], False, 0),
        (b"silence_startled: 1\n", False, 0),
        (END, False, 1),
    ],
)
def test_the_last_word_counts(said: bytes, is_silent: bool, ends: int) -> None:
    parser = SilenceParser()
    parser.feed(said)
    assert (parser.is_silent, parser.ends) == (is_silent, ends)


@given(st.lists(st.sampled_from([START, END, NOISE]), max_size=20), st.integers(1, 90))
def test_it_does_not_matter_where_lines_are_cut(lines: list[bytes], size: int) -> None:
    whole, cut = SilenceParser(), SilenceParser()
    text = b"".join(lines)
    whole.feed(text)
    for at in range(0, len(text), size):
        cut.feed(text[at : at + size])
    assert (whole.is_silent, whole.ends) == (cut.is_silent, cut.ends)
    assert whole.ends == lines.count(END)
    spoken = [line for line in lines if line is not NOISE]
    assert whole.is_silent == bool(spoken and spoken[-1] == START)


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_whatever_is_said_little_of_it_is_kept(pieces: list[bytes]) -> None:
    parser = SilenceParser()
    for piece in pieces:
        parser.feed(piece)
        assert len(parser._rest) <= 256
