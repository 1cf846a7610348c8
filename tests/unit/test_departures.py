"""Segments that left a playlist are kept for a while, each for itself."""

from __future__ import annotations

from m3u_proxy.ffmpeg.hls.departures import Departures


def test_each_goes_when_its_own_time_is_up() -> None:
    departures = Departures(4.0)
    assert departures.due(0, 0.0) == 0
    assert departures.due(1, 1.0) == 0
    assert departures.due(2, 3.0) == 0
    assert departures.due(2, 4.9) == 0
    assert departures.due(2, 5.0) == 1
    assert departures.due(1, 6.9) == 0
    assert departures.due(1, 7.0) == 1
    assert departures.due(0, 8.0) == 0


def test_several_at_once() -> None:
    departures = Departures(4.0)
    assert departures.due(3, 10.0) == 0
    assert departures.due(3, 14.0) == 3


def test_those_that_went_by_themselves_are_forgotten() -> None:
    departures = Departures(4.0)
    departures.due(2, 0.0)
    departures.due(4, 3.0)
    assert departures.due(2, 4.0) == 0  # the two that are left came at 3
    assert departures.due(2, 7.0) == 2


def test_none_are_kept_where_nothing_is_to_be() -> None:
    assert Departures(0.0).due(2, 1.0) == 2
