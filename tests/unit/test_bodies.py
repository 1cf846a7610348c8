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
