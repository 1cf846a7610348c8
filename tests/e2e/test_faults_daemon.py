"""The daemon is told to stop under load, killed at any moment, and its tasks crash."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from pkgutil import resolve_name

import aiohttp
import pytest

from m3u_proxy.daemon import background as background_module
from m3u_proxy.daemon.app import Daemon as App
from m3u_proxy.settings import load
from tests.support.daemon import Daemon, alive, descendants
from tests.support.fake_ffmpeg import until
from tests.support.inv import answers
from tests.support.origin import Origin
from tests.support.stepped import until as eventually

COPY = "-i {input_url} -c copy -metadata track=%d -f hls index.m3u8"
VIEWERS = 60
WRITERS = 4


async def transcode(daemon: Daemon, origin: Origin, number: int = 0) -> str:
    """Endpoint of one of many outputs of the channel."""
    body = {"url": origin.url("/live.ts"), "profile": COPY % number}
    return str((await daemon.post("/transcode", **body))["stream_endpoint"])


async def test_it_stops_under_load_and_says_so_meanwhile(tmp_path: Path, origin: Origin) -> None:
    """F62: SIGTERM with viewers of both kinds and several FFmpeg; one player takes nothing."""
    async with Daemon(tmp_path, DRAIN="2") as daemon, AsyncExitStack() as stack:
        plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
        bodies = [await stack.enter_async_context(daemon.http.get(plain)) for _ in range(VIEWERS)]
        endpoints = [await transcode(daemon, origin, number) for number in range(WRITERS)]
        lists = await asyncio.gather(*(answers(daemon, path, 200, 15.0) for path in endpoints))
        children = descendants(daemon.pid)
        assert len(children) == WRITERS
        url = next(line for line in lists[0].text.splitlines() if line.startswith("/"))
        still = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
        still.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        still.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 8)
        still.recv(1, socket.MSG_PEEK)
        kept = await stack.enter_async_context(
            aiohttp.ClientSession(daemon.url, connector=aiohttp.TCPConnector(limit=2))
        )
        for path in ("/livez", "/livez"):
            async with kept.get(path) as response:
                assert response.status == 200
        began = asyncio.get_running_loop().time()
        daemon.process.send_signal(signal.SIGTERM)
        await until(lambda: any("draining" in line for line in daemon.log))
        async with kept.get("/health") as response:
            assert response.status == 503
        async with kept.get(endpoints[0]) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "3"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", daemon.port)
        ends = [body.content.read() for body in bodies]
        await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), 9.0)
        assert await daemon.process.wait() == 0
        assert asyncio.get_running_loop().time() - began < 9.0
    assert not [pid for pid in children if alive(pid)]
    assert list(daemon.segments.iterdir()) == []
    assert not [line for line in daemon.log if "Traceback" in line or "never retrieved" in line]


MOMENTS: dict[str, Callable[[Daemon], bool]] = {
    "at once": lambda daemon: True,
    "a directory": lambda daemon: any(daemon.segments.iterdir()),
    "a process": lambda daemon: bool(descendants(daemon.pid)),
    "a segment": lambda daemon: any(daemon.segments.glob("*/*.ts")),
    "a playlist": lambda daemon: any(daemon.segments.glob("*/*.m3u8")),
}


async def test_killed_at_any_moment_the_next_start_cleans_up(tmp_path: Path, origin: Origin) -> None:
    """F65: SIGKILL; no process survives, a file of another's name stays with its directory."""
    kept: set[Path] = set()
    for moment, has_come in [*MOMENTS.items(), *random.Random(65).sample(list(MOMENTS.items()), 1)]:
        async with Daemon(tmp_path) as daemon:
            left = set(daemon.segments.iterdir()) - kept
            await until(lambda gone=left: not any(path.exists() for path in gone), 3.0)  # type: ignore[misc]
            paths = [await transcode(daemon, origin, number) for number in range(2)]
            joins = [asyncio.ensure_future(daemon.http.get(path)) for path in paths]
            await until(lambda come=has_come, it=daemon: come(it), 15.0)  # type: ignore[misc]
            children = descendants(daemon.pid)
            daemon.process.kill()
            await until(lambda pids=children: not any(alive(pid) for pid in pids), 3.0)  # type: ignore[misc]
            with suppress(aiohttp.ClientError):
                await asyncio.gather(*joins)
        new = [path for path in daemon.segments.iterdir() if path not in kept]
        if moment == "a playlist" and not kept:
            (new[0] / "notes.txt").write_text("mine")
            kept.add(new[0])
    async with Daemon(tmp_path) as daemon:
        await until(lambda: set(daemon.segments.iterdir()) == kept)
    assert [path.read_text() for one in kept for path in one.iterdir() if path.name == "notes.txt"] == [
        "mine"
    ]


@pytest.mark.needs("root", "unshare")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_as_the_first_process_of_a_container(
    tmp_path: Path, origin: Origin, how: signal.Signals
) -> None:
    """F66: it stops when told, and nothing of it survives when its namespace is killed."""
    daemon = Daemon(tmp_path)
    daemon.wrapper = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    async with daemon:
        await answers(daemon, await transcode(daemon, origin), 200, 15.0)
        first, *children = descendants(daemon.pid)
        assert children
        os.kill(first, how)
        code = await asyncio.wait_for(daemon.process.wait(), 9.0)
        assert (code == 0) == (how is signal.SIGTERM)
        await until(lambda: not any(alive(pid) for pid in [first, *children]))
    assert any(daemon.segments.iterdir()) == (how is signal.SIGKILL)


TASKS = {
    "sweeper": "m3u_proxy.pool.audience.Audience.run",
    "loop-lag": "m3u_proxy.observe.lag.LoopLag.run",
    "disk-guard": "m3u_proxy.storage.disk.DiskGuard.run",
    "recovery": "m3u_proxy.daemon.upkeep.recovery.recover",
    "collector": "m3u_proxy.daemon.upkeep.recovery.collect_periodically",
}


@pytest.mark.may_block
@pytest.mark.parametrize("task", TASKS)
async def test_a_task_that_crashes_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, task: str
) -> None:
    """F70: each background task of the program."""
    calls: list[object] = []

    def crash(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("a mistake")
        return original(*arguments, **options)

    original = resolve_name(TASKS[task])
    monkeypatch.setattr(TASKS[task], crash)
    monkeypatch.setattr(background_module, "FIRST_PAUSE", 0.001)
    place = {"HOST": "127.0.0.1", "PORT": "0", "STATE_DIR": str(tmp_path), "HW_ACCEL_AVAILABLE": "false"}
    async with App(load(place), lambda: 0) as app:
        await eventually(lambda: len(calls) >= 2)
        assert +app.background.crashes == {task: 1}
        assert not app.background.degraded
    assert caplog.text.count("RuntimeError: a mistake") == 1
