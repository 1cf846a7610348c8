"""The bus: everybody hears everything, in order, and nobody breaks it."""

from __future__ import annotations

import logging

import pytest

from m3u_proxy.events import Bus, Event, EventType


def test_every_listener_hears_every_event_in_order() -> None:
    bus = Bus()
    heard: list[tuple[int, EventType, str]] = []
    bus.subscribe(lambda event: heard.append((1, event.type, event.stream_id)))
    bus.subscribe(lambda event: heard.append((2, event.type, event.stream_id)))

    bus.emit(EventType.STREAM_STARTED, "a")
    bus.emit(EventType.STREAM_STOPPED, "b")

    assert heard == [
        (1, EventType.STREAM_STARTED, "a"),
        (2, EventType.STREAM_STARTED, "a"),
        (1, EventType.STREAM_STOPPED, "b"),
        (2, EventType.STREAM_STOPPED, "b"),
    ]


def test_a_listener_that_fails_is_logged_stays_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    heard: list[Event] = []

    def fail(event: Event) -> None:
        raise RuntimeError(event.stream_id)

    bus.subscribe(fail)
    bus.subscribe(heard.append)
    with caplog.at_level(logging.ERROR):
        bus.emit(EventType.STREAM_FAILED, "a", reason="refused")
        bus.emit(EventType.STREAM_FAILED, "a", reason="stall")

    assert [event.data["reason"] for event in heard] == ["refused", "stall"]
    assert len(caplog.records) == 2


def test_an_event_has_an_id_of_its_own_and_a_time_with_an_offset() -> None:
    bus = Bus()
    heard: list[Event] = []
    bus.subscribe(heard.append)
    for _ in range(2):
        bus.emit(EventType.CLIENT_CONNECTED, "a")
    assert heard[0].id != heard[1].id
    assert heard[0].at.utcoffset() is not None
    assert heard[0].at <= heard[1].at
