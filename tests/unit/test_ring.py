"""The ring: numbers, bounds, and where a viewer starts or goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.media.mpegts import Point
from m3u_proxy.pool.live.ring import Ring
from tests.support import ts
from tests.support.channel import SDT_PID, channel
from tests.support.tsverify import slices_of, verify

ROOM = 1 << 20


def packet(number: int) -> bytes:
    return b"\x47\x01\x00" + bytes((0x10 | number % 16,)) + number.to_bytes(4, "big") + b"\xff" * 180


def ring_of(sample: ts.Sample, cuts: list[int], capacity: int = ROOM) -> Ring:
    """The sample as chunks that end at ``cuts`` and at its end."""
    ring = Ring(capacity)
    for begin, end in zip([0, *cuts], [*cuts, len(sample.data)], strict=True):
        points = [
            Point(at - begin, psi)
            for at, psi in zip(sample.keyframes, sample.psi, strict=True)
            if begin <= at < end
        ]
        ring.append(sample.data[begin:end], points)
    return ring


def rest(ring: Ring, number: int) -> bytes:
    return b"".join(ring[at] for at in range(number, ring.next))


def pids_of(sample: bytes) -> tuple[int, ...]:
    return tuple(verify(sample).pids)


def test_an_empty_ring_starts_a_viewer_at_the_live_edge() -> None:
    ring = Ring(ROOM)
    assert (ring.first, ring.next, ring.size) == (0, 0, 0)
    assert ring.join(b"") == (b"", 0)


@given(st.lists(st.integers(1, 6), max_size=40), st.integers(1, 2000))
def test_chunks_are_numbered_without_gaps_and_bounded_by_bytes(sizes: list[int], capacity: int) -> None:
    ring = Ring(capacity)
    sent = [packet(number) * size for number, size in enumerate(sizes)]
    for number, chunk in enumerate(sent):
        ring.append(chunk, [Point(0, b"")])
        assert ring.next == number + 1
        held = [ring[at] for at in range(ring.first, ring.next)]
        assert held == sent[ring.first : ring.next]
        assert ring.size == sum(map(len, held))
        assert ring.size <= capacity or len(held) == 1
        # nothing was thrown away without need
        assert ring.first == 0 or ring.size + len(sent[ring.first - 1]) > capacity


def test_a_chunk_is_the_very_object_that_came_in() -> None:
    ring = Ring(ROOM)
    chunk = packet(0)
    ring.append(chunk, [])
    assert ring[0] is chunk


def test_a_joiner_gets_tables_then_the_newest_keyframe_then_all_that_follows() -> None:
    sample = ts.programme(pictures=40, gop=10)
    cut = sample.keyframes[2] - 188 * 3
    ring = ring_of(sample, [sample.keyframes[1], cut])

    start = ring.join(b"stale")

    assert start.preface.startswith(sample.psi[3])
    capture = start.preface + rest(ring, start.number)
    assert capture[len(sample.psi[3]) :] == sample.data[sample.keyframes[3] :]
    report = verify(capture)
    assert report.clean, report
    assert report.first_packets[:3] == ("PAT", "PMT", "video")
    assert report.first_video_is_keyframe


def test_of_several_keyframes_in_one_chunk_the_last_one_counts() -> None:
    sample = ts.programme(pictures=30, gop=10)
    start = ring_of(sample, []).join(b"")
    assert start.preface == sample.psi[2] + sample.data[sample.keyframes[2] :]
    assert start.number == 1


def test_without_a_keyframe_a_joiner_starts_at_the_live_edge_with_the_tables_in_force() -> None:
    ring = Ring(ROOM)
    ring.append(packet(0), [])
    assert ring.join(b"tables") == (b"tables", 1)


def test_a_keyframe_leaves_with_its_chunk() -> None:
    ring = Ring(3 * 188)
    ring.append(packet(0), [Point(0, b"old")])
    for number in (1, 2):
        ring.append(packet(number), [])
    assert ring.join(b"new").preface == b"old" + packet(0)
    ring.append(packet(3), [])
    assert ring.first == 1
    assert ring.join(b"new") == (b"new", 4)


@pytest.mark.parametrize("lost", [1, 3, 16, 33])
def test_a_jump_is_flagged_on_every_pid(lost: int) -> None:
    sample = ts.programme(pictures=60, gop=10)
    ring = ring_of(sample, [])
    seen = sample.data[: 188 * (200 - lost)]

    start = ring.resume(b"", pids_of(sample.data))

    capture = seen + start.preface + rest(ring, start.number)
    report = verify(capture)
    assert report.clean, report
    assert set(report.flagged_discontinuities) == set(pids_of(sample.data))
    assert slices_of(capture, sample.data)[-1] == (
        sample.keyframes[-1],
        len(sample.data) - sample.keyframes[-1],
    )


def test_a_jump_is_flagged_on_a_pid_that_comes_seldom() -> None:
    """Nothing of it lies between the newest keyframe and the live edge; its next packet comes later."""
    sample = channel(25)  # behind pictures 1, 8, 15, 22; the newest keyframe is picture 20
    upto = sample.data.rindex(b"\x47\x40\x11")
    ring = ring_of(ts.Sample(sample.data[:upto], sample.keyframes, sample.psi), [])
    pids = pids_of(sample.data)
    assert SDT_PID in pids

    start = ring.resume(b"", pids)
    ring.append(sample.data[upto:], [])

    seen = sample.data[: sample.data.index(b"\x47\x40\x11") + 188]
    report = verify(seen + start.preface + rest(ring, start.number))
    assert report.clean, report
    assert report.pids[SDT_PID] >= 3


def test_a_jump_without_a_keyframe_goes_to_the_live_edge_and_is_flagged_too() -> None:
    sample = ts.programme(pictures=40)
    edge = 188 * 150
    ring = Ring(ROOM)
    ring.append(sample.data[:edge], [])

    start = ring.resume(b"", pids_of(sample.data))
    ring.append(sample.data[edge:], [])

    assert start.number == 1
    report = verify(sample.data[: 188 * 40] + start.preface + rest(ring, start.number))
    assert report.clean, report


def test_only_the_pids_asked_for_are_flagged() -> None:
    """A damaged header invents PIDs; they must not pile up."""
    sample = ts.programme(pictures=20)
    start = ring_of(sample, []).resume(b"", [ts.VIDEO_PID])
    assert set(verify(start.preface).flagged_discontinuities) == {ts.VIDEO_PID}
