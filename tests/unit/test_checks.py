"""When a source that still plays is worth leaving."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.pool.quality.checks import WARN_EVERY, Bitrate, BitrateCheck, Strikes, Timetable
from m3u_proxy.pool.rate import LEARNT, SLOW, TRICKLE, WINDOW, Baseline

CHECK = BitrateCheck(minimum=1000, interval=5.0, failures=3, grace=10.0)


# -- times


def test_the_first_time_comes_after_the_grace_and_late_looks_shift_nothing() -> None:
    times = Timetable(grace=10.0, interval=5.0)
    assert not times.is_due(50.0)
    times.begin(100.0)
    looks = [100.0, 109.9, 110.4, 110.5, 115.2, 119.9, 120.0, 131.0, 134.9, 135.0]
    assert [at for at in looks if times.is_due(at)] == [110.4, 115.2, 120.0, 131.0, 135.0]
    times.stop()
    assert not times.is_due(1000.0)


@given(
    st.floats(0.0, 100.0),
    st.floats(0.01, 100.0),
    st.lists(st.floats(0.0, 50.0), max_size=50),
)
def test_no_two_checks_within_one_interval_of_the_timetable(
    grace: float, interval: float, steps: list[float]
) -> None:
    times = Timetable(grace, interval)
    times.begin(0.0)
    now, told = 0.0, 0
    for step in steps:
        now += step
        told += times.is_due(now)
        assert told <= max(0.0, (now - grace) / interval + 1 + 1e-6)


# -- strikes


def test_bad_checks_count_only_in_a_row() -> None:
    strikes = Strikes(3)
    assert [strikes.bad(), strikes.bad()] == [False, False]
    strikes.good()
    assert [strikes.bad() for _ in range(7)] == [False, False, True, False, False, True, False]
    strikes.restart()
    assert [strikes.bad() for _ in range(3)] == [False, False, True]


def test_where_every_source_is_as_bad_none_is_left_twice() -> None:
    strikes = Strikes(1)
    strikes.leave("a")
    strikes.leave("b")
    assert not strikes.may_leave("a")
    strikes.restart()
    assert not strikes.may_leave("b")
    strikes.good()
    assert strikes.may_leave("a")


def test_warnings_come_once_a_minute() -> None:
    strikes = Strikes(1)
    looks = [5.0, 6.0, 64.9, 65.0, 90.0, 130.0]
    assert [at for at in looks if strikes.may_warn(at)] == [5.0, 65.0, 130.0]
    assert WARN_EVERY == 60


# -- the minimum


def verdicts(bitrate: Bitrate, rate: float, start: float, seconds: int, total: int = 0) -> list[bool]:
    """Of looks four times a second at a source of so many bytes per second."""
    ticks = [start + tick / 4 for tick in range(seconds * 4 + 1)]
    found = [bitrate.is_slow(at, total + int(rate * (at - start))) for at in ticks]
    return [one for one in found if one is not None]


@pytest.mark.parametrize(("rate", "slow"), [(0, True), (990, True), (1010, False), (1e6, False)])
def test_a_source_is_measured_per_interval_after_its_grace(rate: float, slow: bool) -> None:
    bitrate = Bitrate(CHECK)
    assert verdicts(bitrate, rate, 0.0, 60) == []  # there is no connection
    bitrate.connected(100.0)
    assert verdicts(bitrate, rate, 100.0, 14) == []
    bitrate.connected(100.0)
    assert verdicts(bitrate, rate, 100.0, 26) == [slow] * 3


def test_a_burst_at_the_beginning_hides_nothing() -> None:
    bitrate = Bitrate(CHECK)
    bitrate.connected(0.0)
    bitrate.is_slow(1.0, 10**9)
    assert verdicts(bitrate, 500, 1.0, 20, total=10**9) == [True, True]


def test_another_connection_gets_its_own_grace() -> None:
    bitrate = Bitrate(CHECK)
    bitrate.connected(0.0)
    verdicts(bitrate, 0, 0.0, 12)
    bitrate.disconnected()
    assert verdicts(bitrate, 0, 12.0, 60) == []
    bitrate.connected(72.0)
    assert verdicts(bitrate, 0, 72.0, 15) == [True]


# -- the usual rate


def shares(baseline: Baseline, rates: Sequence[float]) -> list[float | None]:
    """One look a second, after seconds of these rates."""
    total, found = 0.0, []
    for second, rate in enumerate(rates):
        total += rate
        found.append(baseline.share(float(second), int(total)))
    return found


@pytest.mark.parametrize("rate", [16_000, 2_000_000])  # radio is no fault
@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_a_rate_is_judged_by_the_streams_own_median(rate: int, share: float) -> None:
    found = shares(Baseline(), [rate] * (LEARNT + WINDOW + 5) + [rate * share] * WINDOW)
    assert found[LEARNT - 1] is None
    known = found[LEARNT + WINDOW]
    assert known == pytest.approx(1.0)
    last = found[-1] or 0.0
    assert last == pytest.approx(share, rel=0.01)
    assert (last < TRICKLE, last < SLOW) == (share < 0.1, share < 0.8)


def test_a_short_dip_is_not_slow() -> None:
    found = shares(Baseline(), [1000] * (LEARNT + WINDOW) + [0] * 2 + [1000] * WINDOW)
    assert all(one is None or one >= SLOW for one in found)


def test_another_connection_is_measured_for_its_own_fifteen_seconds() -> None:
    baseline = Baseline()
    shares(baseline, [1000] * (LEARNT + WINDOW))
    baseline.restart()
    looks = [baseline.share(1000.0 + second, 10**6 + second) for second in range(WINDOW + 1)]
    assert looks[:-1] == [None] * WINDOW
    assert looks[-1] == pytest.approx(0.001)


def test_more_than_one_look_a_second_is_no_more_than_one() -> None:
    baseline = Baseline()
    ticks = [tick / 4 for tick in range(4 * (LEARNT + 20))]
    found = [baseline.share(at, int(at * 1000)) for at in ticks]
    assert sum(one is not None for one in found) == 20


@given(st.lists(st.floats(0, 1e9), min_size=WINDOW + 2, max_size=400))
def test_a_share_is_never_negative(rates: list[float]) -> None:
    assert all(one is None or one >= 0 for one in shares(Baseline(), rates))
