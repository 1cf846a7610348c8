"""What players do: fall silent behind an open connection, come too late, change channels too fast."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from m3u_proxy.events import EventType
from tests.support.daemon import Daemon, descendants
from tests.support.fake_ffmpeg import FakeFFmpeg, until
from tests.support.inside import inside
from tests.support.inv import answers, ask, control, eventually, rig
from tests.support.origin import Answer, Origin
from tests.support.stepped import settle

COPY = "-i {input_url} -c copy -f hls index.m3u8"
CHANNELS = 100
GRACE = 0.2
TTL = 3.0
"""Seconds after which a player of HLS is gone: three target durations of 1 s."""


async def transcode(daemon: Daemon, origin: Origin) -> str:
    """Endpoint of the channel as HLS."""
    return str((await daemon.post("/transcode", url=origin.url("/live.ts"), profile=COPY))["stream_endpoint"])


@pytest.mark.may_block
async def test_a_player_that_stops_asking_is_gone_although_its_connection_is_not(
    tmp_path: Path, origin: Origin
) -> None:
    """F93, F98: a reverse proxy, or a player, that keeps its connection; one event, and nothing is left."""
    fake = FakeFFmpeg(tmp_path, segment_every=0.1)
    async with inside(tmp_path, FFMPEG_PATH=str(fake.path)) as house:
        body = {"url": origin.url("/live.ts"), "profile": COPY, "permanent": True}
        endpoint = (await house.post("/transcode", **body))["stream_endpoint"]
        async with aiohttp.ClientSession(house.http._base_url) as keeping:
            async with keeping.get(endpoint) as response:
                assert response.status == 200
                await response.read()
            silent = time.monotonic()
            viewers = house.daemon.audience.viewers
            assert len(viewers) == 1
            await until(lambda: len(viewers) == 0, TTL + 2.0)
            assert time.monotonic() - silent >= 1.0
            await until(lambda: not house.children() and not list(house.segments.iterdir()), GRACE + 3.0)
            await origin.until(lambda: origin.path("/live.ts").live == 0, within=3.0)
        ends = [one.data["reason"] for one in house.events if one.type is EventType.CLIENT_DISCONNECTED]
        assert ends == ["timeout"]


async def test_reverse_proxies_are_asked_not_to_buffer(daemon: Daemon, origin: Origin) -> None:
    """F93: what nginx needs to be told for an endless body."""
    endpoint = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
    async with daemon.http.get(endpoint) as response:
        assert response.headers["X-Accel-Buffering"] == "no"


async def test_a_segment_that_has_just_expired(tmp_path: Path, origin: Origin) -> None:
    """F96: a player that is one window behind."""
    fake = FakeFFmpeg(tmp_path, segment_every=0.05)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon:
        endpoint = await transcode(daemon, origin)
        first = await answers(daemon, endpoint, 200, 10.0)
        url = next(line for line in first.text.splitlines() if line.startswith("/"))
        seen: list[int] = []

        async def is_gone() -> bool:
            await ask(daemon, endpoint)
            async with daemon.http.get(url) as response:
                seen.append(response.status)
                if response.status != 404:
                    return False
                assert "no-store" in response.headers["Cache-Control"]
                return True

        await eventually(is_gone, 10.0)
        assert set(seen) == {200, 404}


async def test_a_zap_storm_inside_an_account_of_one_connection(tmp_path: Path, origin: Origin) -> None:
    """F91: a player that changes the channel before, while and after it gets something."""
    for number in range(CHANNELS):
        origin.on(f"/live/u/p/{number}.ts", Answer(ts=True))
    async with rig(tmp_path, origin, ACCOUNT_LIMITS="127.0.0.1=1") as daemon:
        paths = []
        for number in range(CHANNELS):
            url = origin.url(f"/live/u/p/{number}.ts")
            paths.append((await daemon.post("/streams", url=url))["stream_endpoint"])
        statuses: set[int] = set()

        async def watch(path: str) -> None:
            async with daemon.http.get(path) as response:
                statuses.add(response.status)
                while await response.content.readany():
                    pass

        for number, path in enumerate(paths):
            asked = origin.path(f"/live/u/p/{number}.ts")
            watching = asyncio.create_task(watch(path))
            if number % 3 == 1:
                await origin.until(lambda log=asked: bool(log.connections))  # type: ignore[misc]
            elif number % 3 == 2:
                await origin.until(lambda log=asked: any(one.sent for one in log.connections))  # type: ignore[misc]
            else:
                await settle()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        async with daemon.http.get(paths[0]) as response:
            assert response.status == 200
            await response.content.readexactly(188)
        assert statuses <= {200}
        moments = [(one.opened, 1) for one in origin.connections]
        moments += [(one.closed, -1) for one in origin.connections if one.closed is not None]
        now = 0
        for _, change in sorted(moments):
            now += change
            assert now <= 1


@pytest.mark.needs("root", "strace")
async def test_a_slow_disk_slows_down_only_who_writes_to_it(tmp_path: Path, origin: Origin) -> None:
    """F79: every write of FFmpeg takes half a second."""
    async with rig(tmp_path, origin, CLIENT_TIMEOUT="30") as daemon, control(daemon, origin):
        endpoint = await transcode(daemon, origin)
        await answers(daemon, endpoint, 200, 15.0)
        (pid,) = descendants(daemon.pid)
        strace = shutil.which("strace")
        assert strace is not None
        tracer = await asyncio.create_subprocess_exec(
            *(strace, "-f", "-p", str(pid), "-e", "trace=write,fsync,rename"),
            *("-e", "inject=write,fsync,rename:delay_enter=500000", "-o", str(tmp_path / "trace")),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await until((tmp_path / "trace").exists, 5.0)
            latencies = []
            while (tmp_path / "trace").read_text().count("DELAYED") < 6:
                began = time.monotonic()
                assert (await ask(daemon, endpoint)).status == 200
                latencies.append(time.monotonic() - began)
                assert len(latencies) < 20_000
            assert sorted(latencies)[len(latencies) // 2] < 0.05
        finally:
            tracer.terminate()
            await tracer.wait()
