"""What follows a failed attempt."""

from __future__ import annotations

from m3u_proxy.upstream.failover import Attempts


def test_a_source_that_never_gave_a_byte_is_given_up_at_once() -> None:
    assert Attempts(budget=3600.0).failed(100.0) is None


def test_delays_double_and_stay_within_their_bound() -> None:
    attempts = Attempts(budget=1e9)
    attempts.alive(0.0)
    assert [attempts.failed(0.0) for _ in range(8)] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_bytes_ends_the_doubling() -> None:
    attempts = Attempts(budget=60.0)
    attempts.alive(0.0)
    assert [attempts.failed(1.0), attempts.failed(2.0)] == [1, 2]
    attempts.alive(5.0)
    attempts.alive(65.0)
    assert attempts.failed(66.0) == 1


def test_a_source_that_comes_and_goes_is_asked_less_and_less() -> None:
    attempts = Attempts(budget=60.0)
    delays = []
    for second in range(0, 50, 10):
        attempts.alive(float(second))
        delays.append(attempts.failed(second + 1.0))
    assert delays == [1, 2, 4, 8, 16]


def test_the_budget_counts_from_the_last_byte() -> None:
    attempts = Attempts(budget=10.0)
    attempts.alive(50.0)
    assert attempts.failed(50.0) == 1  # next attempt at 51
    assert attempts.failed(51.0) == 2  # at 53
    assert attempts.failed(53.0) == 4  # at 57
    assert attempts.failed(57.0) is None  # at 65 it would be 15 s


def test_a_provider_that_asks_for_time_gets_it_or_is_given_up() -> None:
    attempts = Attempts(budget=30.0)
    attempts.alive(0.0)
    assert attempts.failed(0.0, 20.0) == 20.0
    assert attempts.failed(20.0, 20.0) is None


def test_thousands_of_failures_in_a_row_are_counted_without_harm() -> None:
    attempts = Attempts(budget=1e9)
    attempts.alive(0.0)
    assert {attempts.failed(0.0) for _ in range(3000)} == {1, 2, 4, 8, 16, 30}
