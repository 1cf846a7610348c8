"""Children for tests, made with few words."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from blockbuster import BlockBuster

from m3u_proxy.ffmpeg.process.child import Child
from m3u_proxy.ffmpeg.process.confine import Confinement
from tests.support.fake_ffmpeg import FakeFFmpeg

MIB = 1 << 20


def allow_spawning(detector: BlockBuster | None) -> None:
    """``Popen`` waits for its child's exec; that is the one blocking call in the loop."""
    if detector is not None:
        detector.functions["os.read"].can_block_in("subprocess.py", {"_execute_child"})


def make(
    argv: Sequence[str] | Callable[[int], Sequence[str]],
    cwd: Path,
    *,
    confinement: Confinement | None = None,
    stdin: bool = True,
    stdout: bool = False,
    stderr: bytearray | None = None,
    progress: bytearray | None = None,
) -> Child:
    return Child(
        argv,
        cwd=cwd,
        confinement=confinement or Confinement(marker="test"),
        stdin=stdin,
        stdout=stdout,
        on_stderr=(bytearray() if stderr is None else stderr).extend,
        on_progress=(bytearray() if progress is None else progress).extend,
    )


def child_of(fake: FakeFFmpeg, **options: Any) -> Child:
    return make([str(fake.path)], fake.path.parent, **options)


async def read_all(fd: int) -> bytes:
    """Everything up to the end of a non-blocking descriptor."""
    loop, wake, data = asyncio.get_running_loop(), asyncio.Event(), bytearray()
    loop.add_reader(fd, wake.set)
    try:
        while True:
            await wake.wait()
            wake.clear()
            try:
                piece = os.read(fd, MIB)
            except BlockingIOError:  # the wake-up was for what the last turn has read
                continue
            if not piece:
                return bytes(data)
            data += piece
    finally:
        loop.remove_reader(fd)


async def output_of(*argv: str, cwd: Path, confinement: Confinement | None = None) -> str:
    """What a command prints; its input ends as soon as it is wholly confined."""
    child = make(argv, cwd, stdout=True, confinement=confinement)
    child.start()
    child.close_stdin()
    try:
        assert child.stdout_fd is not None
        return (await read_all(child.stdout_fd)).decode()
    finally:
        await child.stop()
