"""A live stream whose provider redirects to another place each time (F14)."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin
from tests.support.player import read_some
from tests.support.tsverify import verify

SECOND = 250_000
"""Bytes of the sample per second."""


@pytest.mark.parametrize(("default", "wanted"), [("false", True), ("true", None), ("true", False)])
async def test_it_stays_where_it_was_sent(
    tmp_path: Path, origin: Origin, default: str, wanted: bool | None
) -> None:
    origin.on(
        "/live.ts",
        *(Answer(redirect=origin.url(f"/edge{number}.ts", host="127.0.0.1")) for number in (1, 2, 3)),
    )
    first = Answer(ts=True, back=30 * SECOND, rst=2 * SECOND)
    origin.on("/edge1.ts", first, Answer(ts=True, back=30 * SECOND, rst=4 * SECOND), Answer(status=403))
    origin.on("/edge2.ts", Answer(ts=True, back=30 * SECOND))
    async with Daemon(tmp_path, USE_STICKY_SESSION=default) as daemon:
        url = origin.url("/live.ts")
        created = await daemon.post("/streams", url=url, use_sticky_session=wanted)
        stream = created["stream_id"]
        async with aiohttp.ClientSession(daemon.url) as http:
            capture = await read_some(http, f"/stream/{stream}", 6 * SECOND, within=30)
        row = (await daemon.get(f"/streams/{stream}"))["stream"]
    report = verify(capture[: len(capture) // 188 * 188])
    assert report.clean
    assert not report.flagged_discontinuities, "the same bytes, wherever they come from"
    assert row["current_url"] == url
    asked = [len(origin.path(f"/{name}.ts").connections) for name in ("live", "edge1", "edge2")]
    assert asked == ([2, 1, 1] if wanted is False else [2, 3, 1])
