"""When a stream has become a trickle, and when it is only slow."""

from __future__ import annotations

import pytest

from m3u_proxy.pool.rate import LEARNT, WINDOW, Floor

USUAL = 500_000
"""Bytes per second."""


def fall(floor: Floor, share: float, seconds: int) -> int | None:
    """A stream at its usual rate, then at a share of it: seconds until that is a fault."""
    total, now = 0, 0.0
    for _ in range(2 * LEARNT):
        total, now = total + USUAL, now + 1.0
        assert not floor.is_below(now, total)
    for passed in range(1, seconds + 1):
        total, now = total + int(USUAL * share), now + 1.0
        if floor.is_below(now, total):
            return passed
    return None


@pytest.mark.parametrize("share", [0.79, 0.5, 0.2, 0.11])
def test_a_slow_source_goes_on_playing(share: float) -> None:
    """F8: half the bitrate, and worse."""
    assert fall(Floor(), share, 120) is None


@pytest.mark.parametrize("share", [0.0, 0.05, 0.09])
def test_a_trickle_is_a_fault_after_fifteen_seconds(share: float) -> None:
    found = fall(Floor(), share, 120)
    assert found is not None
    assert WINDOW - 2 <= found <= WINDOW + 1


def test_another_connection_is_measured_anew() -> None:
    floor = Floor()
    assert fall(floor, 0.05, WINDOW - 2) is None
    floor.restart()
    assert not floor.is_below(1000.0, 0)
    assert not floor.is_below(1005.0, 10)
