from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.mpegts import PACKET, SNIFF, NotMedia, Scanner, counters_at, discontinuity
from tests.support import ts, tsverify
from tests.support.fed import Fed

CODECS = ["h264", "hevc", "mpeg2video"]
CHANNEL = ts.programme(pictures=20)
quick = settings(deadline=None, max_examples=60, derandomize=True)


# --- random-access points


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("flagged", [True, False], ids=["flagged", "unflagged"])
def test_each_keyframe_is_a_point_with_the_tables_before_it(codec: str, flagged: bool) -> None:
    sample = ts.programme(codec=codec, flagged=flagged, nulls=2, pictures=35, psi_every=3)
    fed = Fed([sample.data])
    assert fed.data == sample.data
    assert fed.points == list(zip(sample.keyframes, sample.psi, strict=True))


@pytest.mark.parametrize("start", [0, (1 << 33) - 20 * 3600], ids=["zero", "wrap"])
def test_audio_alone_has_a_point_every_400_ms(start: int) -> None:
    sample = ts.programme(codec=None, pictures=50, pts=start)
    fed = Fed([sample.data])
    assert fed.offsets == sample.keyframes[::10]


def test_audio_whose_clock_jumps_back_still_has_points() -> None:
    """F44: a clock that wraps."""
    mux = ts.Mux()
    early = ts.programme(codec=None, pictures=5, pts=90_000_000, mux=mux)
    late = ts.programme(codec=None, pictures=5, pts=0, psi=False, mux=mux)
    assert Fed([early.data + late.data]).offsets == (early.keyframes[0], len(early.data) + late.keyframes[0])


@pytest.mark.parametrize("scrambled", [False, True])
def test_audio_without_timestamps_has_a_point_every_64_packets(scrambled: bool) -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x03, ts.AUDIO_PID, b"")]))
    pts = 0 if scrambled else None  # a scrambled timestamp cannot be read
    frames = [
        mux.pes(ts.AUDIO_PID, b"a" * 150, stream_id=0xC0, pts=pts, scrambled=scrambled) for _ in range(200)
    ]
    assert Fed([head, *frames]).offsets == tuple(len(head) + n * PACKET for n in (0, 64, 128, 192))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("gap", [0, 9, 40], ids=["adjacent", "within the lookahead", "beyond it"])
def test_a_keyframe_that_shows_late_is_found_at_its_first_packet(codec: str, gap: int) -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID}))
    head += mux.psi(ts.PMT_PID, ts.pmt([(ts.STREAM_TYPE[codec], ts.VIDEO_PID, b"")]))
    late = mux.pes(ts.VIDEO_PID, ts.picture(codec, key=True), pts=0, first=12)
    tail = mux.pes(ts.VIDEO_PID, ts.picture(codec, key=False), pts=3600)
    stream = head + late[:PACKET] + mux.null() * gap + late[PACKET:] + tail + mux.null() * 16
    assert Fed([stream]).offsets == ((len(head),) if gap < 16 else ())
    assert Fed([stream]).data == stream


def test_an_undecided_picture_ends_where_the_next_one_starts() -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x1B, ts.VIDEO_PID, b"")]))
    undecided = mux.pes(ts.VIDEO_PID, b"\0\0\1\x06 a message only", pts=0)
    key = mux.pes(ts.VIDEO_PID, ts.picture("h264", key=True), pts=3600)
    assert Fed([head + undecided + key]).offsets == (len(head + undecided),)


@pytest.mark.parametrize("stream_id", [0xE5, 0xE7])
def test_a_stream_id_is_not_mistaken_for_a_nal_unit(stream_id: int) -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x1B, ts.VIDEO_PID, b"")]))
    other = mux.pes(ts.VIDEO_PID, ts.picture("h264", key=False), pts=0, stream_id=stream_id)
    key = mux.pes(ts.VIDEO_PID, ts.picture("h264", key=True), pts=3600, stream_id=stream_id)
    assert Fed([head + other + key]).offsets == (len(head + other),)


@pytest.mark.parametrize("payload", [b"\x00\x40" * 92, b"\x40" * 184])
def test_payload_is_not_mistaken_for_the_indicator(payload: bytes) -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x1B, ts.VIDEO_PID, b"")]))
    assert Fed([head + mux.packet(ts.VIDEO_PID, payload, start=True) + mux.null()]).offsets == ()


def test_other_audio_starts_with_a_point_of_its_own() -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x0F, 0x101, b"")]))
    head += mux.pes(0x101, b"a", pts=0)
    change = mux.psi(ts.PMT_PID, ts.pmt([(0x0F, 0x102, b"")], version=1))
    after = mux.pes(0x101, b"a", pts=90_000) + mux.pes(0x102, b"b", pts=100)
    assert Fed([head + change + after]).offsets == (2 * PACKET, len(head + change) + PACKET)


def test_packets_wait_only_while_a_picture_is_undecided() -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x1B, ts.VIDEO_PID, b"")]))
    pes = mux.pes(ts.VIDEO_PID, ts.picture("h264", key=True), pts=0, first=12)
    scanner = Scanner()
    assert scanner.feed(head + mux.null() + pes[:PACKET]).data == head + mux.null()
    batch = scanner.feed(pes[PACKET:])
    assert batch.data == pes
    assert [point.offset for point in batch.points] == [0]


def test_scrambled_video_has_points_only_by_the_indicator() -> None:
    mux = ts.Mux()
    head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x1B, ts.VIDEO_PID, b"")]))
    key = ts.picture("h264", key=True)
    unmarked = mux.pes(ts.VIDEO_PID, key, scrambled=True)
    marked = mux.pes(ts.VIDEO_PID, key, scrambled=True, random_access=True)
    assert Fed([head + unmarked + marked]).offsets == (len(head) + len(unmarked),)


def test_a_damaged_packet_is_passed_on_but_never_a_point() -> None:
    """F44: bit flips."""
    first = CHANNEL.keyframes[0]
    data = bytearray(CHANNEL.data)
    data[first + 1] |= 0x80  # transport_error_indicator
    fed = Fed([bytes(data)])
    assert fed.data == data
    assert fed.offsets == CHANNEL.keyframes[1:]


@pytest.mark.parametrize("length", [183, 184, 255])
def test_an_adaptation_field_longer_than_its_packet_is_no_point(length: int) -> None:
    first = CHANNEL.keyframes[0]
    data = bytearray(CHANNEL.data)
    data[first + 4] = length
    assert Fed([bytes(data)]).offsets == CHANNEL.keyframes[1:]


def test_without_a_pmt_there_is_data_and_no_point() -> None:
    """F44: no tables."""
    sample = ts.programme(psi=False)
    fed = Fed([sample.data])
    assert fed.data == sample.data
    assert fed.points == []
    assert (fed.scanner.psi, fed.scanner.programme) == (b"", None)


# --- alignment


@pytest.mark.parametrize("junk", [1, 187, 188, 1000, SNIFF - 1])
def test_junk_before_the_first_packet_is_dropped(junk: int) -> None:
    fed = Fed([b"\x01" * junk + CHANNEL.data])
    assert fed.data == CHANNEL.data
    assert fed.offsets == CHANNEL.keyframes
    assert (fed.scanner.dropped_bytes, fed.scanner.resyncs) == (junk, 0)


@pytest.mark.parametrize("shift", [-187, -1, 1, 7, 100, 188, 5000])
def test_lost_or_extra_bytes_cost_at_most_five_packets(shift: int) -> None:
    """F44: off by some bytes."""
    at = 40 * PACKET + 90
    data = CHANNEL.data
    data = data[:at] + b"\x02" * shift + data[at:] if shift > 0 else data[:at] + data[at - shift :]
    fed = Fed([data])
    assert fed.scanner.resyncs == 1
    begun = 41 * PACKET  # the packet in which it happened cannot be told from a good one
    assert fed.data[: begun - PACKET] == CHANNEL.data[: begun - PACKET]
    lost = len(CHANNEL.data) - len(fed.data)
    assert lost <= 5 * PACKET
    assert fed.data[begun:] == CHANNEL.data[begun + lost :]
    assert fed.scanner.dropped_bytes == len(data) - len(fed.data)


def test_one_bad_sync_byte_costs_one_packet() -> None:
    data = bytearray(CHANNEL.data)
    data[30 * PACKET] ^= 0x08
    fed = Fed([bytes(data)])
    assert fed.data == CHANNEL.data[: 30 * PACKET] + CHANNEL.data[31 * PACKET :]
    assert (fed.scanner.resyncs, fed.scanner.dropped_bytes) == (1, PACKET)


def test_reset_forgets_alignment_and_tables_and_keeps_totals() -> None:
    fed = Fed([b"\x01" + CHANNEL.data + b"\x47\x40"])
    fed.scanner.reset()
    assert (fed.scanner.psi, fed.scanner.programme) == (b"", None)
    again = Fed([CHANNEL.data], fed.scanner)
    assert again.data == CHANNEL.data
    assert again.offsets == CHANNEL.keyframes
    assert fed.scanner.dropped_bytes == 1


# --- what is no transport stream


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"<html>", "HTML"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\xef\xbb\xbf\r\n  <HTML><body>", "HTML"),
        (b"<?xml version='1.0'?>", "HTML"),
        (b"#EXTM3U\n#EXT-X-VERSION:3\n", "HLS playlist"),
        (b"\xef\xbb\xbf#EXTM3U", "HLS playlist"),
        (b"Too many connections. " * 10, "text"),
        ("Превышено число подключений. ".encode() * 10, "text"),
        (b"\x01" * (SNIFF + 2 * PACKET), "no MPEG-TS sync"),
        (b"\x01" * SNIFF + CHANNEL.data, "no MPEG-TS sync"),
        (bytes(range(256)) * 20, "no MPEG-TS sync"),
    ],
)
def test_other_things_are_named_at_once(body: bytes, what: str) -> None:
    assert Fed([body]).refusal == what
    by_byte = Fed(body[n : n + 1] for n in range(len(body)))
    assert (by_byte.refusal, by_byte.data) == (what, b"")


def test_a_refused_connection_stays_refused_until_reset() -> None:
    fed = Fed([b"<html>"])
    with pytest.raises(NotMedia, match="HTML"):
        fed.scanner.feed(CHANNEL.data)
    fed.scanner.reset()
    assert fed.scanner.feed(CHANNEL.data).data == CHANNEL.data


def test_a_stream_that_turns_into_something_else_gives_its_packets_first() -> None:
    scanner = Scanner()
    assert scanner.feed(CHANNEL.data + b"<p>" * 30_000 + CHANNEL.data).data == CHANNEL.data
    with pytest.raises(NotMedia, match="no MPEG-TS sync"):
        scanner.feed(b"")


def test_64_kib_without_sync_are_survived() -> None:
    """A82."""
    fed = Fed([CHANNEL.data, b"\x01" * 65_536, CHANNEL.data])
    assert fed.data == CHANNEL.data * 2
    assert fed.scanner.dropped_bytes == 65_536
    assert Fed([CHANNEL.data, b"\x01" * 65_537, CHANNEL.data]).refusal == "no MPEG-TS sync"


def test_the_beginning_of_a_stream_waits_for_three_packets() -> None:
    scanner = Scanner()
    assert scanner.feed(CHANNEL.data[: 2 * PACKET]).data == b""
    assert scanner.feed(CHANNEL.data[2 * PACKET : 2 * PACKET + 1]).data == CHANNEL.data[: 2 * PACKET]


# --- splicing


def test_discontinuity_packets_carry_flag_and_counter_only() -> None:
    packets = discontinuity({0x1ABC: 15, 0: 3})
    assert len(packets) == 2 * PACKET
    assert packets[:6] == bytes((0x47, 0x1A, 0xBC, 0x2F, 183, 0x80))
    assert packets[PACKET : PACKET + 6] == bytes((0x47, 0x00, 0x00, 0x23, 183, 0x80))
    assert set(packets[6:PACKET]) == {0xFF}
    assert discontinuity({}) == b""


def test_counters_at_is_what_came_before_the_first_payload() -> None:
    mux = ts.Mux({5: 6, 6: 14, 7: 2})
    clock = mux.packet(5, field=ts.adaptation(pcr=1))
    data = clock + mux.packet(5, b"a") + mux.packet(6, b"b") + mux.packet(6, b"c") + mux.packet(7, b"d" * 184)
    assert counters_at(data, [5, 6, 7, 8]) == {5: 6, 6: 14, 7: 2}
    assert counters_at(data, []) == {}
    assert counters_at(b"", [5]) == {}


@given(st.dictionaries(st.integers(0, 0x1FFE), st.integers(0, 15), min_size=1, max_size=5))
@quick
def test_a_splice_with_discontinuity_is_continuous(counters: dict[int, int]) -> None:
    mux = ts.Mux(counters)
    before = b"".join(ts.Mux().packet(pid, b"x" * 184) for pid in counters)
    after = b"".join(mux.packet(pid, bytes((n,)) * 184) for n in range(3) for pid in counters)
    assert counters_at(after, counters.keys()) == counters
    report = tsverify.verify(before + discontinuity(counters_at(after, counters.keys())) + after)
    assert report.clean
    assert report.flagged_discontinuities == dict.fromkeys(counters, 1)


def test_a_join_at_any_point_begins_with_tables_and_a_keyframe() -> None:
    sample = ts.programme(codec="hevc", flagged=False, nulls=1)
    batch = Scanner().feed(sample.data)
    assert len(batch.points) == 5
    for point in batch.points:
        report = tsverify.verify(point.psi + batch.data[point.offset :])
        assert report.first_packets[:3] == ("PAT", "PMT", "video")
        assert report.first_video_is_keyframe is True
        assert report.clean
