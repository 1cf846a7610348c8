"""FFmpeg's words: which side they concern, lines out of a flood, and its progress reports."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.ffmpeg.process.progress import Progress, ProgressParser
from m3u_proxy.ffmpeg.process.stderr import LINE_BYTES, LINES_KEPT, Diagnosis, StderrLines, classify
from m3u_proxy.redact import redact

NOTHING = Diagnosis(None, None)


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        # 5.1
        ("av_interleaved_write_frame(): No space left on device", "no_space"),
        ("[hls @ 0x55d0] Failed to open file 'segment_12.ts'", "failed_to_open"),
        ("[hls @ 0x55d0] Failed to open file '/srv/hls/m3u_1/segment_12.ts'", "failed_to_open"),
        (
            "[hls @ 0x55d0] failed to rename file index.m3u8.tmp to index.m3u8: Permission denied",
            "permission_denied",
        ),
        ("index.m3u8: Permission denied", "permission_denied"),
        ("Error writing trailer of index.m3u8: Input/output error", "io_error"),
        ("Error writing trailer of pipe:1: No space left on device", "no_space"),
        ("av_interleaved_write_frame(): I/O error", "io_error"),
        # 8 and 9
        ("[out#0/hls @ 0x5581] Error opening output index.m3u8: Permission denied", "permission_denied"),
        ("[out#0/mpegts @ 0x5581] Error writing trailer: Disk quota exceeded", "quota"),
        (
            "[vost#0:0/libx264 @ 0x5581] Error submitting a packet to the muxer: Input/output error",
            "io_error",
        ),
        ("[out#0/hls @ 0x5581] Task finished with error code: -5 (Input/output error)", "io_error"),
        ("[hls @ 0x5581] Failed to open file 'init.mp4'", "failed_to_open"),
        # whoever writes them, only a writer can
        ("Read-only file system", "read_only"),
        ("DISK FULL", "disk_full"),
        ("cannot write", "cannot_write"),
        ("error writing", "error_writing"),
    ],
)
def test_write_errors_of_ours_are_fatal(line: str, pattern: str) -> None:
    assert classify(line) == Diagnosis("output", pattern, fatal=True)
    assert classify(line.upper()) == Diagnosis("output", pattern, fatal=True)


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("[hls @ 0x55d0] Failed to open segment 1 of playlist 0", "failed_to_open"),
        ("Failed to open segment 3 of playlist 0", "failed_to_open"),
        ("pipe:0: Input/output error", "io_error"),
        ("fd:0: Input/output error", "io_error"),
        ("http://127.0.0.1:41234/Zm9v/segment_3.ts: Input/output error", "io_error"),
        ("[http @ 0x55d0] HTTP error 403, permission denied", "permission_denied"),
        ("[tcp @ 0x55d0] Failed to open socket: Permission denied", "permission_denied"),
        ("[in#0/mpegts @ 0x5581] Error during demuxing: I/O error", "io_error"),
        ("[in#0 @ 0x5581] Error opening input: Input/output error", "io_error"),
        ("Error opening input file pipe:0.: Permission denied", "permission_denied"),
        ("[https @ 0x55d0] no space left on the server", "no_space"),
        (
            "[vist#0:0/h264 @ 0x5581] [dec:h264 @ 0x5581] Error submitting packet to decoder: I/O error",
            "io_error",
        ),
    ],
)
def test_words_about_the_input_are_only_noted(line: str, pattern: str) -> None:
    """F57: misleading text."""
    assert classify(line) == Diagnosis("input", pattern)


@pytest.mark.parametrize(
    ("line", "pattern"),
    [
        ("Permission denied", "permission_denied"),
        ("[AVIOContext @ 0x55d0] I/O error", "io_error"),
        ("pipe:: I/O error", "io_error"),
        ("[mpegts @ 0x55d0] Failed to open something", "failed_to_open"),
    ],
)
def test_words_of_unknown_side_are_not_fatal(line: str, pattern: str) -> None:
    assert classify(line) == Diagnosis("unknown", pattern)


def test_segments_that_could_not_be_deleted_are_counted() -> None:
    line = "[hls @ 0x55d0] failed to delete old segment segment_3.ts: Permission denied"
    assert classify(line) == Diagnosis("output", "not_deleted")


@pytest.mark.parametrize(
    "line",
    [
        "",
        "404",
        "end of file",
        "error",
        "[http @ 0x55d0] HTTP error 404 Not Found",
        "Server returned 4XX Client Error, but not one of 40{0,1,3,4}",
        "Invalid data found when processing input",
        "[mpegts @ 0x55d0] Packet corrupt (stream = 0, dts = 187200).",
        "segment_3.ts",
    ],
)
def test_other_words_mean_nothing(line: str) -> None:
    assert classify(line) == NOTHING


@given(st.text(max_size=200))
def test_any_line_is_judged(line: str) -> None:
    found = classify(line)
    assert not found.fatal or found.side == "output"
    assert (found.side is None) == (found.pattern is None)


# ------------------------------------------------------------------ lines


def same(text: str) -> str:
    return text


def test_lines_end_at_cr_and_lf_wherever_the_read_was_cut() -> None:
    tail = StderrLines(same)
    assert tail.feed(b"one\ntw") == ["one"]
    assert tail.feed(b"o\r\nthree\rfo") == ["two", "three"]
    assert tail.feed(b"ur") == []
    assert tail.feed(b"\n\n\r\n") == ["four"]
    assert tail.last(2) == ["three", "four"]
    assert tail.last(0) == []
    assert tail.last(99) == ["one", "two", "three", "four"]


def test_lines_are_redacted_and_free_of_control_characters() -> None:
    """A111."""
    tail = StderrLines(redact)
    tail.feed(b"\x1b[31mhttp://p.example/live/user/pass/1.ts\x1b[0m \x07\xff\xfe end\x85\n")
    (line,) = tail.last(1)
    assert "user" not in line
    assert "pass" not in line
    assert line.isprintable()
    assert line.endswith("\N{REPLACEMENT CHARACTER} end\N{REPLACEMENT CHARACTER}")


def test_a_long_line_is_cut_and_its_rest_skipped() -> None:
    tail = StderrLines(same)
    found = []
    for _ in range(40):
        found += tail.feed(b"x" * 65536)
    found += tail.feed(b"x cannot write\nnext\n")
    assert found == ["x" * LINE_BYTES, "next"]


@pytest.mark.parametrize("length", [LINE_BYTES - 1, LINE_BYTES, LINE_BYTES + 1, 3 * LINE_BYTES])
def test_a_line_is_never_longer_than_its_limit(length: int) -> None:
    for step in (7, 1000, 5000):
        tail, text, found = StderrLines(same), b"a" * length + b"\nb\n", []
        for at in range(0, len(text), step):
            found += tail.feed(text[at : at + step])
        assert found == ["a" * min(length, LINE_BYTES), "b"]


def test_the_newest_lines_are_kept() -> None:
    tail = StderrLines(same)
    for number in range(LINES_KEPT + 50):
        tail.feed(f"line {number}\n".encode())
    assert tail.last(LINES_KEPT + 50) == [f"line {number}" for number in range(50, LINES_KEPT + 50)]


def test_a_flood_costs_its_harmless_lines_only() -> None:
    tail = StderrLines(same)
    noise = [f"noise {number}" for number in range(3000)]
    noise[1500] = "av_interleaved_write_frame(): No space left on device"
    found = tail.feed("\n".join(noise).encode() + b"\n")
    assert len(found) < 100
    assert noise[1500] in found
    assert found[:3] == noise[:3]
    assert found[-3:] == noise[-3:]
    assert tail.suppressed == 3000 - len(found)


@given(st.integers(0, 3000), st.integers(1, 70000))
def test_an_error_is_seen_wherever_it_stands_in_a_flood(position: int, step: int) -> None:
    """F53: a write error in a flood."""
    tail = StderrLines(same)
    noise = [b"[mpegts @ 0x55d0] something is odd with packet %d" % number for number in range(3001)]
    noise[position] = b"[hls @ 0x55d0] Failed to open file 'segment_1.ts'"
    text, found = b"\r\n".join(noise) + b"\r\n", []
    step = max(step, 500)
    for at in range(0, len(text), step):
        found += tail.feed(text[at : at + step])
    assert sum(classify(line).fatal for line in found) == 1


@given(st.lists(st.binary(max_size=2000), max_size=12))
def test_any_bytes_become_printable_lines(pieces: list[bytes]) -> None:
    tail = StderrLines(same)
    for piece in pieces:
        for line in tail.feed(piece):
            assert 0 < len(line) <= LINE_BYTES
            assert "\n" not in line
            assert "\x1b" not in line


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(b"frame dropped, again and again and again\n" * 1600, id="lines"),
        pytest.param(b"\n" * 65536, id="empty-lines"),
        pytest.param(b"a\r" * 32768, id="one-letter-lines"),
        pytest.param(b"x" * 65536, id="no-line-end"),
        pytest.param(b"[http @ 0x1] I/O error\n" * 2800, id="errors"),
        pytest.param(b"\x1b[" * 32768, id="escapes"),
        pytest.param(b"\xff" * 65535 + b"\n", id="not-text"),
    ],
)
def test_a_read_of_64_kib_costs_little(chunk: bytes) -> None:
    tail = StderrLines(redact)
    started = time.process_time()
    for _ in range(64):
        assert len(tail.feed(chunk)) <= 60
    assert (time.process_time() - started) / 64 < 0.01


# ------------------------------------------------------------------ progress

REPORT = b"""frame=120
fps=25.04
stream_0_0_q=28.0
bitrate=2054.3kbits/s
total_size=1232640
out_time_us=4800000
out_time_ms=4800000
out_time=00:00:04.800000
dup_frames=0
drop_frames=0
speed=1.01x
progress=continue
"""


@pytest.mark.parametrize("step", [1, 7, 4096])
def test_a_report_is_read_wherever_it_is_cut(step: int) -> None:
    parser = ProgressParser()
    for at in range(0, len(REPORT), step):
        parser.feed(REPORT[at : at + step])
    assert parser.latest == Progress(
        frame=120,
        fps=25.04,
        bitrate=2_054_300.0,
        total_size=1_232_640,
        out_time_us=4_800_000,
        speed=1.01,
        progress="continue",
    )


def test_an_unfinished_report_does_not_count() -> None:
    parser = ProgressParser()
    parser.feed(REPORT + b"frame=130\nspeed=0.5x\n")
    assert parser.latest is not None
    assert parser.latest.frame == 120


def test_what_ffmpeg_does_not_know_is_none() -> None:
    parser = ProgressParser()
    parser.feed(b"frame=0\nfps=0.00\nbitrate=N/A\ntotal_size=N/A\nout_time_us=N/A\nspeed=N/A\nprogress=end\n")
    assert parser.latest == Progress(0, 0.0, None, None, None, None, "end")


def test_blanks_before_a_number_are_ffmpegs_way_of_aligning() -> None:
    parser = ProgressParser()
    parser.feed(b"bitrate=   0.4kbits/s\nspeed=   1x\nprogress=continue\n")
    assert parser.latest is not None
    assert (parser.latest.bitrate, parser.latest.speed) == (400.0, 1.0)


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_any_bytes_are_read_or_ignored(pieces: list[bytes]) -> None:
    parser = ProgressParser()
    for piece in pieces:
        parser.feed(piece)
    assert parser.latest is None or isinstance(parser.latest.progress, str)
