"""A provider that replays backlog at each connect: nobody sees it twice (F26)."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.media import probe
from tests.support.origin import Answer, Origin
from tests.support.player import read_some
from tests.support.tsverify import setbacks, verify

SECOND = 250_000
"""Bytes of the sample per second."""


@pytest.mark.needs("ffprobe")
async def test_backlog_is_not_seen_twice(daemon: Daemon, origin: Origin, tmp_path: Path) -> None:
    backlog = 30 * SECOND
    origin.on(
        "/live.ts",
        Answer(ts=True, back=backlog, rst=4 * SECOND),
        Answer(ts=True, back=backlog, fin=7 * SECOND),
        Answer(ts=True, back=backlog),
    )
    created = await daemon.post("/streams", url=origin.url("/live.ts"))
    async with aiohttp.ClientSession(daemon.url) as http:
        capture = await read_some(http, f"/stream/{created['stream_id']}", 9 * SECOND, within=30)
    assert len(origin.path("/live.ts").connections) == 3
    capture = capture[: len(capture) // 188 * 188]
    report = verify(capture)
    assert report.clean, report
    assert not report.flagged_discontinuities, "the bytes go on where they broke"
    assert max(setbacks(capture).values()) < 0.5
    path = tmp_path / "capture.ts"
    path.write_bytes(capture)
    kinds = {row["codec_type"]: int(row["nb_read_frames"]) for row in probe(path)["streams"]}
    assert kinds["video"] > 8 * 25 * 0.9, kinds
    assert kinds["audio"] > 8 * 46 * 0.9, kinds


async def test_it_is_where_that_is_switched_off(tmp_path: Path, origin: Origin) -> None:
    origin.on(
        "/live.ts",
        Answer(ts=True, back=30 * SECOND, rst=4 * SECOND),
        Answer(ts=True, back=30 * SECOND),
    )
    async with Daemon(tmp_path, STRICT_LIVE_TS_OVERLAP_TRIM="false") as daemon:
        created = await daemon.post("/streams", url=origin.url("/live.ts"))
        path = f"/stream/{created['stream_id']}"
        async with aiohttp.ClientSession(daemon.url) as http:
            capture = await read_some(http, path, 7 * SECOND, within=30)
    report = verify(capture[: len(capture) // 188 * 188])
    assert report.clean, report
    assert max(report.flagged_discontinuities.values()) == 1
    assert max(setbacks(capture).values()) > 1.0
