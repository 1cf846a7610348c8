"""What FFmpeg writes to a pipe can be joined at every point, however it was cut on its way."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import imageio_ffmpeg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.mpegts import Batch, Point
from m3u_proxy.pool.live.body import BodyIntake
from tests.support.bodies import BODIES, decode, first_picture, make_body

BINARIES = [
    pytest.param("ffmpeg", marks=pytest.mark.needs("ffmpeg"), id="system"),
    pytest.param(imageio_ffmpeg.get_ffmpeg_exe(), id="wheel"),
]
SECONDS = 4

pytestmark = [
    pytest.mark.needs("ffprobe"),
    pytest.mark.parametrize("ffmpeg", BINARIES),
    pytest.mark.parametrize("name", BODIES),
]


@cache
def body_of(ffmpeg: str, name: str) -> bytes:
    container, options = BODIES[name]
    return make_body(ffmpeg, options, container, SECONDS)


def cut(name: str, pieces: list[bytes]) -> Batch:
    """All that viewers are sent, and where in that they can join."""
    intake = BodyIntake(BODIES[name][0])
    intake.connect(0.0)
    data, points = b"", list[Point]()
    for piece in pieces:
        batch = intake.feed(piece, 0.0)
        points += [Point(len(data) + point.offset, point.psi) for point in batch.points]
        data += batch.data
    return Batch(data, tuple(points))


def test_a_joiner_at_each_point_plays(ffmpeg: str, name: str) -> None:
    sent = cut(name, [body_of(ffmpeg, name)])
    assert len(sent.points) >= (2 if "rare" in name else SECONDS)
    assert sent.data.startswith(sent.points[0].psi)
    assert decode(sent.data, BODIES[name][0]) == ""
    has_video, container = "-vn" not in BODIES[name][1], BODIES[name][0]
    for at, head in [*sent.points[:3], sent.points[len(sent.points) * 3 // 4]]:
        joined = head + sent.data[at:]
        assert decode(joined, container) == ""
        assert not has_video or first_picture(joined) == "I"


def test_who_skips_goes_on_without_another_head(ffmpeg: str, name: str) -> None:
    sent = cut(name, [body_of(ffmpeg, name)])
    before, after = sent.points[len(sent.points) // 3].offset, sent.points[-1].offset
    assert decode(sent.data[:before] + sent.data[after:], BODIES[name][0]) == ""


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_what_comes_out_depends_on_the_bytes_alone(data: st.DataObject, ffmpeg: str, name: str) -> None:
    body = body_of(ffmpeg, name)
    whole = cut(name, [body])
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=40).map(sorted))
    assert cut(name, [body[begin:end] for begin, end in pairwise([0, *cuts, len(body)])]) == whole


def test_single_bytes_give_the_same(ffmpeg: str, name: str) -> None:
    body = body_of(ffmpeg, name)[:20_000]
    assert cut(name, [bytes((byte,)) for byte in body]) == cut(name, [body])
