"""Segments in memory: read once, bounded, gone with their writer."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from m3u_proxy.errors import NotFound
from m3u_proxy.ffmpeg.hls.shelf import Segment
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.flight import Flights
from m3u_proxy.pool.hls.segments import SegmentCache
from tests.support.stepped import settle, until

SIZE = 1000


class Folder:
    """Segments on disk, closed with the test."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.made: list[Segment] = []

    def segment(self, size: int = SIZE) -> Segment:
        number = len(self.made)
        file = self._path / f"segment_{number}.ts"
        file.write_bytes(bytes([number % 256]) * size)
        self.made.append(Segment(file.name, size, os.open(file, os.O_RDONLY)))
        return self.made[-1]


@pytest.fixture
async def folder(tmp_path: Path) -> AsyncIterator[Folder]:
    made = Folder(tmp_path)
    yield made
    for segment in made.made:
        segment.close()


class SlowReads:
    """Holds back every read of a file until it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self.go = threading.Event()
        read = Segment.read

        def slowly(segment: Segment) -> bytes:
            self.begun += 1
            assert self.go.wait(5.0)
            return read(segment)

        monkeypatch.setattr(Segment, "read", slowly)


async def test_a_segment_is_read_once_for_all(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, cache, segment = SlowReads(monkeypatch), SegmentCache(Budget(SIZE * 10)), folder.segment()
    players = [asyncio.create_task(cache.load(segment)) for _ in range(100)]
    await until(lambda: reads.begun)
    reads.go.set()
    answers = await asyncio.gather(*players)
    assert {id(answer) for answer in answers} == {id(answers[0])}
    assert answers[0] == b"\0" * SIZE
    assert await cache.load(segment) is answers[0]
    assert (cache.fetches, cache.hits) == (1, 1)


async def test_what_is_held_is_bounded_and_the_least_wanted_goes_first(folder: Folder) -> None:
    cache = SegmentCache(Budget(SIZE * 3))
    segments = [folder.segment() for _ in range(3)]
    for segment in segments:
        await cache.load(segment)
    await cache.load(segments[0])
    assert cache.size == SIZE * 3
    await cache.load(folder.segment())
    assert cache.size == SIZE * 3
    assert [segment.data is None for segment in folder.made] == [False, True, False, False]
    assert await cache.load(segments[1]) == b"\1" * SIZE  # from its file


async def test_a_segment_larger_than_the_budget_is_served_and_not_kept(folder: Folder) -> None:
    budget = Budget(SIZE - 1)
    cache, segment = SegmentCache(budget), folder.segment()
    for _ in range(2):
        assert await cache.load(segment) == b"\0" * SIZE
        assert (cache.size, budget.used) == (0, 0)
    assert cache.fetches == 2


async def test_memory_that_others_have_is_not_taken(folder: Folder) -> None:
    budget = Budget(SIZE * 3)
    cache = SegmentCache(budget)
    assert budget.grant(SIZE * 2)
    for _ in range(3):
        await cache.load(folder.segment())
        assert (cache.size, budget.used) == (SIZE, SIZE * 3)


async def test_memory_is_taken_before_the_file_is_read(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, budget = SlowReads(monkeypatch), Budget(SIZE * 10)
    player = asyncio.create_task(SegmentCache(budget).load(folder.segment()))
    await until(lambda: reads.begun)
    assert budget.used == SIZE
    reads.go.set()
    await player
    assert budget.used == SIZE


async def test_what_closed_segments_held_is_given_back_before_anything_is_evicted(folder: Folder) -> None:
    budget = Budget(SIZE * 2)
    cache = SegmentCache(budget)
    stays, closes = folder.segment(), folder.segment()
    await cache.load(stays)
    await cache.load(closes)
    closes.close()
    await cache.load(folder.segment())
    assert stays.data is not None
    assert (cache.size, budget.used) == (SIZE * 2, SIZE * 2)


async def test_a_segment_that_cannot_be_read_takes_no_memory(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(segment: Segment) -> bytes:
        raise OSError("no such device")

    monkeypatch.setattr(Segment, "read", fails)
    budget = Budget(SIZE * 10)
    with pytest.raises(NotFound):
        await SegmentCache(budget).load(folder.segment())
    assert budget.used == 0


async def test_a_segment_goes_out_of_memory_with_its_writer(folder: Folder) -> None:
    cache, segment = SegmentCache(Budget(SIZE * 10)), folder.segment()
    await cache.load(segment)
    segment.close()
    assert cache.size == 0
    with pytest.raises(NotFound):
        await cache.load(segment)


async def test_a_segment_that_is_closed_while_it_is_read_does_not_become_another_file(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, budget, segment = SlowReads(monkeypatch), Budget(SIZE * 10), folder.segment()
    cache = SegmentCache(budget)
    player = asyncio.create_task(cache.load(segment))
    await until(lambda: reads.begun)
    segment.close()
    other = folder.segment()  # takes the number of the descriptor that became free
    reads.go.set()
    assert await player == b"\0" * SIZE
    assert segment.data is None
    assert (cache.size, budget.used) == (0, 0)
    assert await cache.load(other) == b"\1" * SIZE


async def test_a_player_that_leaves_does_not_end_the_read_for_the_others(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, cache, segment = SlowReads(monkeypatch), SegmentCache(Budget(SIZE * 10)), folder.segment()
    leaves, stays = asyncio.create_task(cache.load(segment)), asyncio.create_task(cache.load(segment))
    await until(lambda: reads.begun)
    leaves.cancel()
    await settle()
    reads.go.set()
    assert len(await stays) == SIZE
    assert leaves.cancelled()


async def test_closing_waits_for_reads_and_frees_the_memory(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, segment = Budget(SIZE * 10), folder.segment()
    cache = SegmentCache(budget)
    await cache.load(segment)
    reads = SlowReads(monkeypatch)
    player = asyncio.create_task(cache.load(folder.segment()))
    await until(lambda: reads.begun)
    closing = asyncio.create_task(cache.aclose())
    await settle()
    assert not closing.done()
    reads.go.set()
    await closing
    assert await player
    assert (cache.size, budget.used) == (0, 0)
    assert segment.data is None


# --- one call per key


async def test_calls_of_one_key_are_one_and_of_two_keys_are_two() -> None:
    flights: Flights[str] = Flights()
    landed, calls = asyncio.Event(), []

    async def call(key: str) -> str:
        calls.append(key)
        await landed.wait()
        return key.upper()

    tasks = [
        asyncio.create_task(flights.fly(key, lambda key=key: call(key)))  # type: ignore[misc]
        for key in ("a", "b", "a", "a")
    ]
    await settle()
    assert (calls, len(flights)) == (["a", "b"], 2)
    landed.set()
    assert await asyncio.gather(*tasks) == ["A", "B", "A", "A"]
    assert len(flights) == 0


async def test_a_failure_reaches_everybody_and_the_next_call_is_a_new_one() -> None:
    flights: Flights[int] = Flights()
    works = False

    async def call() -> int:
        await settle()
        if not works:
            raise OSError("gone")
        return 7

    answers = await asyncio.gather(*(flights.fly(1, call) for _ in range(3)), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["gone"] * 3
    works = True
    assert await flights.fly(1, call) == 7
