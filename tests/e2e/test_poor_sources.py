"""Sources that give something, but not what they should: viewers get a better one, if there is one."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.test_failover import create, row, timeline
from tests.support.daemon import Daemon
from tests.support.inv import eventually, labelled
from tests.support.origin import Answer, Origin
from tests.support.watching import SECOND, grown, watching

LATE = 0.5
"""Seconds by which a decision may come later than its budget."""
BITRATE = {
    "ENABLE_BITRATE_MONITORING": "true",
    "MIN_BITRATE_THRESHOLD": "100000",
    "BITRATE_CHECK_INTERVAL": "0.6",
    "BITRATE_FAILOVER_THRESHOLD": "2",
    "BITRATE_MONITORING_GRACE_PERIOD": "0.5",
}


async def test_a_slow_source_is_left_within_its_budget(tmp_path: Path, origin: Origin) -> None:
    origin.on("/one.ts", Answer(ts=True, fast=4 * SECOND, drip=50_000))
    origin.on("/two.ts", Answer(ts=True))
    async with Daemon(tmp_path, **BITRATE) as daemon:
        stream = await create(daemon, origin.url("/one.ts"), failover_urls=[origin.url("/two.ts")])
        async with watching(daemon, stream) as viewers:

            async def has_switched() -> bool:
                return bool(origin.path("/two.ts").connections)

            await eventually(has_switched, within=15)
            slow = origin.path("/one.ts").connections[0].opened + 4.0
            # two checks in a row, and before them one that may have been good in part
            assert 0.6 < origin.path("/two.ts").connections[0].opened - slow < 3 * 0.6 + LATE
            await grown(viewers, 2 * SECOND)
            assert not viewers[0].ended
            assert (await row(daemon, stream))["current_failover_index"] == 1
        viewers[0].check(tmp_path, seams=1)
        told = [one["reason"] for one in await timeline(daemon, stream) if one["event"] == "switch"]
        assert told == ["low_bitrate"]
        assert (await labelled(daemon, "failovers_total"))["low_bitrate"] == 1


async def test_a_slow_source_without_a_spare_plays_on(tmp_path: Path, origin: Origin) -> None:
    origin.on("/one.ts", Answer(ts=True))
    async with Daemon(tmp_path, **BITRATE | {"MIN_BITRATE_THRESHOLD": "900000"}) as daemon:
        stream = await create(daemon, origin.url("/one.ts"))
        async with watching(daemon, stream) as viewers:
            await grown(viewers, 3 * SECOND)
            assert not viewers[0].ended
        rows = await timeline(daemon, stream)
        assert [one["reason"] for one in rows if one["event"] == "warning"] == ["low_bitrate"]
        assert len(origin.path("/one.ts").connections) == 1
