"""A disk on which everything that changes a directory takes its time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CALLS = "fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,ftruncate"
PATIENCE = 10.0


@asynccontextmanager
async def slow_disk(pid: int, seconds: float) -> AsyncIterator[None]:
    """Those calls of a process, and of children that it starts meanwhile, take ``seconds`` longer."""
    inject = f"inject={CALLS}:delay_enter={int(seconds * 1e6)}"
    command = ["strace", "-f", "--seccomp-bpf", "-p", str(pid), "-e", f"trace={CALLS}", "-e", inject]
    tracer = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert tracer.stderr is not None
    seen = bytearray()
    reading = asyncio.create_task(_read(tracer.stderr, seen))
    try:
        async with asyncio.timeout(PATIENCE):
            while b"attached" not in seen:
                assert tracer.returncode is None, seen.decode()
                await asyncio.sleep(0.02)
        yield
        assert b"(DELAYED)" in seen, "nothing was slowed down"
    finally:
        if tracer.returncode is None:
            tracer.send_signal(signal.SIGINT)
        await tracer.wait()
        await reading


async def _read(stream: asyncio.StreamReader, seen: bytearray) -> None:
    while piece := await stream.read(1 << 16):
        seen += piece
