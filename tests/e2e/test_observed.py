"""What operators see of things as they happen: counted once, told in one line, log or no log."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import struct
import sys
import termios
import time
from math import inf
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.answer import Answer
from tests.support.asking import waits
from tests.support.daemon import Daemon
from tests.support.hls_lists import single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.hls_reading import endpoint
from tests.support.inv import eventually, labelled
from tests.support.origin import Origin

VIEWERS = 1_000
SCRAPES = 50
"""A second."""


async def test_a_failover_is_counted_with_its_gap(daemon: Daemon, origin: Origin) -> None:
    # Enough for a keyframe, which comes every 2 s: before one there is no media.
    origin.on("/short.ts", Answer(ts=True, rst=800_000), Answer(status=404))
    made = await daemon.post("/streams", url=origin.url("/short.ts"), failover_urls=[origin.url("/live.ts")])
    async with daemon.http.get(made["stream_endpoint"]) as response:
        await response.content.readexactly(1_000_000)
    assert sum((await labelled(daemon, "failovers_total")).values()) == 1
    assert await daemon.metric("failover_gap_seconds_count") == 1
    assert 0 < await daemon.metric("failover_gap_seconds_sum") < 5


async def test_targets_that_are_refused_are_counted_by_class(daemon: Daemon) -> None:
    for url in ("http://169.254.169.254/latest", "http://224.0.0.1/a.ts", "http://provider.example:25/a.ts"):
        async with daemon.http.post("/streams", json={"url": url}) as response:
            assert response.status == 422
    assert await labelled(daemon, "ssrf_blocked_total") == {"never": 2, "port": 1}
    assert (await labelled(daemon, "responses_total"))["422"] == 3


async def test_ffmpeg_that_we_end_is_counted_and_none_is_left(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post(
        "/transcode", url=origin.url("/live.ts"), profile="-i {input_url} -c copy -f mpegts pipe:1"
    )
    async with daemon.http.get(made["stream_endpoint"]) as response:
        await response.content.readexactly(188)
        assert await labelled(daemon, "ffmpeg_processes") == {"transcode_ts": 1}
        await eventually(lambda: _is(daemon, "processes", 1), within=8)
    await daemon.http.delete(f"/streams/{made['stream_id']}")
    assert await labelled(daemon, "ffmpeg_kills_total") == {"SIGTERM": 1}
    await eventually(lambda: _is(daemon, "processes", 0), within=8)


async def _is(daemon: Daemon, name: str, value: float) -> bool:
    return await daemon.metric(name) == value


async def test_each_viewer_is_one_line_on_joining_and_one_on_leaving(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    headers = {"X-Forwarded-For": "203.0.113.77"}
    async with daemon.http.get(f"{made['stream_endpoint']}?client_id=tv", headers=headers) as response:
        await response.content.readexactly(188)

    def lines() -> list[str]:
        return [
            line.split(" ", 1)[1] for line in daemon.log if " viewer joined" in line or " viewer left" in line
        ]

    async def both() -> bool:
        return len(lines()) == 2

    await eventually(both)
    joined, left = lines()
    about = f"stream={made['stream_id']} viewer=tv peer="
    assert joined.startswith(f"INFO m3u_proxy.pool.herald: viewer joined {about}")
    assert left.startswith("INFO m3u_proxy.pool.herald: viewer left: client_left, ")
    assert f" bytes {about}" in left
    assert "203.0.113.77" not in joined + left
    assert "127.0.0.1" not in joined + left


async def test_settings_without_effect_are_named_in_one_line(tmp_path: Path) -> None:
    async with Daemon(tmp_path, REDIS_ENABLED="true", WORKERS="2", MAX_STREAMS="7") as daemon:
        told = [line for line in daemon.log if "without effect" in line]
    assert len(told) == 1
    assert told[0].endswith(
        "WARNING m3u_proxy.daemon.app: set, but without effect in this version: REDIS_ENABLED, WORKERS"
    )


@pytest.mark.timeout(90)
async def test_scrapes_cost_little_beside_many_viewers(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia
) -> None:
    """F106."""
    news = provider.add(single("news", media.high))
    provider.play("news")
    url = await endpoint(daemon, provider.url(news.path()))
    connector = aiohttp.TCPConnector(limit=20)
    async with aiohttp.ClientSession(connector=connector) as http:

        async def poll(number: int) -> None:
            async with http.get(f"{url}?client_id=v{number}") as response:
                assert response.status == 200
                await response.read()

        await poll(0)
        await asyncio.gather(*(poll(number) for number in range(1, VIEWERS)))
        assert await daemon.metric("viewers") == VIEWERS
        series = len((await _scrape(daemon)).splitlines())
        for path in ("/metrics", "/stats"):
            assert await _quickest(daemon, path, 0.1) < 0.1
        assert len((await _scrape(daemon)).splitlines()) <= series + 5


async def _scrape(daemon: Daemon) -> str:
    async with daemon.http.get("/metrics") as response:
        return await response.text()


async def _quickest(daemon: Daemon, path: str, wanted: float) -> float:
    """The least 99th percentile of ten seconds: other programs of the machine are none of its business."""
    p99 = inf
    for _ in range(10):
        p99 = min(p99, (await waits(daemon.http, path, SCRAPES))[-1 - SCRAPES // 100])
        if p99 < wanted:
            break
    return p99


def _filled(reader: int) -> int:
    """Bytes that wait in a pipe."""
    count: int = struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, b"\0" * 4))[0]
    return count


async def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path, origin: Origin, free_port: int) -> None:
    """The pipe behind stdout is full: media flow, the loop is in time, and SIGTERM ends it."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    places = {"STATE_DIR": str(tmp_path), "HLS_TEMP_DIR": str(tmp_path / "hls")}
    environ = {**os.environ, **places, "HOST": "127.0.0.1", "PORT": str(free_port), "LOG_LEVEL": "debug"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "m3u_proxy"), env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=writer
    )
    os.close(writer)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{free_port}") as http:

            async def is_up() -> bool:
                try:
                    async with http.get("/livez") as response:
                        return response.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            await eventually(is_up, within=20)
            async with http.post("/streams", json={"url": origin.url("/live.ts")}) as response:
                path = (await response.json())["stream_endpoint"]

            async def watch() -> None:
                async with http.get(path) as body:
                    await body.content.readexactly(188)

            async def is_full() -> bool:
                await asyncio.gather(*(watch() for _ in range(10)))
                return _filled(reader) > 4096 - 300

            await eventually(is_full, within=20)
            before = await _late(http)
            async with http.get(path) as body:
                began = time.monotonic()
                while time.monotonic() - began < 2:
                    assert await body.content.readany()
            assert await _late(http) - before <= 1
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 9) == 0
    finally:
        os.close(reader)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _late(http: aiohttp.ClientSession) -> float:
    """How often the loop was more than a quarter of a second late."""
    async with http.get("/metrics", headers={"Accept": "text/plain"}) as response:
        text = await response.text()
    (lag,) = [one for one in text_string_to_metric_families(text) if one.name == "m3u_proxy_loop_lag_seconds"]
    counts = {one.labels.get("le"): one.value for one in lag.samples}
    return counts["+Inf"] - counts["0.25"]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
