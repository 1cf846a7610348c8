"""How long a definition is listed, and how long it can be opened."""

from __future__ import annotations

from datetime import timedelta

import pytest

from m3u_proxy.errors import NotFound, Unavailable
from m3u_proxy.pool.catalog import NEVER_OPENED, Catalog, Record
from tests.support.definitions import CREATED, URL, a_stream

IDLE = 15.0
RETENTION = 3600.0


def a_catalog(*, limit: int = 0, idle: float = IDLE, retention: float = RETENTION) -> Catalog:
    return Catalog(limit=limit, idle=idle, retention=retention)


def put(catalog: Catalog, number: int = 0, *, now: float = 0.0, watched: bool = False) -> Record:
    return catalog.put(a_stream(URL + str(number)), now, watched=watched)[0]


def opened(record: Record, *, idle_since: float | None) -> Record:
    record.opened, record.idle_since = True, idle_since
    return record


def test_what_was_put_is_found() -> None:
    catalog = a_catalog()
    record = put(catalog)
    assert catalog.find(record.stream.id) is record
    assert catalog.get(record.stream.id) is record
    assert list(catalog) == catalog.listed() == [record]
    assert len(catalog) == 1


def test_what_was_not_put_is_not_found() -> None:
    catalog = a_catalog()
    assert catalog.get("x") is None
    with pytest.raises(NotFound, match="Stream not found"):
        catalog.find("x")


def test_what_somebody_else_keeps_is_lent_when_it_is_asked_for() -> None:
    catalog, stream = a_catalog(limit=1), a_stream(URL)
    asked: list[str] = []

    def lend(stream_id: str) -> None:
        asked.append(stream_id)
        if stream_id == stream.id:
            catalog.lend(stream, 5.0)

    catalog.on_missing = lend
    with pytest.raises(NotFound):
        catalog.find("x")
    assert catalog.get(stream.id) is None
    record = catalog.find(stream.id)
    assert catalog.find(stream.id) is record
    assert asked == ["x", stream.id]
    assert (record.stream, record.lasting, record.running, catalog.listed()) == (stream, False, False, [])
    put(catalog, 1)  # it gives way to what is listed
    assert catalog.get(stream.id) is None
    with pytest.raises(Unavailable):
        catalog.find(stream.id)


def test_removing_is_for_good_and_idempotent() -> None:
    catalog = a_catalog()
    stream_id = put(catalog).stream.id
    catalog.remove(stream_id)
    catalog.remove(stream_id)
    assert catalog.get(stream_id) is None
    assert len(catalog) == 0


def test_the_second_put_makes_no_new_record_for_its_caller() -> None:
    catalog = a_catalog()
    assert catalog.put(a_stream(), 0.0, watched=False)[1] is True
    assert catalog.put(a_stream(), 1.0, watched=False)[1] is False


def test_a_watched_definition_stays_as_it_is() -> None:
    catalog = a_catalog()
    first = catalog.put(a_stream(metadata={"id": "1"}), 0.0, watched=False)[0]
    first.bytes_served = 7
    record, created = catalog.put(a_stream(metadata={"id": "2"}), 1.0, watched=True)
    assert record is first
    assert not created
    assert record.stream.metadata == {"id": "1"}


@pytest.mark.parametrize("running", [True, False])
def test_an_unwatched_definition_is_renewed_and_keeps_its_totals_and_its_run(running: bool) -> None:
    """Where its run is over the next one begins: a slot that an editor now holds for it must be freed."""
    catalog = a_catalog()
    first = opened(put(catalog), idle_since=3.0)
    first.bytes_served, first.segments_served, first.running = 7, 2, running
    later = CREATED + timedelta(minutes=1)
    record, begins = catalog.put(
        a_stream(URL + "0", metadata={"id": "2"}, created_at=later), 9.0, watched=False
    )
    assert begins is not running
    assert (record.bytes_served, record.segments_served, record.running) == (7, 2, running)
    assert (record.opened, record.idle_since, record.last_access) == (False, 9.0, later)
    assert record.stream.metadata == {"id": "2"}
    assert len(catalog) == 1


def test_lists_are_in_the_order_of_creation() -> None:
    catalog = a_catalog()
    records = [put(catalog, number) for number in range(3)]
    assert catalog.listed() == records
    renewed = put(catalog, 0)
    assert catalog.listed() == [records[1], records[2], renewed]


def test_an_idle_stream_leaves_the_lists_and_can_still_be_opened() -> None:
    catalog = a_catalog()
    record = opened(put(catalog), idle_since=100.0)
    assert catalog.expire(100.0 + IDLE) == []
    assert catalog.expire(100.1 + IDLE) == [record]
    assert catalog.expire(100.2 + IDLE) == []  # told once
    assert catalog.listed() == []
    assert catalog.find(record.stream.id) is record


def test_a_stream_that_nobody_opened_stays_a_little_longer() -> None:
    catalog = a_catalog()
    record = put(catalog)
    assert catalog.expire(NEVER_OPENED) == []
    assert catalog.expire(NEVER_OPENED + 0.1) == [record]
    patient = a_catalog(idle=100.0)
    record = put(patient)
    assert patient.expire(100.0) == []
    assert patient.expire(100.1) == [record]


def test_a_watched_stream_does_not_expire() -> None:
    catalog = a_catalog()
    opened(put(catalog), idle_since=None)
    assert catalog.expire(1e9) == []
    assert len(catalog.listed()) == 1


def test_a_permanent_stream_stays_listed_until_it_is_removed() -> None:
    catalog = a_catalog()
    catalog.put(a_stream(permanent=True), 0.0, watched=False)
    assert catalog.expire(1e9) == []
    assert len(catalog.listed()) == 1


def test_after_its_retention_a_definition_is_forgotten() -> None:
    catalog = a_catalog()
    record = opened(put(catalog), idle_since=0.0)
    catalog.expire(RETENTION)
    assert catalog.get(record.stream.id) is record
    catalog.expire(RETENTION + 0.1)
    assert catalog.get(record.stream.id) is None


def test_nothing_is_forgotten_that_did_not_leave_the_lists_first() -> None:
    """Whoever is told what leaves the lists ends the run; a record that only vanished would run for ever."""
    catalog = a_catalog(retention=0.0)
    never, watched = put(catalog, 1), opened(put(catalog, 2), idle_since=0.0)
    left = [one for now in (1.0, IDLE + 1, NEVER_OPENED + 1) for one in catalog.expire(now)]
    assert left == [watched, never]
    assert len(catalog) == 0


def test_a_definition_that_had_left_the_lists_is_new_when_it_comes_back() -> None:
    catalog = a_catalog()
    record = opened(put(catalog), idle_since=0.0)
    record.running = False
    catalog.expire(IDLE + 1)
    again, created = catalog.put(record.stream, IDLE + 2, watched=False)
    assert created
    assert again.listed
    assert len(catalog) == 1


def test_at_the_limit_the_first_unlisted_definition_makes_room() -> None:
    catalog = a_catalog(limit=2)
    gone, kept = opened(put(catalog, 1), idle_since=0.0), opened(put(catalog, 2), idle_since=None)
    catalog.expire(IDLE + 1)
    new = put(catalog, 3)
    assert list(catalog) == [kept, new]
    assert catalog.get(gone.stream.id) is None


def test_at_the_limit_with_everything_listed_nothing_new_comes_in() -> None:
    catalog = a_catalog(limit=2)
    first = put(catalog, 1)
    put(catalog, 2)
    with pytest.raises(Unavailable) as caught:
        put(catalog, 3)
    assert caught.value.reason == "max_streams"
    assert len(catalog) == 2
    put(catalog, 1)  # what is known is renewed, not added
    assert catalog.get(first.stream.id) is not None


def test_without_a_limit_there_is_none() -> None:
    catalog = a_catalog(limit=0)
    for number in range(500):
        put(catalog, number)
    assert len(catalog) == 500


def test_what_was_kept_can_be_opened_and_is_not_counted() -> None:
    catalog = a_catalog()
    assert catalog.restore(a_stream(URL + "1"), 90.0, 10.0)
    assert catalog.restore(a_stream(URL + "2", permanent=True), 0.0, 2 * RETENTION)
    assert not catalog.restore(a_stream(URL + "3"), 0.0, RETENTION + 1)
    plain, permanent = catalog
    assert not plain.listed
    assert permanent.listed
    assert not plain.running
    assert not permanent.running
    assert catalog.expire(90.0 + RETENTION) == []
    assert len(catalog) == 2
    catalog.expire(91.0 + RETENTION)
    assert list(catalog) == [permanent]


def test_no_more_is_restored_than_there_may_be() -> None:
    catalog = a_catalog(limit=1)
    assert catalog.restore(a_stream(URL + "1"), 0.0, 0.0)
    assert not catalog.restore(a_stream(URL + "2"), 0.0, 0.0)


def test_who_keeps_definitions_is_told_of_each_change() -> None:
    catalog = a_catalog(limit=2)
    told: list[str] = []
    catalog.on_put = lambda record: told.append(f"+{record.stream.origin.url[-1]}{record.lasting:d}")
    catalog.on_remove = lambda stream_id: told.append("-")
    record = put(catalog, 1)
    put(catalog, 1)
    put(catalog, 1, watched=True)
    catalog.put(a_stream(URL + "2"), 0.0, watched=False, lasting=False)
    record = catalog.find(record.stream.id)
    record.listed = False
    put(catalog, 3)  # the unlisted one makes room
    catalog.remove("unknown")
    assert told == ["+11", "+11", "+11", "+20", "-", "+31"]
