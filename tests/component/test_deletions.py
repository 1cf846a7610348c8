"""What is told when editors end streams by their metadata."""

from __future__ import annotations

import pytest

from m3u_proxy.events import EventType
from tests.support.definitions import a_stream
from tests.support.house import House
from tests.support.stepped import settle

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
