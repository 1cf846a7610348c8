"""When a lost FFmpeg starts again, whether it keeps up, and what a stall is; all times in seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.ffmpeg.hls.health import Watchdog
from m3u_proxy.ffmpeg.process.restarts import Pace, Restarts
from m3u_proxy.ffmpeg.process.speed import REAL_TIME, SPEED_PAUSE, SPEED_SPAN, Speed

PACE = Pace()


class Life:
    """FFmpegs one after the other; ``now`` is the time of the newest start."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.now = 1000.0
        self.starts = [self.now]
        self._restarts = Restarts(pace)
        self._restarts.started(self.now)

    def lose(self, after: float, *, rising: bool = False) -> float | None:
        """The FFmpeg lives for ``after`` seconds, with a new segment every second if ``rising``."""
        for second in range(1, int(after) + 1) if rising else ():
            self._restarts.rose(self.now + second)
        self.now += after
        delay = self._restarts.lost(self.now)
        if delay is not None:
            self.now += delay
            self.starts.append(self.now)
            self._restarts.started(self.now)
        return delay


@pytest.mark.parametrize(
    ("lives", "delays"),
    [
        ([0.1, 0.1, 0.1], [0, 1, None]),
        ([1, 1, 1], [0, 1, None]),
        ([29.9, 29.9, 1], [0, 1, 2]),
        ([16, 16, 16, 16], [0, 1, 2, 3]),
        ([14, 14, 14], [0, 1, None]),
        ([100, 100, 100], [0, 1, 2]),
    ],
)
def test_losses_without_health_are_paced_and_too_many_of_them_are_the_end(
    lives: Sequence[float], delays: Sequence[float | None]
) -> None:
    life = Life()
    assert [life.lose(after) for after in lives] == delays


def test_a_healthy_while_makes_everything_good() -> None:
    life = Life()
    assert [life.lose(1), life.lose(1)] == [0, 1]
    assert life.lose(PACE.healthy + 2, rising=True) == 0
    assert life.lose(PACE.healthy + 2, rising=True) == 0
    assert [life.lose(1), life.lose(1)] == [1, None]


def test_a_while_without_progress_is_not_healthy() -> None:
    life = Life()
    life.lose(1)
    assert life.lose(PACE.healthy * 2) == 1


def test_the_rising_of_one_ffmpeg_does_not_count_for_the_next() -> None:
    life = Life()
    assert [life.lose(PACE.healthy * 0.8, rising=True) for _ in range(3)] == [0, 1, 2]


def test_the_wait_has_a_longest() -> None:
    life = Life()
    delays = [life.lose(20) for _ in range(20)]
    assert max(delay for delay in delays if delay is not None) == PACE.longest
    assert None not in delays


@given(st.lists(st.floats(0, 90), max_size=40))
def test_starts_in_a_minute_are_bounded_whatever_happens(lives: Sequence[float]) -> None:
    """F52: the pace."""
    life = Life(Pace(losses=4, within=1.0))
    for after in lives:
        if life.lose(after) is None:
            break
    for first, later in zip(life.starts, life.starts[PACE.starts :], strict=False):
        assert later - first >= PACE.per - 1e-6


# --- speed


def complaints(
    speed: float, *, seconds: int = 200, waiting: Callable[[int], bool] = lambda _: True
) -> list[int]:
    """The seconds in which there is a complaint about an FFmpeg that writes this many seconds per second."""
    found, judge = [], Speed()
    for now in range(seconds):
        said = judge.look(100.0 + now, position=now * speed, waiting=waiting(now))
        if said is not None:
            assert said == pytest.approx(speed)
            found.append(now)
    return found


def test_a_slow_ffmpeg_is_complained_about_at_most_once_a_minute() -> None:
    """F55: speed below 1x."""
    found = complaints(0.5)
    assert found[0] == SPEED_SPAN
    assert all(later - one >= SPEED_PAUSE for one, later in pairwise(found))
    assert len(found) == 3


@pytest.mark.parametrize("speed", [REAL_TIME + 0.01, 1.0, 4.0])
def test_one_that_keeps_up_is_not(speed: float) -> None:
    assert complaints(speed) == []


def test_one_whose_input_is_late_is_not() -> None:
    assert complaints(0.5, waiting=lambda now: now % 10 != 0) == []
    assert complaints(0.0, waiting=lambda _: False) == []


def test_one_that_has_said_nothing_yet_is_not() -> None:
    judge = Speed()
    assert [judge.look(float(now), position=None, waiting=True) for now in range(100)] == [None] * 100


# --- progress


def looks(health: Watchdog, until: float, *, fed: Callable[[int], int], unread: int = 0) -> float | None:
    """The second in which a writer that delivers nothing is found out, if it is."""
    for now in range(1, int(until)):
        if not health.look(float(now), fed=fed(now), unread=unread, delivered=False):
            return now
    return None


def test_input_without_output_is_a_stall() -> None:
    assert looks(Watchdog(10.0, 0.0), 60, fed=lambda now: now) == 11


def test_a_full_pipe_is_a_stall_although_nothing_is_fed_any_more() -> None:
    assert looks(Watchdog(10.0, 0.0), 60, fed=lambda _: 5, unread=1 << 16) == 11


def test_a_silent_source_is_not_the_fault_of_ffmpeg() -> None:
    assert looks(Watchdog(10.0, 0.0), 600, fed=lambda _: 0) is None


def test_the_source_is_blamed_for_so_long_only() -> None:
    found = looks(Watchdog(10.0, 0.0, patience=60.0), 600, fed=lambda _: 0)
    assert found is not None
    assert 60 < found < 75


def test_empty_files_are_forgiven_for_a_moment() -> None:
    health = Watchdog(10.0, 0.0)
    assert not health.is_hollow(1.0, hollow=True)
    assert not health.is_hollow(2.0, hollow=False)
    assert not health.is_hollow(3.0, hollow=True)
    assert not health.is_hollow(4.0, hollow=True)
    assert health.is_hollow(5.0, hollow=True)
