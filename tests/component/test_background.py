"""Background tasks: owned, watched, started again."""

from __future__ import annotations

import asyncio
import logging

import pytest

from m3u_proxy.daemon import background as background_module
from m3u_proxy.daemon.background import Background
from tests.support.house import Clock
from tests.support.stepped import settle, until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time by hand; pauses are of milliseconds."""
    made = Clock()
    monkeypatch.setattr(background_module, "monotonic", made)
    monkeypatch.setattr(background_module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(background_module, "LONGEST_PAUSE", 0.004)
    return made


class Work:
    """Crashes so many times, each time after ``lasts`` seconds, then goes on until it is cancelled."""

    def __init__(self, clock: Clock, *, crashes: int, lasts: float = 0.0) -> None:
        self.begun = 0
        self.ended = False
        self._clock = clock
        self._crashes = crashes
        self._lasts = lasts

    async def run(self) -> None:
        self.begun += 1
        if self.begun <= self._crashes:
            self._clock.now += self._lasts
            raise RuntimeError(f"crash {self.begun}")
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.ended = True


def pauses(caplog: pytest.LogCaptureFixture) -> list[object]:
    """What was announced with each traceback."""
    assert all(record.exc_info for record in caplog.records)
    return [record.args[1] for record in caplog.records if isinstance(record.args, tuple)]


async def test_a_task_that_crashes_is_logged_counted_and_started_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """F70: an exception in a background task."""
    work = Work(clock, crashes=4)
    async with Background() as background:
        background.keep("sweeper", work.run)
        await until(lambda: work.begun == 5)
        assert background.crashes == {"sweeper": 4}
    assert work.ended
    assert pauses(caplog) == [0.001, 0.002, 0.004, 0.004]


async def test_after_a_healthy_while_the_pause_is_short_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    work = Work(clock, crashes=5, lasts=60.0)
    async with Background() as background:
        background.keep("sweeper", work.run)
        await until(lambda: work.begun == 6)
    assert pauses(caplog) == [0.001] * 5


async def test_one_crash_does_not_touch_the_others(clock: Clock) -> None:
    bad, good = Work(clock, crashes=3), Work(clock, crashes=0)
    async with Background() as background:
        background.keep("bad", bad.run)
        background.keep("good", good.run)
        await until(lambda: bad.begun == 4)
        assert good.begun == 1
        assert background.crashes == {"bad": 3, "good": 0}


async def test_three_crashes_within_a_minute_are_a_sign(clock: Clock) -> None:
    """F70: it keeps crashing."""
    async with Background() as background:
        for number in range(3):
            assert not background.degraded
            work = Work(clock, crashes=1)
            background.keep(f"task {number}", work.run)
            await until(lambda work=work: work.begun == 2)  # type: ignore[misc]
            clock.now += 20.0
        assert background.degraded
        clock.now += 1.0
        assert not background.degraded


async def test_work_that_is_done_is_not_begun_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    async def once() -> None:
        done.append(1)

    async with Background() as background:
        background.keep("recovery", once)
        await settle()
    assert done == [1]
    assert background.crashes == {"recovery": 0}
    assert not caplog.records


async def test_leaving_ends_every_task_also_one_that_pauses(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background_module, "FIRST_PAUSE", 3600.0)
    clock = Clock()
    running, pausing = Work(clock, crashes=0), Work(clock, crashes=1)
    before = asyncio.all_tasks()
    with caplog.at_level(logging.CRITICAL):
        async with Background() as background:
            background.keep("running", running.run)
            background.keep("pausing", pausing.run)
            await settle()
    assert running.ended
    assert pausing.begun == 1
    assert asyncio.all_tasks() == before


async def test_without_tasks_there_is_nothing_to_end() -> None:
    async with Background() as background:
        assert not background.degraded
