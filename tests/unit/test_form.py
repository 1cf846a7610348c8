"""Live stream, playlist or file: decided from the answer, and by the name only where that leaves it open."""

from __future__ import annotations

import pytest

from m3u_proxy.media.form import Evidence, Unplayable, decide
from m3u_proxy.media.sniff import ADTS, MATROSKA, MP3, MP4, MPEGTS, PLAYLIST, TEXT, Container
from m3u_proxy.model import Kind

GUESSES = [Kind.LIVE, Kind.HLS, Kind.VOD]


def answer(
    container: Container | None = None,
    content_type: str = "application/octet-stream",
    *,
    is_part: bool = False,
    length: int | None = None,
    has_ranges: bool = False,
    is_encoded: bool = False,
) -> Evidence:
    return Evidence(container, content_type, is_part, length, has_ranges, is_encoded)


@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(PLAYLIST, "text/html"), Kind.HLS),
        (answer(PLAYLIST, is_part=True, length=100, has_ranges=True), Kind.HLS),
        (answer(PLAYLIST, is_encoded=True), Kind.HLS),
        (answer(MP4), Kind.VOD),
        (answer(MATROSKA, "text/plain"), Kind.VOD),
        (answer(MP3, length=1000), Kind.VOD),
        (answer(MPEGTS, is_part=True), Kind.VOD),
        (answer(None, is_part=True), Kind.VOD),
        (answer(MPEGTS, length=10**6, has_ranges=True), Kind.VOD),
    ],
)
def test_the_answer_decides(guess: Kind, given: Evidence, kind: Kind) -> None:
    assert decide(guess, given, strict=False) is kind


@pytest.mark.parametrize("container", [MPEGTS, None])
@pytest.mark.parametrize("given", [{}, {"length": 10**15}, {"has_ranges": True}])
@pytest.mark.parametrize(
    ("guess", "kind"), [(Kind.LIVE, Kind.LIVE), (Kind.HLS, Kind.LIVE), (Kind.VOD, Kind.VOD)]
)
def test_the_name_decides_where_the_answer_does_not(
    container: Container | None, given: dict[str, int], guess: Kind, kind: Kind
) -> None:
    made = answer(container, length=given.get("length"), has_ranges=bool(given.get("has_ranges")))
    assert decide(guess, made, strict=False) is kind


@pytest.mark.parametrize("guess", GUESSES)
def test_strict_is_live_whatever_is_said_of_lengths(guess: Kind) -> None:
    given = answer(MPEGTS, is_part=True, length=1, has_ranges=True)
    assert decide(guess, given, strict=True) is Kind.LIVE
    assert decide(guess, answer(PLAYLIST), strict=True) is Kind.HLS


@pytest.mark.parametrize("guess", GUESSES)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    "given",
    [
        answer(TEXT, "video/mp2t"),
        answer(None, "text/html"),
        answer(MPEGTS, is_encoded=True),
        answer(MP4, is_encoded=True, length=9, has_ranges=True),
        answer(None, is_encoded=True),
    ],
)
def test_what_nobody_can_play_is_refused(guess: Kind, strict: bool, given: Evidence) -> None:
    with pytest.raises(Unplayable):
        decide(guess, given, strict=strict)


@pytest.mark.parametrize("container", [MP3, ADTS])
def test_endless_audio_is_refused(container: Container) -> None:
    with pytest.raises(Unplayable, match="endless audio"):
        decide(Kind.LIVE, answer(container), strict=False)
