"""The table of viewers: counts, ids, and who is silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.pool.viewers import Viewer, ViewerTable
from tests.support.definitions import CREATED, a_client


def a_viewer(
    client_id: str = "one", stream_id: str = "s", *, seen_at: float = 0.0, is_hls: bool = False
) -> Viewer:
    return Viewer(a_client(client_id, stream_id), lambda: None, seen_at, CREATED, is_hls=is_hls)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3))))
def test_counts_follow_every_coming_and_going(steps: list[tuple[bool, int, int]]) -> None:
    table = ViewerTable()
    here: dict[tuple[str, str], Viewer] = {}
    for comes, stream, client in steps:
        key = (f"s{stream}", f"c{client}")
        if comes and key not in here:
            here[key] = a_viewer(key[1], key[0])
            table.add(here[key])
        elif not comes and key in here:
            viewer = here.pop(key)
            assert table.remove(viewer)
            assert not table.remove(viewer)
        assert len(table) == len(here)
        assert set(table) == set(here.values())
        for number in range(4):
            mine = [viewer for key, viewer in here.items() if key[0] == f"s{number}"]
            assert table.count(f"s{number}") == len(mine)
            assert table.of(f"s{number}") == mine


def test_a_viewer_is_found_by_stream_and_id() -> None:
    table = ViewerTable()
    viewer = a_viewer("one", "a")
    table.add(viewer)
    assert table.get("a", "one") is viewer
    assert table.get("b", "one") is None
    assert table.get("a", "two") is None


def test_a_free_id_is_kept() -> None:
    assert ViewerTable().free_id("s", "mine") == "mine"


@pytest.mark.parametrize("length", [1, 119, 120, 128])
def test_a_taken_id_gets_eight_hex_digits_and_stays_within_128_characters(length: int) -> None:
    table = ViewerTable()
    wanted = "x" * length
    for _ in range(20):
        free = table.free_id("s", wanted)
        assert table.get("s", free) is None
        assert len(free) <= 128
        table.add(a_viewer(free))
    assert len(table) == 20
    assert table.free_id("other", wanted) == wanted
    assert table.free_id("s", "y") == "y"


def test_a_namesake_that_came_later_does_not_remove_the_one_that_is_here() -> None:
    table = ViewerTable()
    here = a_viewer("one")
    table.add(here)
    assert not table.remove(a_viewer("one"))
    assert list(table) == [here]


def test_only_hls_viewers_that_wait_for_nothing_can_be_silent() -> None:
    table = ViewerTable()
    silent, busy = a_viewer("silent", is_hls=True), a_viewer("busy", is_hls=True)
    for viewer in (silent, busy, a_viewer("direct"), a_viewer("fresh", seen_at=95.0, is_hls=True)):
        table.add(viewer)
    busy.busy = 1
    assert table.silent(100.0, 10.0, lambda _: 10.0) == [silent]


def test_each_viewer_has_its_own_limit_and_it_must_be_exceeded() -> None:
    table = ViewerTable()
    patient, short = a_viewer("patient", is_hls=True), a_viewer("short", is_hls=True)
    table.add(patient)
    table.add(short)

    def limit(viewer: Viewer) -> float:
        return 30.0 if viewer is patient else 12.0

    assert table.silent(12.0, 12.0, limit) == []
    assert table.silent(12.1, 12.0, limit) == [short]
    assert table.silent(30.1, 12.0, limit) == [patient, short]


def test_bytes_are_those_of_ended_and_of_open_responses() -> None:
    viewer = a_viewer()
    assert viewer.bytes_served == 0
    viewer.base_bytes = 100
    viewer.live_bytes = lambda: 11
    viewer.segments = 3
    assert viewer.bytes_served == 111


def test_ending_a_viewer_cuts_every_response_it_has_and_every_one_it_opens_later() -> None:
    viewer = a_viewer()
    cut: list[tuple[str, str]] = []
    with viewer.cut_by(lambda reason: cut.append(("closed", reason))):
        pass
    with (
        viewer.cut_by(lambda reason: cut.append(("first", reason))),
        viewer.cut_by(lambda reason: cut.append(("second", reason))),
    ):
        viewer.end("manual_deletion")
    with viewer.cut_by(lambda reason: cut.append(("late", reason))):
        pass
    assert cut == [(name, "manual_deletion") for name in ("first", "second", "late")]
