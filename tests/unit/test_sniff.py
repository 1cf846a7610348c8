"""What a body is, told from its first bytes, however few or strange they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.media.sniff import (
    ADTS,
    AVI,
    FLV,
    FRAGMENT,
    MATROSKA,
    MP3,
    MP4,
    MPEG_PS,
    MPEGTS,
    OGG,
    PLAYLIST,
    PREFIX,
    TELLING,
    TEXT,
    WEBM,
    WEBVTT,
    Container,
    is_undecided,
    sniff,
)
from tests.support.answer import null_packets

TS = null_packets(10)
BOM = b"\xef\xbb\xbf"
STUFFING = b"\xff" * 100


@pytest.mark.parametrize(
    ("body", "container"),
    [
        (TS, MPEGTS),
        (TS[100:], MPEGTS),
        (STUFFING + TS, MPEGTS),
        (TS[:4], MPEGTS),
        (TS[:188], MPEGTS),
        (b"#EXTM3U\n", PLAYLIST),
        (b"\r\n  #EXTM3U", PLAYLIST),
        (BOM + b"#EXTM3U\r\n", PLAYLIST),
        (b"\x00\x00\x00\x18ftypmp42", MP4),
        (b"\x00\x00\x00\x08wide\x00\x01", MP4),
        (b"\x00\x00\x00\x18stypmsdh", FRAGMENT),
        (b"\x00\x00\x01\x18moof", FRAGMENT),
        (b"\x1a\x45\xdf\xa3\x01\x42\x82\x84webm", WEBM),
        (b"\x1a\x45\xdf\xa3\x01\x42\x82\x88matroska", MATROSKA),
        (b"RIFF\x00\x01\x02\x03AVI LIST", AVI),
        (b"FLV\x01\x05", FLV),
        (b"OggS\x00\x02", OGG),
        (b"\x00\x00\x01\xba\x44", MPEG_PS),
        (b"\xff\xf1\x50\x80", ADTS),
        (b"\xff\xfb\x90\x64", MP3),
        (b"ID3\x04\x00\x00\x00\x00\x00\x02xx\xff\xf1\x50\x80", ADTS),
        (b"ID3\x04\x00\x00\x00\x00\x7f\x7f", MP3),
        (b"WEBVTT\n", WEBVTT),
        (BOM + b"WEBVTT\n", WEBVTT),
        (b"<!DOCTYPE html><html>", TEXT),
        (b'{"error": "no such stream"}', TEXT),
        (b"Gateway time-out at the provider", TEXT),
        ("Подписка истекла".encode(), TEXT),
        (BOM + b"\n\n  <html><body></body>", TEXT),
        # what cannot be told
        (b"", None),
        (STUFFING, None),
        (b"\xff\xff\xff\xff", None),
        (b"RIFF\x00\x01\x02\x03WAVEfmt ", None),
        (b"\x9a\x01\x02\x03" * 100, None),
    ],
)
def test_formats_are_told_by_their_first_bytes(body: bytes, container: Container | None) -> None:
    assert sniff(body) is container


@pytest.mark.parametrize("start", [b"G", b"<", b"#EXT", b"WEB", b"Gone", b"\n\n", b"", "é".encode()[:1]])
def test_a_few_letters_are_not_judged_until_nothing_follows(start: bytes) -> None:
    assert sniff(start) is None
    assert is_undecided(start)
    assert sniff(start, is_whole=True) is (TEXT if start else None)


@pytest.mark.parametrize(
    "body", [TS[:1] + TS[1:3], b"\xff\xf1", STUFFING, b"\x00", b"<" * TELLING, b"#EXTM3U"]
)
def test_what_is_told_or_is_no_text_needs_no_more_bytes(body: bytes) -> None:
    assert not is_undecided(body)


def test_blanks_are_not_waited_on_for_ever() -> None:
    assert is_undecided(b"\n" * (PREFIX - 1))
    assert not is_undecided(b"\n" * PREFIX)


@pytest.mark.parametrize(
    "body", [b"#EXTM3U\n#EXTINF:2,\n", b"WEBVTT\n\n", TS, b"\x00\x00\x00\x18ftypmp42", b"<html>"]
)
def test_more_bytes_never_change_what_was_told(body: bytes) -> None:
    seen = {sniff(body[:size]) for size in range(1, len(body) + 1)} - {None}
    assert seen in ({sniff(body)}, set())


@given(st.binary(max_size=600))
def test_any_bytes_have_an_answer(body: bytes) -> None:
    told, whole = sniff(body), sniff(body, is_whole=True)
    assert told is whole or (told is None and whole is TEXT)
    assert not (is_undecided(body) and told is not None)


@given(
    st.text(st.characters(codec="ascii", min_codepoint=32, exclude_characters="\x7f"), min_size=TELLING + 600)
)
def test_a_text_is_never_taken_for_a_stream(text: str) -> None:
    assert sniff(text.encode()) in (TEXT, PLAYLIST, WEBVTT, AVI, None)
