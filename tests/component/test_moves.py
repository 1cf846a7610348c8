"""A player that has two places in a file open: it seeks, unless it turns out that it is two."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from m3u_proxy.pool.moves import SETTLED
from m3u_proxy.pool.viewers import Viewer
from tests.support.definitions import a_client, a_stream
from tests.support.house import House
from tests.support.stepped import settle

FILM = a_stream("http://provider.example/movie/u/p/3.mp4")


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    house = House(monkeypatch, max_viewers=2)
    house.audience.define(FILM)
    yield house
    await house.aclose()
    await settle()


def opens(house: House, name: str = "one", *, is_seek: bool = False) -> Viewer:
    """A player opens the film, and has its answer."""
    viewer = house.audience.watch(FILM.id, a_client(name, FILM.id), is_seek=is_seek)[1]
    viewer.answered_at = house.clock.now
    return viewer


def here(house: House) -> list[str]:
    return [viewer.client.id for viewer in house.audience.viewers]


def comings(house: House) -> list[tuple[str, object]]:
    """Which viewers came and went, as it was told."""
    events = (event for event in house.events if "client_id" in event.data)
    return [(event.type.removeprefix("client_"), event.data["client_id"]) for event in events]


async def test_a_player_that_seeks_is_the_viewer_that_it_was(house: House) -> None:
    first = opens(house)
    first.base_bytes, first.segments = 100, 1
    second = opens(house, is_seek=True)
    assert here(house) == ["one"]
    house.audience.leave(first, "client_left")
    assert list(house.audience.viewers) == [second]
    assert second.client is first.client
    assert (second.bytes_served, second.segments) == (100, 1)
    house.pass_time(2 * SETTLED)
    assert here(house) == ["one"]
    house.audience.leave(second, "client_left")
    assert comings(house) == [("connected", "one"), ("disconnected", "one")]


async def test_a_look_at_another_part_is_nobody_and_its_bytes_count(house: House) -> None:
    """VLC reads the end of a file first, where the index may be."""
    first = opens(house)
    look = opens(house, is_seek=True)
    look.base_bytes, look.segments = 7, 1
    house.audience.leave(look, "client_left")
    house.audience.leave(look, "twice")
    assert (first.bytes_served, first.segments) == (7, 1)
    house.audience.leave(first, "client_left")
    assert comings(house) == [("connected", "one"), ("disconnected", "one")]


async def test_fast_seeks_follow_each_other(house: House) -> None:
    places = [opens(house, is_seek=number > 0) for number in range(4)]
    for place in places[:3]:
        house.audience.leave(place, "client_left")
        assert here(house) == ["one"]
    house.audience.leave(places[3], "client_left")
    assert len(comings(house)) == 2


async def test_who_leaves_nothing_is_another_device(house: House) -> None:
    opens(house)
    opens(house, is_seek=True)
    house.pass_time(SETTLED - 0.25)
    assert here(house) == ["one"]
    house.pass_time(0.5)
    assert len(here(house)) == 2
    assert here(house)[1].startswith("one_")
    assert house.events[-1].data["stream_client_count"] == 2


async def test_it_may_take_any_time_until_a_seek_is_answered(house: House) -> None:
    first = opens(house)
    second = opens(house, is_seek=True)
    second.answered_at = None
    house.pass_time(10 * SETTLED)
    assert here(house) == ["one"]
    house.audience.leave(first, "client_left")
    assert here(house) == ["one"]


async def test_the_second_device_seeks_as_well(house: House) -> None:
    opens(house)
    other = opens(house)
    names = here(house)
    opens(house, is_seek=True)
    house.audience.leave(other, "client_left")
    assert here(house) == names
    house.pass_time(2 * SETTLED)
    assert here(house) == names


async def test_a_device_too_many_is_ended(house: House) -> None:
    opens(house)
    opens(house, "two")
    third = opens(house, is_seek=True)
    house.pass_time(2 * SETTLED)
    assert here(house) == ["one", "two"]
    assert third.ended == "max_viewers"
    assert house.audience.tally.rejected == {"max_viewers": 1}


async def test_who_is_cut_is_cut_at_both_places(house: House) -> None:
    first, second = opens(house), opens(house, is_seek=True)
    house.audience.cut(first, "manual_disconnect")
    assert (first.ended, second.ended) == ("manual_disconnect", "manual_disconnect")
    assert here(house) == []
    assert comings(house)[-1] == ("disconnected", "one")


async def test_who_is_cut_does_not_take_another_device_along(house: House) -> None:
    first, _ = opens(house), opens(house)
    newcomer = opens(house, is_seek=True)
    house.audience.cut(first, "manual_disconnect")
    assert newcomer.ended is None
    assert len(here(house)) == 1


async def test_a_film_that_is_deleted_cuts_newcomers_too(house: House) -> None:
    places = [opens(house), opens(house, is_seek=True)]
    await house.audience.delete(FILM.id, "manual_deletion")
    assert {place.ended for place in places} == {"manual_deletion"}
    assert [*house.audience.viewers, *house.audience.moves] == []


async def test_a_live_stream_has_no_other_part(house: House) -> None:
    live = house.audience.define(a_stream())
    for _ in range(2):
        house.audience.watch(live.id, a_client("one", live.id), is_seek=True)
    assert house.audience.viewers.count(live.id) == 2
