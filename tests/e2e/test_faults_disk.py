"""The disk under the segments fills up, turns read-only or loses a directory."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.support.daemon import Daemon, descendants
from tests.support.inv import answers, ask, control, eventually, rig
from tests.support.origin import Answer, Origin
from tests.support.player import polls
from tests.support.trees import remount, tmpfs

COPY = "-i {input_url} -c copy -f hls index.m3u8"
NOTICE = 12.0
"""Seconds until a failing disk has to be told to a viewer: the bound is 2 s, on an idle machine."""
RECOVERY = 10.0
"""Seconds until a viewer plays again once there is room: the bound is 5 s, on an idle machine."""
BALLAST = "ballast"


@pytest.fixture
async def origin(sample: bytes) -> AsyncIterator[Origin]:
    """The channel four times as fast, so that a segment takes half a second."""
    async with Origin(ts=sample, rate=8e6) as server:
        server.on("/live.ts", Answer(ts=True))
        yield server


async def transcode(daemon: Daemon, url: str, profile: str = COPY) -> str:
    """Endpoint of a transcoded stream."""
    return str((await daemon.post("/transcode", url=url, profile=profile))["stream_endpoint"])


def fill_bytes(root: Path) -> None:
    """Leave not one free block."""
    with (root / BALLAST).open("ab") as file, suppress(OSError):
        step = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize // 4096 * 4096
        while step:
            size = os.fstat(file.fileno()).st_size
            try:
                os.posix_fallocate(file.fileno(), size, step)
            except OSError:
                step = step // 2 // 4096 * 4096


@asynccontextmanager
async def watchful(daemon: Daemon, endpoint: str) -> AsyncIterator[list[str]]:
    """A player that stays through everything: never an empty playlist or segment, never a bare refusal."""
    mistakes: list[str] = []

    async def look() -> None:
        reply = await ask(daemon, endpoint)
        if reply.status == 503:
            if reply.retry_after is None:
                mistakes.append("503 without Retry-After")
            return
        uris = [line for line in reply.text.splitlines() if line and not line.startswith("#")]
        if reply.status != 200 or not uris:
            mistakes.append(f"playlist {reply.status} {reply.text[:200]!r}")
            return
        async with daemon.http.get(urljoin(endpoint, uris[-1])) as response:
            body = await response.read()
            if response.status == 200 and (not body or body[0] != 0x47 or len(body) % 188):
                mistakes.append(f"segment of {len(body)} bytes")

    async def watch() -> None:
        async for _ in polls(0.1):
            await look()

    watching = asyncio.create_task(watch())
    try:
        yield mistakes
        assert not watching.done(), watching.exception()
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert not mistakes, mistakes[:5]


@pytest.mark.may_block
@pytest.mark.needs("tmpfs")
@pytest.mark.timeout(90)
async def test_a_disk_that_fills_up_costs_the_stream_and_comes_back(tmp_path: Path, origin: Origin) -> None:
    """F75: full while running."""
    with tmpfs(tmp_path / "hls", size="80m") as root:
        async with rig(tmp_path, origin) as daemon, control(daemon, origin):
            endpoint = await transcode(daemon, origin.url("/live.ts"))
            await answers(daemon, endpoint, 200, 15.0)
            async with watchful(daemon, endpoint):
                fill_bytes(root)
                await answers(daemon, endpoint, 503, NOTICE)

                async def idle() -> bool:
                    return not descendants(daemon.pid) and [path.name for path in root.iterdir()] == [BALLAST]

                await eventually(idle, 5.0)
                await eventually(lambda: under_pressure(daemon), 5.0)
                starts = await daemon.metric("ffmpeg_starts_total")
                assert (await daemon.get("/health"))["status"] == "degraded"
                assert [
                    line for line in daemon.log if "disk pressure: no FFmpeg that writes is started; " in line
                ]
                began = time.monotonic()

                async def for_a_while() -> bool:
                    reply = await ask(daemon, endpoint)
                    assert reply.status == 503, reply
                    return time.monotonic() - began > 2.5

                await eventually(for_a_while, 20.0)
                assert await daemon.metric("ffmpeg_starts_total") == starts
                (root / BALLAST).unlink()
                back = await answers(daemon, endpoint, 200, RECOVERY)
                assert "#EXTINF" in back.text


@pytest.mark.may_block
@pytest.mark.needs("tmpfs")
async def test_nobody_joins_on_a_full_disk(tmp_path: Path, origin: Origin) -> None:
    """F76: full at the join."""
    with tmpfs(tmp_path / "hls", size="80m") as root:
        async with rig(tmp_path, origin, kept=[BALLAST]) as daemon, control(daemon, origin):
            fill_bytes(root)
            endpoint = await transcode(daemon, origin.url("/live.ts"))
            for _ in range(3):  # before and after the guard has noticed
                began = time.monotonic()
                refused = await ask(daemon, endpoint)
                assert refused.status == 503, refused
                assert refused.retry_after is not None
                assert time.monotonic() - began < 3.0
                await eventually(lambda: under_pressure(daemon), 5.0)
            assert [path.name for path in root.iterdir()] == [BALLAST]
            assert await daemon.metric("ffmpeg_starts_total") == 0
            async with daemon.http.get("/readyz") as response:
                assert response.status == 503
            pipe = await transcode(
                daemon, origin.url("/live.ts"), "-i {input_url} -c copy -f mpegts {output_args}"
            )
            async with daemon.http.get(pipe) as response:  # it writes nothing there
                assert response.status == 200
                await response.content.readexactly(188)


@pytest.mark.may_block
async def test_a_directory_that_is_deleted_is_replaced(tmp_path: Path, origin: Origin) -> None:
    """F78: the directory is deleted."""
    async with rig(tmp_path, origin) as daemon, control(daemon, origin):
        endpoint = await transcode(daemon, origin.url("/live.ts"))
        await answers(daemon, endpoint, 200, 15.0)
        async with watchful(daemon, endpoint):
            for whole in (False, True):
                (directory,) = daemon.segments.iterdir()
                shutil.rmtree(daemon.segments if whole else directory)
                refused = await answers(daemon, endpoint, 503, NOTICE)
                assert str(daemon.segments) not in refused.text
                await answers(daemon, endpoint, 200, RECOVERY)
                (another,) = daemon.segments.iterdir()
                assert another.name != directory.name


@pytest.mark.may_block
@pytest.mark.needs("tmpfs")
async def test_a_disk_that_turns_read_only(tmp_path: Path, origin: Origin) -> None:
    """F78: the file system turns read-only."""
    kept: list[str] = []
    with tmpfs(tmp_path / "hls", size="80m") as root:
        async with rig(tmp_path, origin, kept=kept) as daemon, control(daemon, origin):
            endpoint = await transcode(daemon, origin.url("/live.ts"))
            await answers(daemon, endpoint, 200, 15.0)
            kept += [path.name for path in root.iterdir()]
            async with watchful(daemon, endpoint):
                remount(root, "ro")
                await answers(daemon, endpoint, 503, NOTICE)
                await eventually(lambda: gone(daemon), 5.0)
                starts = await daemon.metric("ffmpeg_starts_total")
                began = time.monotonic()

                async def for_a_while() -> bool:
                    reply = await ask(daemon, endpoint)
                    assert reply.status == 503, reply
                    return time.monotonic() - began > 1.0

                await eventually(for_a_while, 20.0)
                assert await daemon.metric("ffmpeg_starts_total") == starts
                remount(root, "rw")
                await answers(daemon, endpoint, 200, RECOVERY)
        async with rig(tmp_path, origin):  # what could not be removed then goes with the next start
            await eventually(lambda: nothing_in(root), 5.0)


async def under_pressure(daemon: Daemon) -> bool:
    """Whether the guard has noticed that there is no room."""
    return await daemon.metric("disk_pressure") == 1


async def gone(daemon: Daemon) -> bool:
    """Whether no child is left."""
    return not descendants(daemon.pid)


async def nothing_in(root: Path) -> bool:
    """Whether a directory is empty."""
    return not list(root.iterdir())


async def test_a_source_alone_needs_no_disk(tmp_path: Path, origin: Origin) -> None:
    """F78: the parent is missing."""
    origin.on("/other.ts", Answer(ts=True))
    async with rig(tmp_path, origin) as daemon:
        shutil.rmtree(daemon.segments)
        endpoint = (await daemon.post("/streams", url=origin.url("/other.ts")))["stream_endpoint"]
        async with daemon.http.get(endpoint) as response:
            assert response.status == 200
            await response.content.readexactly(188)
