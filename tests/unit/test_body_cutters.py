"""Bodies that are damaged, endless or of something else end with a clear word and bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.media.bodies import CONTAINERS, cutter_of
from m3u_proxy.media.bodies.cutter import HEAD_LIMIT, UNIT_LIMIT
from m3u_proxy.media.mpegts import NotMedia
from m3u_proxy.pool.live.body import KEYFRAME_PATIENCE, BodyIntake

BODIES = sorted(CONTAINERS - {"mpegts"})
PAGE = b"<!doctype html><html><head><title>Not found</title></head><body>404</body></html>" * 2000
FTYP = b"\0\0\0\x14ftypisom\0\0\2\0iso5"
EBML = b"\x1aE\xdf\xa3\x80"
SEGMENT = b"\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff"
ADTS = b"\xff\xf1\x4c\x80\x02\x1f\xfc" + bytes(9)
"""A frame of 16 bytes."""


def box(kind: bytes, *parts: bytes) -> bytes:
    data = b"".join(parts)
    return (8 + len(data)).to_bytes(4, "big") + kind + data


def words(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


TKHD = box(b"tkhd", words(0, 0, 0, 1))
HDLR = box(b"mdia", box(b"hdlr", words(0, 0), b"vide"))
MVEX = box(b"mvex", box(b"trex", words(0, 1, 1, 0, 0, 0x10000)))
MOOV = box(b"moov", box(b"trak", TKHD, HDLR), MVEX)


def fragment(flags: int, *, tfhd: int = 0) -> bytes:
    """One picture with these sample flags."""
    track = box(b"tfhd", words(tfhd, 1), bytes(8) if tfhd & 1 else b"")
    run = box(b"trun", words(0x4, 1, flags))
    return box(b"moof", box(b"traf", track, run)) + box(b"mdat", b"picture")


@pytest.mark.parametrize("container", BODIES)
def test_a_web_page_is_no_body(container: str) -> None:
    with pytest.raises(NotMedia):
        cutter_of(container)().feed(PAGE)


@pytest.mark.parametrize("container", BODIES)
@given(data=st.lists(st.binary(max_size=300), max_size=10))
def test_whatever_comes_there_is_one_error(container: str, data: list[bytes]) -> None:
    cutter = cutter_of(container)()
    try:
        for piece in data:
            batch = cutter.feed(piece)
            assert all(0 <= point.offset <= len(batch.data) for point in batch.points)
    except NotMedia:
        return  # which is the one that a relay expects


@pytest.mark.parametrize(
    ("container", "begin"),
    [
        ("mp4", FTYP + MOOV + words(UNIT_LIMIT + 1) + b"moof" + bytes(8)),
        ("mp4", FTYP + MOOV + words(1) + b"mdat" + (1 << 40).to_bytes(8, "big")),
        ("matroska", EBML + SEGMENT + b"\x1f\x43\xb6\x75\x01\x00\x00\x10" + bytes(4)),
        ("mp3", b"ID3\x04\0\0\x7f\x7f\x7f\x7f"),
    ],
)
def test_a_unit_is_bounded_before_it_has_come(container: str, begin: bytes) -> None:
    with pytest.raises(NotMedia, match=r"\d+ bytes"):
        cutter_of(container)().feed(begin)


@pytest.mark.parametrize(
    ("container", "head"),
    [("mp4", FTYP + box(b"moov", MVEX, box(b"udta", bytes(HEAD_LIMIT)))), ("mkv", EBML + SEGMENT * 100_000)],
)
def test_a_head_is_bounded(container: str, head: bytes) -> None:
    with pytest.raises(NotMedia, match="head"):
        cutter_of(container)().feed(head)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (FTYP + box(b"moov", box(b"trak", TKHD, HDLR)), "without fragments"),
        (FTYP + box(b"mdat", b"x" * 100), "without fragments"),
        (FTYP + fragment(0), "before the head"),
        (FTYP + MOOV + MOOV, "second head"),
        (FTYP + MOOV + fragment(0, tfhd=1), "default_base_moof"),
        (FTYP + MOOV + box(b"moof", words(99) + b"traf") + box(b"mdat", b"x"), "larger than"),
        (FTYP + MOOV + box(b"moof", box(b"traf", box(b"tfhd"))) + box(b"mdat", b"x"), "too short"),
    ],
)
def test_mp4_that_cannot_be_joined(body: bytes, word: str) -> None:
    with pytest.raises(NotMedia, match=word):
        cutter_of("mp4")().feed(body)


def test_fragments_with_a_sync_sample_are_points_and_indexes_are_left_out() -> None:
    cutter = cutter_of("mp4")()
    index = box(b"sidx", bytes(40))
    batch = cutter.feed(
        FTYP + MOOV + index + fragment(0x10000) + index + fragment(0) + box(b"mfra", bytes(8))
    )
    assert batch.data == fragment(0x10000) + fragment(0)
    assert batch.points == ((len(fragment(0)), FTYP + MOOV),)


def test_a_body_begins_with_its_head_at_a_point() -> None:
    intake = BodyIntake("mp4")
    intake.connect(0.0)
    batch = intake.feed(FTYP + MOOV + fragment(0x10000) + fragment(0), 0.0)
    assert batch.data == FTYP + MOOV + fragment(0)
    assert batch.points == ((len(FTYP + MOOV), FTYP + MOOV),)
    assert intake.tables() == (FTYP + MOOV, ())


def test_a_body_without_points_is_played_as_it_is_after_a_while() -> None:
    intake = BodyIntake("mp4")
    intake.connect(0.0)
    assert intake.feed(FTYP + MOOV + fragment(0x10000), 1.0).data == b""
    assert intake.feed(fragment(0x10000), 1.0 + KEYFRAME_PATIENCE).data == FTYP + MOOV + fragment(0x10000)


def test_another_connection_brings_its_own_head() -> None:
    intake = BodyIntake("mp4")
    for _ in range(2):
        intake.connect(0.0)
        assert intake.feed(FTYP + MOOV + fragment(0), 0.0).data == FTYP + MOOV + fragment(0)


def test_clusters_of_unknown_size_are_cut_into_blocks() -> None:
    tracks = b"\x16\x54\xae\x6b\x88\xae\x86\xd7\x81\x01\x83\x81\x01"
    stamp, key, other = b"\xe7\x81\x07", b"\xa3\x85\x81\0\0\x80k", b"\xa3\x85\x81\0\1\0o"
    cluster = b"\x1f\x43\xb6\x75\x01\xff\xff\xff\xff\xff\xff\xff"
    batch = cutter_of("webm")().feed(
        EBML + SEGMENT + tracks + cluster + stamp + key + other + cluster + stamp + key
    )
    sized = b"\x1f\x43\xb6\x75\x01\0\0\0\0\0\0\x0a"
    assert batch.data == sized + stamp + key + sized + stamp + other + sized + stamp + key
    assert [point.offset for point in batch.points] == [0, 2 * len(sized + stamp + key)]


def test_a_cluster_is_cut_in_front_of_a_keyframe() -> None:
    tracks = b"\x16\x54\xae\x6b\x88\xae\x86\xd7\x81\x01\x83\x81\x01"
    stamp, key, other = b"\xe7\x81\x07", b"\xa3\x85\x81\0\0\x80k", b"\xa3\x85\x81\0\1\0o"
    cluster = b"\x1f\x43\xb6\x75" + bytes((0x80 | len(stamp + other + key),)) + stamp + other + key
    batch = cutter_of("mkv")().feed(EBML + SEGMENT + tracks + cluster)
    sized = b"\x1f\x43\xb6\x75\x01\0\0\0\0\0\0\x0a"
    assert batch.data == sized + stamp + other + sized + stamp + key
    assert batch.points == ((len(sized + stamp + other), EBML + SEGMENT + tracks),)


def test_what_is_between_frames_is_left_out() -> None:
    tag = b"ID3\4\0\0\0\0\0\5title"
    batch = cutter_of("adts")().feed(tag + ADTS + b"noise" + ADTS * 2 + b"TAG" + bytes(125) + ADTS)
    assert batch.data == ADTS * 4
    assert batch.points == ((0, b""),)


def tag(kind: int, data: bytes) -> bytes:
    """An FLV tag at the time 0."""
    size = len(data).to_bytes(3, "big")
    return bytes((kind,)) + size + bytes(7) + data + (11 + len(data)).to_bytes(4, "big")


FLV = b"FLV\1\5\0\0\0\x09\0\0\0\0"
KEY, OTHER, SOUND = (tag(kind, data) for kind, data in ((9, b"\x17\1k"), (9, b"\x27\1o"), (8, b"\xaf\1s")))


def test_parameters_that_change_are_in_the_head_of_who_joins_later() -> None:
    meta, first, second = tag(18, b"meta"), tag(9, b"\x17\0one"), tag(9, b"\x17\0two")
    batch = cutter_of("flv")().feed(FLV + first + meta + KEY + SOUND + OTHER + second + KEY)
    assert batch.data == KEY + SOUND + OTHER + second + KEY
    assert batch.points == (
        (0, FLV + meta + first),
        (len(KEY + SOUND + OTHER + second), FLV + meta + second),
    )


def test_keyframes_with_the_header_of_enhanced_rtmp_are_points() -> None:
    start, key, other = tag(9, b"\x90hvc1"), tag(9, b"\x93hvc1k"), tag(9, b"\xa3hvc1o")
    batch = cutter_of("flv")().feed(FLV + start + key + other)
    assert batch.data == key + other
    assert batch.points == ((0, FLV + start),)


def page(serial: int, flags: int, *packets: bytes) -> bytes:
    """An Ogg page of short packets; a checksum is not looked at."""
    header = b"OggS\0" + bytes((flags,)) + bytes(8) + serial.to_bytes(4, "little") + bytes(8)
    return header + bytes((len(packets), *map(len, packets))) + b"".join(packets)


def test_header_pages_of_every_stream_are_the_head() -> None:
    opus, theora = page(1, 2, b"OpusHead"), page(2, 2, b"\x80theora")
    headers = opus + theora + page(1, 0, b"OpusTags") + page(2, 0, b"\x81theora", b"\x82theora")
    sound, key, other, rest = page(1, 0, b"s"), page(2, 0, b"\0k"), page(2, 0, b"\x40o"), page(2, 1, b"\0")
    batch = cutter_of("ogg")().feed(headers + sound + other + key + rest)
    assert batch.data == sound + other + key + rest
    assert batch.points == ((len(sound + other), headers),)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (page(1, 2, b"fishead\0"), "unknown codec"),
        (page(1, 0, b"data"), "no stream"),
        (
            page(1, 2, b"OpusHead") + page(1, 0, b"OpusTags") + page(1, 0, b"s") + page(2, 2, b"OpusHead"),
            "chain",
        ),
    ],
)
def test_ogg_that_cannot_be_joined(body: bytes, word: str) -> None:
    with pytest.raises(NotMedia, match=word):
        cutter_of("ogg")().feed(body)


def packet(code: int, data: bytes) -> bytes:
    return b"\0\0\1" + bytes((code,)) + len(data).to_bytes(2, "big") + data


PACK = b"\0\0\1\xba\x21\0\1\0\1\x80\0\1"
SYSTEM = packet(0xBB, b"\x80\0\1\0\0\0\xe0\xe0\xff")
STAMP, PLAIN = b"\x21\0\1\0\1", b"\x0f"


def test_a_packet_is_cut_where_a_key_picture_begins_and_its_timestamp_goes_along() -> None:
    end, key = b"end of a picture", b"\0\0\1\xb3sequence"
    body = PACK + SYSTEM + packet(0xE0, STAMP + key) + packet(0xE0, STAMP + end + key)
    batch = cutter_of("mpeg")().feed(body)
    first, last = PACK + SYSTEM + packet(0xE0, STAMP + key), PACK + SYSTEM + packet(0xE0, STAMP + key)
    assert batch.data == first + packet(0xE0, PLAIN + end) + last
    assert batch.points == ((0, b""), (len(first + packet(0xE0, PLAIN + end)), b""))


def test_the_timestamp_stays_with_the_first_picture_of_a_packet() -> None:
    picture, key = b"\0\0\1\0picture", b"\0\0\1\xb3sequence"
    body = PACK + SYSTEM + packet(0xE0, STAMP + key) + packet(0xE0, STAMP + picture + key)
    batch = cutter_of("mpeg")().feed(body)
    assert batch.data.endswith(packet(0xE0, STAMP + picture) + PACK + SYSTEM + packet(0xE0, PLAIN + key))


def test_sound_alone_may_be_joined_at_each_pack() -> None:
    system = packet(0xBB, b"\x80\0\1\0\0\0\xc0\xc0\xff")
    body = (
        PACK
        + system
        + packet(0xC0, PLAIN + b"s")
        + packet(0xC0, PLAIN + b"s")
        + PACK
        + packet(0xC0, PLAIN + b"s")
    )
    batch = cutter_of("mpeg")().feed(body + b"\0\0\1\xb9")
    assert batch.data == body
    assert [point.offset for point in batch.points] == [0, body.rindex(PACK)]
