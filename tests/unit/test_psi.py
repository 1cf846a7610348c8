from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.mpegts import Scanner
from m3u_proxy.media.psi import ElementaryStream, Programme, Psi, Section, SectionReader, crc_ok
from tests.support import ts

PMT = 0x1000
H264 = (0x1B, 0x100, b"")
AAC = (0x0F, 0x101, b"")


def packets_of(data: bytes) -> list[bytes]:
    return [data[at : at + ts.SIZE] for at in range(0, len(data), ts.SIZE)]


def pushed(*data: bytes, psi: Psi | None = None) -> Psi:
    psi = psi or Psi()
    for packet in packets_of(b"".join(data)):
        if psi.carries((packet[1] & 0x1F) << 8 | packet[2]):
            psi.push(packet)
    return psi


def codecs(psi: Psi) -> list[str]:
    assert psi.programme is not None
    return [stream.codec for stream in psi.programme.streams]


def test_crc_of_the_standard() -> None:
    assert crc_ok(b"123456789" + (0x0376E6E7).to_bytes(4, "big"))  # the check value of CRC-32/MPEG-2
    assert not crc_ok(b"123456780" + (0x0376E6E7).to_bytes(4, "big"))


def test_a_programme_as_its_pmt_says() -> None:
    mux = ts.Mux()
    tables = mux.psi(0, ts.pat({0: 0x10, 7: PMT})) + mux.psi(
        PMT, ts.pmt([H264, AAC], number=7, info=b"\x09\x00")
    )
    psi = pushed(tables)
    assert psi.programme == Programme(
        PMT,
        0x100,
        (ElementaryStream(0x100, 0x1B, "video", "h264"), ElementaryStream(0x101, 0x0F, "audio", "aac")),
    )
    assert psi.packets == tables


@pytest.mark.parametrize(
    ("stream_type", "descriptors", "kind", "codec"),
    [
        (0x02, b"", "video", "mpeg2video"),
        (0x24, b"", "video", "hevc"),
        (0x81, b"", "audio", "ac3"),
        (0x06, ts.descriptor(0x52, b"\x01") + ts.descriptor(0x7A, b"\x00"), "audio", "eac3"),
        (0x06, ts.descriptor(0x59, b"deu\x10\0\0\0\0"), "other", "dvb_subtitle"),
        (0x06, ts.descriptor(0x05, b"Opus") + ts.descriptor(0x7F, b"\x80\x02"), "audio", "opus"),
        (0x06, ts.descriptor(0x05, b"HEVC"), "video", "hevc"),
        (0x06, ts.descriptor(0x05, b"????"), "other", "unknown"),
        (0x06, b"\x05\xffHE", "other", "unknown"),
        (0xFE, b"", "other", "unknown"),
    ],
)
def test_kinds_and_codecs(stream_type: int, descriptors: bytes, kind: str, codec: str) -> None:
    mux = ts.Mux()
    pmt = ts.pmt([(stream_type, 0x123, descriptors), AAC])
    programme = pushed(mux.psi(0, ts.pat({1: PMT})), mux.psi(PMT, pmt)).programme
    assert programme is not None
    assert programme.streams[0] == (0x123, stream_type, kind, codec)
    assert programme.streams[1].codec == "aac"


def test_a_pmt_over_several_packets_needs_all_of_them() -> None:
    mux = ts.Mux()
    pat = mux.psi(0, ts.pat({1: PMT}))
    pmt = mux.psi(PMT, ts.pmt([H264, *[(0x06, 0x200 + n, ts.descriptor(0x0A, b"deu\0")) for n in range(60)]]))
    parts = packets_of(pmt)
    assert len(parts) == 4
    psi = pushed(pat, *parts[:3])
    assert (psi.programme, psi.unfinished) == (None, True)
    pushed(parts[3], psi=psi)
    assert len(codecs(psi)) == 61
    assert (psi.packets, psi.unfinished) == (pat + pmt, False)
    assert pushed(pat, parts[0], parts[2], parts[3]).programme is None
    twice = pushed(pat, parts[0], parts[1], *parts[1:])
    assert twice.packets == pat + pmt


def test_the_tables_at_a_point_are_those_complete_before_it() -> None:
    mux = ts.Mux()
    pat = mux.psi(0, ts.pat({1: PMT}))
    old = mux.psi(PMT, ts.pmt([H264], version=0))
    new = packets_of(mux.psi(PMT, ts.pmt([H264, *[(0x06, 0x200 + n, b"") for n in range(50)]], version=1)))
    keys = [mux.pes(0x100, ts.picture("h264", key=True, size=20), random_access=True) for _ in range(2)]
    inside = mux.packet(0x100, b"no start", field=ts.adaptation(random_access=True))
    stream = pat + old + new[0] + keys[0] + inside + b"".join(new[1:]) + keys[1] + mux.null()
    batch = Scanner().feed(stream)
    assert [point.psi for point in batch.points] == [pat + old, pat + b"".join(new)]
    pieces = Scanner()
    points = [point for packet in packets_of(stream) for point in pieces.feed(packet).points]
    assert [point.psi for point in points] == [pat + old, pat + b"".join(new)]


def test_repeated_tables_are_the_latest_packets() -> None:
    mux = ts.Mux()
    rounds = [mux.psi(0, ts.pat({1: PMT})) + mux.psi(PMT, ts.pmt([H264])) for _ in range(3)]
    assert len(set(rounds)) == 3  # the counters differ
    assert pushed(*rounds).packets == rounds[-1]


def test_a_new_pmt_version_moves_the_leading_stream() -> None:
    mux = ts.Mux()
    pat = mux.psi(0, ts.pat({1: PMT}))
    before = mux.psi(PMT, ts.pmt([H264])) + mux.pes(0x100, ts.picture("h264", key=True))
    tables = mux.psi(PMT, ts.pmt([(0x24, 0x200, b"")], pcr_pid=0x200, version=1))
    stale = mux.pes(0x100, ts.picture("h264", key=True))
    fresh = mux.pes(0x200, ts.picture("hevc", key=True))
    scanner = Scanner()
    batch = scanner.feed(pat + before + tables + stale + fresh)
    assert [point.offset for point in batch.points] == [2 * ts.SIZE, len(pat + before + tables + stale)]
    assert scanner.programme == Programme(PMT, 0x200, (ElementaryStream(0x200, 0x24, "video", "hevc"),))


def test_a_new_pat_forgets_programmes_it_no_longer_lists() -> None:
    mux = ts.Mux()
    psi = pushed(mux.psi(0, ts.pat({1: PMT})), mux.psi(PMT, ts.pmt([H264])))
    pat = mux.psi(0, ts.pat({1: 0x1200}, version=1))
    pushed(pat, psi=psi)
    assert (psi.programme, psi.packets) == (None, pat)
    pushed(mux.psi(PMT, ts.pmt([AAC])), psi=psi)
    assert psi.programme is None
    pushed(mux.psi(0x1200, ts.pmt([AAC])), psi=psi)
    assert codecs(psi) == ["aac"]


def test_a_new_pat_drops_what_was_half_read() -> None:
    mux = ts.Mux()
    long = mux.psi(PMT, ts.pmt([AAC] * 100))
    psi = pushed(mux.psi(0, ts.pat({1: PMT})), long[: ts.SIZE])
    assert psi.unfinished
    pushed(mux.psi(0, ts.pat({1: 0x1200}, version=1)), psi=psi)
    assert not psi.unfinished


def test_a_further_section_of_the_pat_is_not_taken_for_a_new_one() -> None:
    mux = ts.Mux()
    good = mux.psi(0, ts.pat({1: PMT})) + mux.psi(PMT, ts.pmt([H264]))
    assert pushed(good, mux.psi(0, ts.pat({300: 0x1300}, number=1))).packets == good


def test_the_first_programme_with_video_is_taken_whatever_comes_first() -> None:
    mux = ts.Mux()
    pat = mux.psi(0, ts.pat({1: 0x1001, 2: 0x1002, 3: 0x1003}))
    radio = mux.psi(0x1001, ts.pmt([AAC], number=1))
    one = mux.psi(0x1002, ts.pmt([H264], number=2))
    two = mux.psi(0x1003, ts.pmt([(0x24, 0x300, b"")], number=3))
    psi = pushed(pat, radio)
    assert psi.packets == pat + radio
    pushed(two, psi=psi)
    assert psi.packets == pat + two
    pushed(one, psi=psi)
    assert psi.packets == pat + one
    assert codecs(psi) == ["h264"]


def test_programmes_may_share_a_pmt_pid() -> None:
    mux = ts.Mux()
    psi = pushed(
        mux.psi(0, ts.pat({1: PMT, 2: PMT})), mux.psi(PMT, ts.pmt([AAC], number=1), ts.pmt([H264], number=2))
    )
    assert codecs(psi) == ["h264"]
    pushed(mux.psi(PMT, ts.pmt([(0x24, 0x300, b"")], number=3)), psi=psi)
    assert codecs(psi) == ["h264"]


def test_a_wrong_programme_number_is_forgiven_on_a_pid_of_its_own() -> None:
    mux = ts.Mux()
    assert codecs(pushed(mux.psi(0, ts.pat({1: PMT})), mux.psi(PMT, ts.pmt([H264], number=9)))) == ["h264"]


@pytest.mark.parametrize("pid", [0x1FFF, 0x0000, 0x000F])
def test_a_pmt_pid_that_cannot_be_one_is_ignored(pid: int) -> None:
    mux = ts.Mux()
    psi = pushed(mux.psi(0, ts.pat({1: pid, 2: PMT})), mux.psi(PMT, ts.pmt([H264], number=2)))
    assert codecs(psi) == ["h264"]
    assert pushed(mux.psi(0, ts.pat({1: pid})), mux.psi(pid, ts.pmt([H264]))).programme is None


def test_stream_pids_that_cannot_be_one_are_ignored() -> None:
    mux = ts.Mux()
    pmt = ts.pmt([(0x1B, 0x1FFF, b""), (0x1B, 0x0000, b""), AAC])
    assert codecs(pushed(mux.psi(0, ts.pat({1: PMT})), mux.psi(PMT, pmt))) == ["aac"]


@pytest.mark.parametrize(
    "section",
    [
        ts.pmt([AAC], version=1, current=False),
        ts.pmt([AAC], version=1)[:-1] + b"\x00",
        b"\xc0" + ts.pmt([AAC], version=1)[1:],
        b"\x02\xbf\xff" + b"\x00" * 60,
        b"\x02\xb0\x00",
    ],
    ids=["not yet current", "bad CRC", "another table", "too long", "too short"],
)
def test_a_section_that_does_not_count_changes_nothing(section: bytes) -> None:
    mux = ts.Mux()
    good = mux.psi(0, ts.pat({1: PMT})) + mux.psi(PMT, ts.pmt([H264]))
    psi = pushed(good, mux.psi(PMT, section))
    assert (codecs(psi), psi.packets, psi.unfinished) == (["h264"], good, False)


def test_scrambled_tables_are_damage() -> None:
    mux = ts.Mux()
    pmt = bytearray(mux.psi(PMT, ts.pmt([H264])))
    pmt[3] |= 0x80
    assert pushed(mux.psi(0, ts.pat({1: PMT})), bytes(pmt)).programme is None


def test_zeros_behind_a_section_are_no_section() -> None:
    mux = ts.Mux()
    psi = pushed(mux.psi(0, ts.pat({1: PMT}), stuffing=0), mux.psi(PMT, ts.pmt([H264]), stuffing=0))
    assert codecs(psi) == ["h264"]
    assert not psi.unfinished


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(2, 184))
def test_sections_packed_back_to_back_all_come_out(counts: list[int], room: int) -> None:
    """The pointer_field leads to the first section that begins in a packet (§2.4.4.2)."""
    sections = [ts.pmt([AAC] * count, number=number + 1) for number, count in enumerate(counts)]
    stream = b"".join(sections)
    begins = [sum(map(len, sections[:number])) for number in range(len(sections))]
    mux, reader, at = ts.Mux(), SectionReader(), 0
    out: list[Section] = []
    sent: list[tuple[int, int, bytes]] = []
    while at < len(stream):
        ahead = [begin - at for begin in begins if at <= begin < at + room - 1]
        next_begin = min((begin for begin in begins if begin > at), default=len(stream))
        # A section must not begin in a packet without pointer_field.
        size = room - 1 if ahead else min(room, next_begin - at)
        part = bytes(ahead[:1]) + stream[at : at + size]
        packet = mux.packet(PMT, part, start=bool(ahead))
        sent.append((at, at + size, packet))
        at += size
        out += reader.push(packet)
    assert [section.data for section in out] == sections
    for begin, section in zip(begins, out, strict=True):
        end = begin + len(section.data)
        assert section.packets == b"".join(p for first, last, p in sent if first < end and last > begin)
