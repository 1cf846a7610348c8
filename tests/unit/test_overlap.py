"""What a connection repeats of the one before is not played twice, however it comes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.mpegts import NotMedia
from m3u_proxy.media.timestamps import decoding_times
from m3u_proxy.pool.live.intake import Intake
from m3u_proxy.pool.live.overlap import LEAST, Overlap, OverlapLimits, Same, Search, Tail
from tests.support import ts
from tests.support.channel import SDT_PID, channel, pieces
from tests.support.tsverify import setbacks, verify

LIMITS = OverlapLimits(signature=16 * 188, search=1 << 20, wait=0.5)
SECOND = 25
"""Pictures."""
WHOLE = channel(100)
OTHER = {0: 3, ts.PMT_PID: 9, ts.VIDEO_PID: 5, ts.AUDIO_PID: 12, SDT_PID: 8}
"""Continuity counters of a muxer that was started anew."""
quick = settings(deadline=None, max_examples=60, derandomize=True)


class Heard:
    """An intake, and all it gave."""

    def __init__(self, limits: OverlapLimits | None = LIMITS) -> None:
        self.intake = Intake(limits)
        self.now = 100.0
        self.data = b""
        self.points: list[tuple[int, bytes]] = []

    def connect(self, parts: Iterable[bytes], *, source: str = "http://h/1.ts", pace: float = 0.0) -> Heard:
        """Another connection, a piece every ``pace`` seconds."""
        self.intake.connect(self.now, source)
        for piece in parts:
            self.now += pace
            batch = self.intake.feed(piece, self.now)
            self.points += [(len(self.data) + point.offset, point.psi) for point in batch.points]
            self.data += batch.data
        return self


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks) if b > a]


def stamps(data: bytes) -> list[int]:
    return [time for _, time in decoding_times(data, ts.VIDEO_PID)]


# --- the same bytes again

places = st.lists(st.integers(0, len(WHOLE.data)), max_size=8)


@quick
@given(
    breaks=st.lists(
        st.tuples(st.integers(LEAST * 4, len(WHOLE.data)), st.integers(LEAST, len(WHOLE.data)), places),
        max_size=4,
    ),
    first=places,
    signature=st.integers(LEAST, 200 * 188),
)
def test_however_often_it_breaks_the_stream_is_the_original(
    breaks: list[tuple[int, int, list[int]]], first: list[int], signature: int
) -> None:
    unbroken = Heard().connect([WHOLE.data])
    heard = Heard(OverlapLimits(signature=signature, search=1 << 20, wait=0.5))
    ends = [*sorted(end for end, _, _ in breaks), len(WHOLE.data)]
    heard.connect(cut(WHOLE.data[: ends[0]], first))
    for (_, overlap, cuts), end, goal in zip(breaks, ends, ends[1:], strict=False):
        heard.connect(cut(WHOLE.data[max(0, end - overlap) : goal], cuts))
    assert heard.data == unbroken.data
    assert heard.points == unbroken.points


@quick
@given(
    overlap=st.integers(0, LEAST - 1),
    end=st.integers(len(WHOLE.data) // 4, len(WHOLE.data) // 2),
    cuts=places,
)
def test_too_few_bytes_to_be_sure_make_a_seam(overlap: int, end: int, cuts: list[int]) -> None:
    heard = Heard().connect([WHOLE.data[:end]]).connect(cut(WHOLE.data[end - overlap :], cuts))
    report = verify(heard.data)
    assert report.clean
    assert max(setbacks(heard.data).values()) < 1.0


def test_another_source_is_not_compared() -> None:
    heard = (
        Heard().connect([WHOLE.data], source="http://h/a.ts").connect([WHOLE.data], source="http://h/b.ts")
    )
    assert len(stamps(heard.data)) == 200
    assert verify(heard.data).clean


def test_without_limits_nothing_is_compared() -> None:
    assert len(stamps(Heard(None).connect([WHOLE.data]).connect([WHOLE.data]).data)) == 200


def test_a_connection_that_breaks_while_it_is_compared_changes_nothing() -> None:
    half = len(WHOLE.data) // 2
    heard = Heard().connect([WHOLE.data[:half]]).connect([WHOLE.data[: half // 2]]).connect([WHOLE.data])
    assert heard.data == Heard().connect([WHOLE.data]).data


def test_a_web_page_instead_of_the_stream_is_refused_and_changes_nothing() -> None:
    half = len(WHOLE.data) // 2
    heard = Heard().connect([WHOLE.data[:half]])
    with pytest.raises(NotMedia):
        heard.connect([b"<!DOCTYPE html><html>" + b" " * 4096])
    assert heard.connect([WHOLE.data]).data == Heard().connect([WHOLE.data]).data


def test_null_packets_are_no_proof() -> None:
    null = ts.Mux().null()
    search = Search(null * 100, 1 << 20)
    assert search.push(null * 300 + WHOLE.data) is None
    begins = Search(WHOLE.data[: 188 * 40] + null * 60, 1 << 20)
    assert begins.push(null * 300) is None


def test_nothing_is_looked_for_beyond_the_limit() -> None:
    search = Search(WHOLE.data[-LEAST:], len(WHOLE.data) // 2)
    given = [search.push(piece) for piece in pieces(WHOLE.data + b"rest", 1000)]
    assert given == [None] * len(given)


def test_a_tail_holds_no_more_than_it_has_to() -> None:
    tail = Tail(1000)
    for number in range(100):
        tail.push(bytes([number]) * 300)
    assert tail.read() == b"".join(bytes([n]) * 300 for n in range(96, 100))[-1000:]
    assert len(tail._pieces) == 4
    off = Tail(0)
    off.push(b"abc")
    assert off.read() == b""


# --- muxed anew


def remuxed(first: int, last: int, *, zero: int = 0) -> bytes:
    """Pictures ``first`` to ``last`` of the same channel, but not byte by byte: a keyframe every 10."""
    mux = ts.Mux(OTHER)
    whole = ts.programme(pictures=last, pts=zero, mux=mux, nulls=1).data
    at = {time: place for place, time in decoding_times(whole, ts.VIDEO_PID)}
    return whole[at[(zero + first * 3600) % 2**33] :]


@pytest.mark.parametrize("zero", [0, 2**33 - 60 * 3600, 2**33 - 100 * 3600 - 1], ids=["zero", "wrap", "edge"])
@pytest.mark.parametrize("behind", [13, 50, 95])
@pytest.mark.parametrize("size", [500, 7000, 1 << 20])
def test_what_was_muxed_anew_is_told_by_its_timestamps(zero: int, behind: int, size: int) -> None:
    first = ts.programme(pictures=100, pts=zero).data
    heard = Heard().connect([first]).connect(pieces(remuxed(100 - behind, 160, zero=zero), size))
    report = verify(heard.data)
    assert report.clean, report
    assert max(setbacks(heard.data).values()) <= 0.6
    assert max(report.flagged_discontinuities.values()) == 1
    shown = {(time - zero) % 2**33 // 3600 for time in stamps(heard.data)}
    assert len(set(range(160)) - shown) < 10, "less than a group of pictures is lost"


def test_new_pictures_are_not_held_back() -> None:
    later = ts.programme(pictures=30, pts=100 * 3600).data
    heard = Heard().connect([ts.programme(pictures=100).data]).connect([later])
    assert stamps(heard.data)[-1] == 129 * 3600
    assert len(stamps(heard.data)) == 130


def test_a_replay_in_real_time_is_played_behind_one_seam_after_the_wait() -> None:
    first = ts.programme(pictures=100).data
    heard = Heard().connect([first])
    again = remuxed(0, 100)
    size = len(again) // 100
    heard.connect(pieces(again[: 60 * size], size), pace=0.04)
    report = verify(heard.data)
    assert report.clean
    assert max(report.flagged_discontinuities.values()) == 1
    first_again = next(
        time for one, time in zip(stamps(heard.data), stamps(heard.data)[1:], strict=False) if time < one
    )
    assert first_again <= (0.5 + 0.04) * 90_000 + 10 * 3600


def test_a_long_backlog_is_dropped_while_it_comes_fast() -> None:
    first = ts.programme(pictures=750, gop=50).data
    heard = Heard().connect([first])
    heard.connect(pieces(remuxed(0, 800), 4000), pace=0.01)
    assert heard.now > 102.0, "longer than the wait"
    assert max(setbacks(heard.data).values()) <= 0.6


def test_a_clock_of_its_own_is_played_after_the_wait() -> None:
    heard = Heard().connect([ts.programme(pictures=100, pts=2**32).data])
    before = len(heard.data)
    again = ts.programme(pictures=50).data
    heard.connect(pieces(again, len(again) // 50 + 1), pace=0.04)
    assert stamps(heard.data[before:])[0] == 0
    assert verify(heard.data).clean


def test_without_timestamps_it_is_played_after_the_wait_or_the_limit() -> None:
    mux, again = ts.Mux(), ts.Mux(OTHER)

    def silent(mux: ts.Mux, seed: int) -> bytes:
        head = mux.psi(0, ts.pat({1: ts.PMT_PID})) + mux.psi(ts.PMT_PID, ts.pmt([(0x1B, ts.VIDEO_PID, b"")]))
        keys = (ts.picture("h264", key=True, size=2000, seed=seed + n) for n in range(40))
        return head + b"".join(mux.pes(ts.VIDEO_PID, es, random_access=True) for es in keys)

    first, second = silent(mux, 0), silent(again, 100)
    heard = Heard().connect([first])
    heard.connect(pieces(second, 2000), pace=0.2)
    assert second[len(second) // 2 :] in heard.data
    assert verify(heard.data).clean
    limited = Heard(OverlapLimits(signature=LEAST, search=10_000, wait=60.0)).connect([first])
    limited.connect(pieces(second, 2000))
    assert second[len(second) // 2 :] in limited.data


def test_what_is_found_gives_what_follows() -> None:
    overlap = Overlap(WHOLE.data[-LEAST:], None, LIMITS)
    assert overlap.feed(WHOLE.data + b"more", 0.0) == Same(b"more")
