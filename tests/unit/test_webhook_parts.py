"""Webhooks without a network: their bodies, what waits for them, and which runs are open."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from m3u_proxy.errors import InvalidField
from m3u_proxy.events import Bus, Event, EventType
from m3u_proxy.observe.backlog import Backlog, Letter
from m3u_proxy.observe.runs import INTERRUPTED, Runs
from m3u_proxy.observe.subscription import Subscription, key_of, row_of, subscription_of
from m3u_proxy.observe.webhooks import letter_of

STARTED, STOPPED = EventType.STREAM_STARTED, EventType.STREAM_STOPPED


def a_letter(name: str, type_: EventType = STARTED) -> Letter:
    return Letter(name, type_, b"")


def names(backlog: Backlog) -> list[str]:
    return [backlog.take().event_id for _ in range(len(backlog))]


# -- the body ---------------------------------------------------------------------------------------------


def test_the_body_is_the_one_of_the_contract() -> None:
    metadata = {"id": "101", "type": "channel", "playlist_uuid": "pl-1", "provider_profile_id": "4"}
    data = {"reason": "last_client_disconnected", "bytes_served": 1310720, "metadata": metadata}
    at = datetime(2026, 5, 1, 10, tzinfo=UTC)
    body = json.loads(letter_of(Event(STOPPED, "1e50", data, at=at)).content)
    assert UUID(body.pop("event_id")).version == 4
    assert body == {
        "event_type": "stream_stopped",
        "stream_id": "1e50",
        "timestamp": "2026-05-01T10:00:00.000000+00:00",
        "data": {
            "reason": "last_client_disconnected",
            "bytes_served": 1310720,
            "metadata": metadata,
            "id": "101",
            "type": "channel",
            "playlist_uuid": "pl-1",
        },
    }


@pytest.mark.parametrize("data", [{}, {"metadata": {}}, {"metadata": None}])
def test_metadata_are_always_there_and_what_they_lack_is_not_invented(data: dict[str, object]) -> None:
    assert json.loads(letter_of(Event(STARTED, "a", data)).content)["data"] == {"metadata": {}}


# -- what waits -------------------------------------------------------------------------------------------


def test_what_waits_keeps_its_order() -> None:
    backlog = Backlog(3)
    assert [backlog.put(a_letter(name)) for name in "abc"] == [None] * 3
    assert names(backlog) == ["a", "b", "c"]


def test_the_oldest_is_given_up_and_what_frees_a_slot_last() -> None:
    backlog = Backlog(3)
    for name, type_ in (("a", STOPPED), ("b", STARTED), ("c", STOPPED)):
        backlog.put(a_letter(name, type_))
    assert backlog.put(a_letter("d", STOPPED)) == a_letter("b")
    assert backlog.put(a_letter("e")) == a_letter("e")
    assert backlog.put(a_letter("f", STOPPED)) == a_letter("a", STOPPED)
    assert names(backlog) == ["c", "d", "f"]


def test_near_the_end_only_what_frees_slots_is_kept() -> None:
    backlog = Backlog()
    for name, type_ in (("a", STARTED), ("b", STOPPED), ("c", EventType.CLIENT_CONNECTED)):
        backlog.put(a_letter(name, type_))
    assert [one.event_id for one in backlog.keep_only(STOPPED)] == ["a", "c"]
    assert names(backlog) == ["b"]


# -- who wants what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://h", "http://H/", "HTTP://h:80"])
def test_spellings_of_one_url_are_one_webhook(url: str) -> None:
    assert key_of(url) == key_of("http://h/")


@pytest.mark.parametrize(
    "url", ["http://h/a", "https://h/", "http://h:81/", "http://u:p@h/", "http://h/?a=1"]
)
def test_other_urls_are_other_webhooks(url: str) -> None:
    assert key_of(url) != key_of("http://h/")


def test_what_is_no_url_is_no_webhook() -> None:
    with pytest.raises(InvalidField):
        key_of("editor")


def test_a_webhook_survives_being_a_row() -> None:
    wanted = Subscription("http://H", (STOPPED,), {"X-A": "é"}, 5, 2)
    assert subscription_of(json.loads(json.dumps(row_of(wanted)))) == wanted
    for broken in ({}, {"url": "x", "events": ["nothing"]}, {"url": 1}):
        with pytest.raises(ValueError, match="the row"):
            subscription_of(broken)


# -- runs -------------------------------------------------------------------------------------------------


class Notes:
    """Stands for the registry, and for webhooks that settle when told to."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.bus = Bus()
        self.runs = Runs(self._note)
        self.told: list[Event] = []
        self.bus.subscribe(self.runs.hear)
        self.bus.subscribe(self.told.append)

    def _note(self, key: str, row: object) -> None:
        if row is None:
            del self.rows[key]
        else:
            self.rows[key] = row


def test_a_run_is_open_until_its_end_is_delivered() -> None:
    notes = Notes()
    notes.bus.emit(STARTED, "a", metadata={"id": "7"})
    assert list(notes.rows.values()) == [{"stream_id": "a", "metadata": {"id": "7"}}]
    notes.bus.emit(STOPPED, "a", metadata={})
    assert len(notes.rows) == 1
    notes.runs.settled(notes.told[0].id)  # the start is settled, not the end
    assert len(notes.rows) == 1
    notes.runs.settled(notes.told[1].id)
    assert notes.rows == {}


def test_the_end_of_one_run_does_not_close_the_next() -> None:
    notes = Notes()
    for type_ in (STARTED, STOPPED, STARTED):
        notes.bus.emit(type_, "a", metadata={})
    notes.runs.settled(notes.told[1].id)
    assert list(notes.rows) == [notes.told[2].id]


def test_a_successor_tells_the_ends_that_were_not_told_each_once() -> None:
    before, after = Notes(), Notes()
    for type_ in (STARTED, STOPPED, STARTED):
        before.bus.emit(type_, "a", metadata={"provider_profile_id": "4"})
    before.bus.emit(STARTED, "b", metadata={})
    after.rows = dict(before.rows)
    assert after.runs.recover(list(after.rows.items()), after.bus) == {"a", "b"}
    assert {one.type for one in after.told} == {STOPPED}
    assert [one.stream_id for one in after.told] == ["a", "a", "b"]
    assert after.told[0].data == {
        "metadata": {"provider_profile_id": "4"},
        "reason": INTERRUPTED,
        "bytes_served": 0,
    }
    for event in after.told:
        after.runs.settled(event.id)
    assert after.rows == {}


def test_a_row_that_is_no_run_is_forgotten() -> None:
    notes = Notes()
    notes.rows = {"a": {"stream_id": 7}, "b": {"stream_id": "s"}}
    assert notes.runs.recover(list(notes.rows.items()), notes.bus) == set()
    assert notes.rows == {}
    assert notes.told == []
