"""What ffprobe says, read with distrust."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.ffmpeg.probe import Contents, Track, parse

VIDEO = {
    "codec_type": "video",
    "codec_name": "h264",
    "width": 1920,
    "height": 1080,
    "avg_frame_rate": "30000/1001",
    "bit_rate": "4000000",
}
AUDIO = {
    "codec_type": "audio",
    "codec_name": "aac",
    "channels": 2,
    "sample_rate": "48000",
    "tags": {"language": "deu"},
}


def test_tracks_of_a_film() -> None:
    answer = {"streams": [VIDEO, AUDIO], "format": {"duration": "61.5", "bit_rate": "4200000"}}
    assert parse(json.dumps(answer).encode()) == Contents(
        tracks=(
            Track("video", "h264", 1920, 1080, 29.97, bitrate=4_000_000),
            Track("audio", "aac", channels=2, sample_rate=48_000, language="deu"),
        ),
        duration=61.5,
        bitrate=4_200_000,
    )


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"[]", b"null", b"{}", b'{"streams": 7}', b'{"streams": [7, null, {}]}', b"\xff\xfe"],
)
def test_nonsense_has_no_tracks(answer: bytes) -> None:
    assert parse(answer).tracks == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
NAMES = ("codec_type", "codec_name", "width", "avg_frame_rate", "channels", "bit_rate", "tags")


@given(st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, JSON)), max_size=4), JSON)
def test_any_answer_is_read_without_an_error(streams: list[object], about: object) -> None:
    found = parse(json.dumps({"streams": streams, "format": about}).encode())
    assert len(found.tracks) <= len(streams)
    assert all(track.width >= 0 and track.frame_rate >= 0 and track.codec for track in found.tracks)
