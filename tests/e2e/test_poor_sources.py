"""Sources that give something, but not what they should: viewers get a better one, if there is one."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import pytest

from tests.e2e.test_failover import create, row, timeline
from tests.support.daemon import Daemon
from tests.support.fake_ffmpeg import FakeFFmpeg
from tests.support.inv import eventually, labelled
from tests.support.media import make_live_sample
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
        told = [one["reason"] for one in await timeline(daemon, stream) if one["kind"] == "failover"]
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
        assert [one["reason"] for one in rows if one["kind"] == "warning"] == ["low_bitrate"]
        assert len(origin.path("/one.ts").connections) == 1


SILENCE = {
    "enable_silence_detection": True,
    "silence_threshold_db": -50,
    "silence_duration": 0.5,
    "silence_check_interval": 0.5,
    "silence_monitoring_grace_period": 1,
    "silence_failover_threshold": 2,
}
BUDGET = 0.5 + 2 * 0.5
"""Seconds from the last sound to the decision: what makes a silence, and the checks that follow it."""


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Live sources of 20 s with this sound."""
    folder = tmp_path_factory.mktemp("sounds")
    sources = {
        "falls": "sine=440,volume='if(lt(t,5),1,0)':eval=frame",
        "quiet": "sine=440,volume=-20dB",  # a sine of lavfi has -18 dB
    }
    for name, source in sources.items():
        make_live_sample(folder / name, sound=source)
    return {name: (folder / name).read_bytes() for name in sources}


async def test_a_source_that_falls_silent_is_left(
    daemon: Daemon, origin: Origin, tmp_path: Path, sounds: dict[str, bytes]
) -> None:
    origin.on("/spare.ts", Answer(ts=True))
    async with Origin(ts=sounds["falls"], rate=2e6) as first:
        silent = monotonic() + 5.0
        first.on("/one.ts", Answer(ts=True))
        stream = await create(
            daemon, first.url("/one.ts"), failover_urls=[origin.url("/spare.ts")], **SILENCE
        )
        async with watching(daemon, stream, 3) as viewers:
            assert (await labelled(daemon, "ffmpeg_processes"))["silence"] == 1

            async def has_switched() -> bool:
                return bool(origin.path("/spare.ts").connections)

            await eventually(has_switched, within=20)
            assert 1.0 < origin.path("/spare.ts").connections[0].opened - silent < BUDGET + LATE
            await grown(viewers, 5 * SECOND)
            assert not any(viewer.ended for viewer in viewers)
            assert (await row(daemon, stream))["current_failover_index"] == 1
            assert len(origin.path("/spare.ts").connections) == 1
            assert (await labelled(daemon, "ffmpeg_processes"))["silence"] == 1
        for viewer in viewers:
            viewer.check(tmp_path, seams=1)
    told = [one["reason"] for one in await timeline(daemon, stream) if one["kind"] == "failover"]
    assert told == ["silence_detected"]

    async def nobody_listens() -> bool:
        return not (await labelled(daemon, "ffmpeg_processes")).get("silence")

    await eventually(nobody_listens, within=5)


async def test_a_quiet_source_is_kept(daemon: Daemon, origin: Origin, sounds: dict[str, bytes]) -> None:
    origin.on("/spare.ts", Answer(ts=True))
    async with Origin(ts=sounds["quiet"], rate=2e6) as first:
        first.on("/one.ts", Answer(ts=True))
        stream = await create(
            daemon, first.url("/one.ts"), failover_urls=[origin.url("/spare.ts")], **SILENCE
        )
        async with watching(daemon, stream) as viewers:
            await grown(viewers, 8 * SECOND)
        assert not origin.path("/spare.ts").connections
        assert {one["kind"] for one in await timeline(daemon, stream)} <= {"start", "connected", "stop"}


async def test_silence_without_a_spare_is_told_and_played(daemon: Daemon, sounds: dict[str, bytes]) -> None:
    async with Origin(ts=sounds["falls"], rate=2e6) as first:
        first.on("/one.ts", Answer(ts=True))
        stream = await create(daemon, first.url("/one.ts"), **SILENCE)
        async with watching(daemon, stream) as viewers:

            async def is_told() -> bool:
                return any(one["kind"] == "warning" for one in await timeline(daemon, stream))

            await eventually(is_told, within=15)
            await grown(viewers, SECOND)
            assert not viewers[0].ended
        assert len(first.path("/one.ts").connections) == 1


async def test_a_listener_that_dies_harms_nobody(tmp_path: Path, origin: Origin) -> None:
    fake = FakeFFmpeg(tmp_path, exit_after=0.3, exit_code=1)
    async with Daemon(tmp_path, FFMPEG_PATH=str(fake.path)) as daemon:
        stream = await create(daemon, origin.url("/live.ts"), failover_urls=[origin.url("/x.ts")], **SILENCE)
        async with watching(daemon, stream) as viewers:
            await fake.run()
            await grown(viewers, 3 * SECOND)
            assert not viewers[0].ended
        assert len(origin.path("/live.ts").connections) == 1
        assert sum("nobody listens for silence" in line for line in daemon.log) == 1
        assert len([one for one in fake.runs() if "silencedetect" in str(one["argv"])]) == 1
