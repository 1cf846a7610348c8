"""``strict_live_ts``: bytes in stock before a joiner is served, and sources that go silent."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin
from tests.support.player import read_some
from tests.support.tsverify import verify

SECOND = 250_000
"""Bytes of the sample per second."""


async def test_silence_is_left_soon_and_not_asked_again(tmp_path: Path, origin: Origin) -> None:
    origin.on("/one.ts", Answer(ts=True, stall=2 * SECOND))
    origin.on("/two.ts", Answer(ts=True))
    async with Daemon(tmp_path, STRICT_LIVE_TS_CIRCUIT_BREAKER_TIMEOUT="1") as daemon:
        body = {"url": origin.url("/one.ts"), "failover_urls": [origin.url("/two.ts")]}
        stream = (await daemon.post("/streams", **body, strict_live_ts=True))["stream_id"]
        async with aiohttp.ClientSession(daemon.url) as http:
            capture = await read_some(http, f"/stream/{stream}", 4 * SECOND)
            assert verify(capture[: len(capture) // 188 * 188]).clean
            rows = (await daemon.get(f"/streams/{stream}/timeline"))["events"]
            assert ("failover", "circuit_breaker_timeout") in [(row["kind"], row["reason"]) for row in rows]
            await daemon.http.delete(f"/streams/{stream}")
            again = (await daemon.post("/streams", **body, strict_live_ts=True))["stream_id"]
            await read_some(http, f"/stream/{again}", SECOND)
        assert len(origin.path("/one.ts").connections) == 1
        rows = (await daemon.get(f"/streams/{again}/timeline"))["events"]
        assert "circuit_breaker_bad_upstream" in [row["reason"] for row in rows]


async def test_a_joiner_finds_bytes_in_stock(tmp_path: Path, origin: Origin) -> None:
    origin.on("/live.ts", Answer(ts=True))
    async with Daemon(tmp_path, STRICT_LIVE_TS_PREBUFFER_SIZE=str(SECOND), STRICT_LIVE_TS="true") as daemon:
        stream = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_id"]
        async with aiohttp.ClientSession(daemon.url) as http:
            await read_some(http, f"/stream/{stream}", 188)
            assert origin.path("/live.ts").connections[0].sent >= SECOND


async def test_but_is_served_in_time(tmp_path: Path, origin: Origin) -> None:
    origin.on("/live.ts", Answer(ts=True, back=30 * SECOND, stall=SECOND // 2))
    settings = {
        "STRICT_LIVE_TS_PREBUFFER_SIZE": str(4 * SECOND),
        "STRICT_LIVE_TS_CIRCUIT_BREAKER_TIMEOUT": "0",
        "HLS_WAIT_TIME": "5",
    }
    async with Daemon(tmp_path, **settings) as daemon:
        body = {"url": origin.url("/live.ts"), "strict_live_ts": True}
        stream = (await daemon.post("/streams", **body))["stream_id"]
        began = asyncio.get_running_loop().time()
        async with aiohttp.ClientSession(daemon.url) as http:
            await read_some(http, f"/stream/{stream}", 188)
        assert asyncio.get_running_loop().time() - began < 10.0  # which is the patience of the stock itself
