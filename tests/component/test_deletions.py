"""What is told when editors end streams by their metadata."""

from __future__ import annotations

import asyncio

import pytest

from m3u_proxy.events import EventType
from tests.support.definitions import URL, a_stream, a_transcode
from tests.support.house import House
from tests.support.stepped import settle, turn

URLS = [f"http://provider.example/live/u/p/{number}.ts" for number in range(3)]


async def test_several_end_in_one_step_and_each_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    records = []
    for url in URLS:
        stream = house.audience.define(a_stream(url, metadata={"playlist_uuid": "p"}))
        house.watch("one", stream.id)
        records.append(house.audience.catalog.find(stream.id))
    await settle()
    told = {"filter_field": "playlist_uuid", "filter_value": "p"}
    await house.audience.delete_all(records[:2], "metadata_filter_deletion", **told)
    assert len(house.audience.catalog) == len(house.audience.viewers) == 1
    assert [script.open for script in house.scripts.values()] == [0, 0, 1]
    stopped = [event for event in house.events if event.type is EventType.STREAM_STOPPED]
    assert [event.stream_id for event in stopped] == [record.stream.id for record in records[:2]]
    for event in stopped:
        assert event.data == {
            "metadata": {"playlist_uuid": "p"},
            "reason": "metadata_filter_deletion",
            "bytes_served": 0,
            "was_transcoded": False,
            **told,
        }
    assert house.told(records[0].stream.id)[-2:] == ["client_disconnected", "stream_stopped"]
    await house.audience.delete_all([], "metadata_filter_deletion")
    await house.aclose()


async def test_a_client_that_is_cut_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(monkeypatch)
    house.audience.define(a_stream())
    _, one = house.watch("one")
    house.watch("two")
    house.audience.cut(one, "manual_disconnect")
    house.audience.cut(one, "manual_disconnect")
    assert one.ended == "manual_disconnect"
    assert [viewer.client.id for viewer in house.audience.viewers] == ["two"]
    left = [event.data["reason"] for event in house.events if event.type is EventType.CLIENT_DISCONNECTED]
    assert left == ["manual_disconnect"]
    await house.aclose()


async def test_who_comes_again_while_a_stream_is_deleted_gets_a_run_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House(monkeypatch)
    stream = house.audience.define(a_stream())
    house.watch("before")
    await settle()
    deleting = asyncio.create_task(house.audience.delete(stream.id, "deleted"))
    await turn()
    house.audience.define(a_stream())
    house.watch("again")
    await deleting
    await settle()
    entry = house.pool.find(stream)
    assert entry is not None
    assert entry.streams == {stream.id}
    assert (len(house.scripts[URL].opened), house.scripts[URL].open) == (2, 1)
    assert house.pool.history(stream)
    await house.aclose()


async def test_deleting_a_stream_leaves_the_memory_of_another_one_with_its_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House(monkeypatch)
    plain = house.audience.define(a_stream())
    transcode = house.audience.define(a_transcode())
    house.watch("one")
    await settle()
    before = house.pool.history(plain)
    assert before
    await house.audience.delete(transcode.id, "deleted")
    assert house.pool.history(plain) == before
    await house.aclose()
