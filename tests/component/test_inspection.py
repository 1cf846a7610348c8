"""What becomes of a source that gives too little: counters moved by hand, and the attempts that follow."""

from __future__ import annotations

import logging

import pytest

from m3u_proxy.pool.quality.checks import BitrateCheck
from m3u_proxy.pool.quality.inspection import Inspections
from m3u_proxy.pool.quality.leaving import Leaving
from m3u_proxy.pool.quality.throughput import Throughput
from m3u_proxy.pool.sources.attempts import Attempts, Switch
from m3u_proxy.pool.tally import Tally
from tests.support.stepped import Script
from tests.support.succession import URL, attempts_at, unpaced

SPARE = "http://other.example/live/1.ts"
BITRATE = Inspections(bitrate=BitrateCheck(minimum=1000, interval=5.0, failures=3, grace=10.0))


class Scene:
    """A relay's counters and its attempts. Time passes by hand, with four looks a second."""

    def __init__(self, inspections: Inspections, urls: tuple[str, ...]) -> None:
        self.connected = True
        self.connections = 1
        self.bytes_in = 0
        self.now = 100.0
        self.switches: list[Switch] = []
        self.attempts: Attempts = attempts_at(Script(), Tally(), urls=urls, on_switch=self.switches.append)
        self._throughput = Throughput(
            self,
            Leaving(self.attempts, {"stream": "x"}),
            inspections.bitrate,
            leave_slow=inspections.leave_slow,
        )

    async def play(self, seconds: float, rate: float) -> None:
        """Carry out what was decided, as a relay does."""
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            self.bytes_in += int(rate / 4)
            if self.attempts.is_pending:
                await self.attempts.next()
                self.connections += 1
            await self._throughput.look(self.now)

    @property
    def warnings(self) -> list[str | None]:
        return [one.detail for one in self.attempts._history.moments() if one.what == "warning"]

    @property
    def reasons(self) -> list[str]:
        return [switch.reason for switch in self.switches]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    unpaced(monkeypatch)


async def test_a_slow_source_is_left_after_so_many_checks() -> None:
    scene = Scene(BITRATE, (URL, SPARE))
    await scene.play(60, 2000)
    assert not scene.switches
    await scene.play(14, 500)
    assert not scene.switches
    await scene.play(5.5, 500)  # at most one check is in part of a better time
    assert scene.reasons == ["low_bitrate"]
    assert scene.attempts.url == SPARE
    await scene.play(60, 2000)
    assert len(scene.switches) == 1


async def test_without_a_spare_there_is_a_warning_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(BITRATE, (URL,))
    with caplog.at_level(logging.WARNING):
        await scene.play(10 + 15 + 2 * 60 + 1, 500)
    assert not scene.switches
    assert scene.warnings == ["The source gives less than 1000 bytes per second"] * 3
    assert sum("poor source" in record.getMessage() for record in caplog.records) == 3


async def test_where_every_source_is_slow_each_is_left_once() -> None:
    scene = Scene(BITRATE, (URL, SPARE))
    await scene.play(300, 500)
    assert [switch.new_url for switch in scene.switches] == [SPARE, URL]
    assert scene.warnings


async def test_nothing_is_measured_unless_it_was_asked_for() -> None:
    scene = Scene(Inspections(), (URL, SPARE))
    await scene.play(300, 10)
    assert not scene.switches
    assert not scene.warnings


async def test_nothing_is_measured_without_a_connection() -> None:
    scene = Scene(BITRATE, (URL, SPARE))
    await scene.play(10, 2000)
    scene.connected = False
    await scene.play(60, 0)
    assert not scene.switches


@pytest.mark.parametrize("leave", [False, True])
async def test_a_source_below_its_usual_rate(leave: bool) -> None:
    """FAULTS F8: a warning a minute; another source only where that was asked for."""
    scene = Scene(Inspections(leave_slow=leave), (URL, SPARE))
    await scene.play(120, 1000)
    assert not scene.warnings
    await scene.play(15.5, 700)
    if leave:
        assert scene.reasons == ["low_bitrate"]
        await scene.play(120, 700)  # it is what the other one usually gives
        assert len(scene.switches) == 1
    else:
        assert not scene.switches
        await scene.play(45, 700)
        assert scene.warnings == ["The source gives less than 80% of its usual rate"]
        await scene.play(30, 700)
        assert len(scene.warnings) == 2
