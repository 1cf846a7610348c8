"""Who carries our mark, whoever its parent is."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys

from m3u_proxy.ffmpeg.process.confine import MARKER
from m3u_proxy.observe.census import CensusTaker, look
from tests.support.inv import eventually

SLEEP = ["sleep", "60"]
# Starts a grandchild and ends: the grandchild then belongs to nobody who knows of it.
ORPHAN = (
    "import subprocess, sys\n"
    "child = subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=subprocess.DEVNULL)\n"
    "sys.stdout.write(str(child.pid))\n"
)


async def test_children_and_orphans_are_counted_and_others_are_not() -> None:
    instance = secrets.token_hex(8)
    marked = {**os.environ, MARKER: instance}
    taker = CensusTaker(instance)
    task = asyncio.create_task(taker.run())
    mine = await asyncio.create_subprocess_exec(*SLEEP, env=marked)
    other = await asyncio.create_subprocess_exec(*SLEEP, env={**os.environ, MARKER: instance + "0"})
    try:
        mark = f"{MARKER}={instance}".encode()
        assert (await asyncio.to_thread(look, mark)).processes == 1
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", ORPHAN], env=marked, stdout=subprocess.PIPE, check=True
        )
        try:
            assert (await asyncio.to_thread(look, mark)).processes == 2
        finally:
            os.kill(int(done.stdout), 9)
        await eventually(lambda: _first_look(taker))
        assert taker.last.fds > 3
        assert taker.last.resident_bytes > 2**20
    finally:
        task.cancel()
        await asyncio.wait([task])
        for child in (mine, other):
            child.kill()
            await child.wait()
    await eventually(lambda: _is_alone(mark))  # SIGKILL takes its time


async def _is_alone(mark: bytes) -> bool:
    return (await asyncio.to_thread(look, mark)).processes == 0


async def _first_look(taker: CensusTaker) -> bool:
    return taker.last.fds > 0
