"""The whole program in the loop of the test: every event, task and count can be looked at, every call broken.

``async with inside(tmp_path) as house:`` starts it with short waits; at the end its streams are deleted and
nothing of them may be left.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from m3u_proxy.daemon.app import Daemon
from m3u_proxy.events import Event
from m3u_proxy.settings import load
from tests.support.fake_ffmpeg import children_of, state
from tests.support.house import read_events
from tests.support.inv import PATIENCE, SPARE_FDS, eventually

SHORT = {
    "SHARED_STREAM_GRACE": "0.2",
    "CLIENT_TIMEOUT": "1",
    "HLS_SEGMENT_DURATION": "1",
    "TERM_KILL": "0.5",
    "HW_ACCEL_AVAILABLE": "false",
}


class Inside:
    """A running program, a client of it, and what it has told so far."""

    def __init__(self, daemon: Daemon, http: aiohttp.ClientSession, segments: Path) -> None:
        self.daemon = daemon
        self.http = http
        self.segments = segments
        self.events: list[Event] = []
        self.connections: list[Callable[[], int]] = []
        """How many connections each provider still has open."""
        self._children = set(children_of(os.getpid()))
        self._fds = 0
        self._tasks: Counter[str] = Counter()

    async def begin(self) -> None:
        """What it holds now is what it may hold at the end."""
        await self.get("/health")
        self._fds = len(os.listdir("/proc/self/fd"))
        self._tasks = tasks()

    async def get(self, path: str) -> Any:
        """GET JSON; the answer must be 200."""
        async with self.http.get(path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        """POST a JSON object; the answer, which must be 200."""
        async with self.http.post(path, json=body) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer

    async def delete_all(self) -> None:
        """Delete every stream that is listed."""
        for row in (await self.get("/streams"))["streams"]:
            async with self.http.delete(f"/streams/{row['stream_id']}") as response:
                assert response.status in {200, 404}, await response.text()

    def children(self) -> set[int]:
        """Pids of its children, zombies too."""
        return set(children_of(os.getpid())) - self._children

    def left(self) -> list[str]:
        """Everything that should be gone when there is no stream any more, and is not."""
        audience = self.daemon.audience
        found = [f"viewer {viewer.client.id}" for viewer in audience.viewers]
        found += [f"running {run.kind} {run.state}" for run in audience.pool.running()]
        found += [f"slots {dict(held)}" for held in [audience.pool.parts.accounts.held()] if held]
        found += [f"event without its end: {stream}" for stream in read_events(self.events)]
        found += [f"directory {path.name}" for path in self.segments.iterdir()]
        found += [f"child {pid} {state(pid)}" for pid in self.children()]
        found += [f"{count} connections to a provider" for one in self.connections if (count := one())]
        found += [f"task {name}" for name in (tasks() - self._tasks)]
        if (fds := len(os.listdir("/proc/self/fd"))) > self._fds + SPARE_FDS:
            found.append(f"{fds} descriptors, were {self._fds}")
        return found

    async def empty(self) -> None:
        """Wait until nothing is left of any stream; fails with a list of what is."""

        async def is_empty() -> bool:
            return not self.left()

        try:
            await eventually(is_empty, PATIENCE, every=0.01)
        except TimeoutError:
            raise AssertionError("left behind: " + "; ".join(self.left())) from None


def tasks() -> Counter[str]:
    """Tasks of the loop by what they run; the one that asks does not count."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return Counter(getattr(task.get_coro(), "__qualname__", repr(task)) for task in others)


@asynccontextmanager
async def inside(home: Path, *connections: Callable[[], int], **environ: str) -> AsyncIterator[Inside]:
    """Started, and ended; ``connections`` tell how many a provider has open.

    Starting blocks: do it in a fixture of a module, which the look-out for blocking calls does not see.
    """
    segments = home / "hls"
    place = {"HOST": "127.0.0.1", "PORT": "0", "STATE_DIR": str(home), "HLS_TEMP_DIR": str(segments)}
    settings = load(place | SHORT | environ)
    async with Daemon(settings, lambda: 0) as daemon:
        _, port = daemon.addresses[0]
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{port}",
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=30),
        ) as http:
            house = Inside(daemon, http, segments)
            house.connections += connections
            daemon.audience._herald._bus.subscribe(house.events.append)
            await house.begin()
            yield house
            await house.delete_all()
            await house.empty()
