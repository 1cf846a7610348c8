"""What must hold after every fault, as far as it can be seen from outside the daemon.

``async with rig(tmp_path, origin) as daemon:`` starts a daemon with short waits and, once the body of the
test is through, ends its streams and looks for what they left behind.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.support.daemon import Daemon, descendants
from tests.support.fake_ffmpeg import children_of, state
from tests.support.origin import Answer, Origin
from tests.support.patience import patience
from tests.support.tsverify import slices_of, verify

PATIENCE = 10.0
"""Seconds in which everything has to be gone after the last stream was deleted."""
SPARE_FDS = 2
SPARE_THREADS = 8
"""The loop's helper threads stay once they were needed."""
GRACE = 1.0
"""Seconds a rig keeps source and FFmpeg after the last viewer."""
NOT_IN_A_LOG = ("Traceback", "never retrieved", "never awaited", "Unclosed", "crashed")


@asynccontextmanager
async def rig(
    home: Path, *origins: Origin, kept: Collection[str] = (), **environ: str
) -> AsyncIterator[Daemon]:
    """A daemon with a grace of 1 s whose invariants are checked at the end.

    ``kept`` names entries of its segment directory that are none of its business.
    """
    short = {"SHARED_STREAM_GRACE": str(GRACE), "CLIENT_TIMEOUT": "1", "HLS_SEGMENT_DURATION": "1"}
    async with Daemon(home, **short | environ) as daemon:
        await daemon.http.close()
        # A connection that is kept would count as one of its descriptors.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        timeout = aiohttp.ClientTimeout(total=30)
        daemon.http = aiohttp.ClientSession(daemon.url, connector=connector, timeout=timeout)
        before = await look(daemon)
        yield daemon
        await delete_all(daemon)
        await settled(daemon, *origins, before=before, kept=kept)
    assert daemon.process.returncode == 0, daemon.process.returncode
    assert not bad_lines(daemon), bad_lines(daemon)


@dataclass(frozen=True)
class Footprint:
    """What a daemon holds: open descriptors and threads."""

    fds: int
    threads: int


async def look(daemon: Daemon) -> Footprint:
    """Now, while a connection of this test is open."""
    await daemon.get("/health")
    proc = f"/proc/{daemon.pid}"
    return Footprint(len(os.listdir(f"{proc}/fd")), len(os.listdir(f"{proc}/task")))


async def delete_all(daemon: Daemon) -> None:
    """Delete every stream that is listed."""
    for row in (await daemon.get("/streams"))["streams"]:
        async with daemon.http.delete(f"/streams/{row['stream_id']}") as response:
            assert response.status in {200, 404}, await response.text()


async def settled(daemon: Daemon, *origins: Origin, before: Footprint, kept: Collection[str] = ()) -> None:
    """Wait until nothing is left of any stream; fails with a list of what is."""
    left: list[str] = []

    async def nothing() -> bool:
        left[:] = await remains(daemon, *origins, before=before, kept=kept)
        return not left

    try:
        await eventually(nothing, PATIENCE)
    except TimeoutError:
        raise AssertionError("left behind: " + "; ".join(left)) from None


async def remains(
    daemon: Daemon, *origins: Origin, before: Footprint, kept: Collection[str] = ()
) -> list[str]:
    """Everything that should be gone and is not."""
    now = await look(daemon)
    found = [f"process {pid}" for pid in descendants(daemon.pid)]
    found += [f"zombie {pid}" for pid in children_of(daemon.pid) if state(pid) == "Z"]
    found += [f"directory {path.name}" for path in daemon.segments.glob("*") if path.name not in kept]
    for origin in origins:
        found += [f"connection to {one.path}" for one in origin.connections if one.closed is None]
    for name in ("viewers", "ffmpeg_processes", "upstream_connections", "task_crashes_total"):
        if value := await daemon.metric(name):
            found.append(f"{name} = {value:g}")
    if now.fds > before.fds + SPARE_FDS:
        found.append(f"{now.fds} descriptors, were {before.fds}")
    if now.threads > before.threads + SPARE_THREADS:
        found.append(f"{now.threads} threads, were {before.threads}")
    return found


def bad_lines(daemon: Daemon) -> list[str]:
    """Lines of its log that speak of a mistake in the program."""
    return [line for line in daemon.log if any(word in line for word in NOT_IN_A_LOG)]


async def eventually(true: Callable[[], Awaitable[bool]], within: float = 15.0, every: float = 0.05) -> float:
    """Ask until the answer is yes; the seconds it took, TimeoutError after ``within``."""
    began = time.monotonic()
    async with patience(within):
        while not await true():
            await asyncio.sleep(every)
    return time.monotonic() - began


async def labelled(daemon: Daemon, name: str) -> dict[str, float]:
    """Values of a metric with one label, those above 0 by the label's value."""
    text = await daemon.metrics(name)
    rows = re.findall(rf'^m3u_proxy_{name}\{{\w+="([^"]*)"\}} (\S+)$', text, re.MULTILINE)
    return {label: float(value) for label, value in rows if float(value)}


def resident(pid: int) -> int:
    """Resident set of a process in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, without that of its children (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Reply:
    """An answer to a player."""

    status: int
    text: str
    retry_after: float | None


async def ask(daemon: Daemon, path: str) -> Reply:
    """GET something short."""
    async with daemon.http.get(path) as response:
        wait = response.headers.get("Retry-After")
        return Reply(response.status, await response.text(), float(wait) if wait else None)


async def answers(daemon: Daemon, path: str, status: int, within: float, *, every: float = 0.1) -> Reply:
    """Ask like an impatient player until the answer has this status; the others are in the message."""
    replies: list[Reply] = []

    async def wanted() -> bool:
        replies.append(await ask(daemon, path))
        return replies[-1].status == status

    try:
        await eventually(wanted, within, every)
    except TimeoutError:
        raise AssertionError(f"no {status} within {within} s, last: {replies[-1]}") from None
    return replies[-1]


@asynccontextmanager
async def control(daemon: Daemon, origin: Origin, path: str = "/control.ts") -> AsyncIterator[bytearray]:
    """A viewer of a healthy channel, beside the fault: afterwards it has lost no byte."""
    origin.on(path, Answer(ts=True))
    endpoint = (await daemon.post("/streams", url=origin.url(path)))["stream_endpoint"]
    capture = bytearray()
    started = asyncio.Event()

    async def watch() -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with daemon.http.get(endpoint, timeout=timeout) as response:
            assert response.status == 200, await response.text()
            async for piece in response.content.iter_any():
                capture.extend(piece)
                started.set()

    watching = asyncio.create_task(watch())
    try:
        await asyncio.wait_for(started.wait(), PATIENCE)
        yield capture
        assert not watching.done(), "the control viewer was cut"
        size = len(capture)

        async def goes_on() -> bool:
            return len(capture) > size

        await eventually(goes_on, PATIENCE)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    whole = bytes(capture[: len(capture) // 188 * 188])
    assert verify(whole).sync_errors == 0  # continuity breaks where the origin's recording begins again
    assert len(slices_of(whole, origin.ts)) == 1
    assert len(origin.path(path).connections) == 1
