"""The verifier that the end-to-end tests trust must itself notice every kind of fault."""

from __future__ import annotations

import pytest

from tests.support import ts, tsverify
from tests.support.tsverify import SIZE, slices_of, verify

CHANNEL = ts.programme(pictures=20)


def test_a_good_channel_is_clean() -> None:
    report = verify(CHANNEL.data)
    assert report.clean
    assert report.packets == len(CHANNEL.data) // SIZE == sum(report.pids.values())
    assert set(report.pids) == {0, ts.PMT_PID, ts.VIDEO_PID, ts.AUDIO_PID}
    assert report.first_packets[:3] == ("PAT", "PMT", "video")
    assert report.first_video_is_keyframe is True
    assert not verify(b"").clean


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2video"])
def test_the_first_picture_is_judged_by_its_content(codec: str) -> None:
    sample = ts.programme(codec=codec, flagged=False)
    assert verify(sample.data).first_video_is_keyframe is True
    tables = sample.psi[0]
    second_picture = sample.data.index(tables[SIZE : SIZE + 4])  # begin behind the first keyframe
    later = [at for at in range(second_picture, len(sample.data), SIZE) if sample.data[at + 1] == 0x41][1]
    assert verify(tables + sample.data[later:]).first_video_is_keyframe is False
    assert verify(tables + sample.data[sample.keyframes[0] + SIZE :]).first_video_is_keyframe is False
    assert verify(tables).first_video_is_keyframe is None


def test_a_lost_packet_is_one_error_of_its_pid() -> None:
    at = CHANNEL.keyframes[1] + SIZE
    assert verify(CHANNEL.data[:at] + CHANNEL.data[at + SIZE :]).continuity_errors == {ts.VIDEO_PID: 1}


def test_an_announced_break_is_excused_for_its_pid_only() -> None:
    mux = ts.Mux()
    before = mux.packet(5, b"a") + mux.packet(6, b"b")
    mux.counters = {5: 9, 6: 9}
    mark = mux.packet(5, field=ts.adaptation(discontinuity=True))
    report = verify(before + mark + mux.packet(5, b"c") + mux.packet(6, b"d"))
    assert report.continuity_errors == {6: 1}
    assert report.flagged_discontinuities == {5: 1}


def test_a_packet_may_come_twice_but_not_three_times() -> None:
    mux = ts.Mux()
    first, second, third = mux.packet(5, b"a"), mux.packet(5, b"b"), mux.packet(5, b"c")
    assert verify(first + second + second + third).clean
    assert verify(first + second * 3 + third).continuity_errors == {5: 1}
    other = second[:-1] + b"x"
    assert verify(first + second + other + third).continuity_errors == {5: 1}


def test_packets_without_payload_do_not_count() -> None:
    mux = ts.Mux()
    clock = [mux.packet(5, b"a"), mux.packet(5, field=ts.adaptation(pcr=5)), mux.packet(5, b"b")]
    assert verify(b"".join(clock)).clean
    mux.counters[5] += 1
    assert verify(b"".join(clock) + mux.packet(5, field=ts.adaptation(pcr=9))).continuity_errors == {5: 1}


def test_misalignment_and_a_cut_end_are_sync_errors() -> None:
    assert verify(CHANNEL.data[:-1]).sync_errors == 1
    report = verify(CHANNEL.data[: 5 * SIZE] + b"\x00" * 30 + CHANNEL.data[5 * SIZE :])
    assert (report.sync_errors, report.continuity_errors) == (1, {})


def test_kinds_of_the_first_packets() -> None:
    mux = ts.Mux()
    mark = mux.packet(0, field=ts.adaptation(discontinuity=True))
    assert verify(mark + mux.null() + CHANNEL.data).first_packets[:4] == (
        "discontinuity",
        "null",
        "PAT",
        "PMT",
    )


# --- slices


def test_a_whole_source_is_one_slice_behind_its_tables() -> None:
    assert slices_of(CHANNEL.data, CHANNEL.data) == [(2 * SIZE, len(CHANNEL.data) - 2 * SIZE)]


def test_preface_and_loop_are_seen_through() -> None:
    data, start = CHANNEL.data, CHANNEL.keyframes[1]
    mark = ts.Mux().packet(ts.VIDEO_PID, field=ts.adaptation(discontinuity=True))
    capture = mark + CHANNEL.psi[1] + data[start:] + data * 2 + data[: 10 * SIZE]
    assert slices_of(capture, data) == [(start, len(data) * 3 - start + 10 * SIZE)]


def test_a_gap_makes_two_slices() -> None:
    data, (first, second) = CHANNEL.data, CHANNEL.keyframes
    capture = CHANNEL.psi[0] + data[first : first + 5 * SIZE] + CHANNEL.psi[1] + data[second:]
    assert slices_of(capture, data) == [(first, 5 * SIZE), (second, len(data) - second)]


def test_what_is_not_of_the_source_is_named() -> None:
    data, start = CHANNEL.data, CHANNEL.keyframes[1]
    strange = ts.Mux().packet(0x777, b"?") * 2
    capture = data[start : start + 4 * SIZE] + strange + data[start + 4 * SIZE : start + 6 * SIZE] + b"\x47"
    assert slices_of(capture, data) == [
        (start, 4 * SIZE),
        (-1, 2 * SIZE),
        (start + 4 * SIZE, 2 * SIZE),
        (-1, 1),
    ]


def test_a_changed_byte_is_noticed() -> None:
    capture = bytearray(CHANNEL.data[CHANNEL.keyframes[0] :])
    capture[3 * SIZE + 100] ^= 1
    assert [offset for offset, _ in slices_of(bytes(capture), CHANNEL.data)].count(-1) == 1


def test_the_source_must_be_whole_packets() -> None:
    with pytest.raises(AssertionError, match="whole packets"):
        tsverify.slices_of(b"", b"\x47" * 187)
