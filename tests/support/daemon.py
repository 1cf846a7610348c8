"""A real daemon in a process of its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

START_PATIENCE = 20.0
STOP_PATIENCE = 15.0
_LISTENS = re.compile(r"listens on (\S+) port (\d+)")


class Daemon:
    """``async with Daemon(tmp_path, API_TOKEN="x") as daemon``: started, reachable, and ended with the test.

    ``log`` collects its output. ``home`` holds everything it writes.
    """

    def __init__(self, home: Path, *arguments: str, **environ: str) -> None:
        self.home = home
        self.segments = home / "hls"
        self.log: list[str] = []
        self.port = 0
        self.wrapper: tuple[str, ...] = ()
        """A command that starts it, and its arguments; ``pid`` is then that of the command."""
        self._arguments = arguments
        self._environ = {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "STATE_DIR": str(home),
            "HLS_TEMP_DIR": str(self.segments),
            **environ,
        }
        self._reader: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    async def start(self) -> None:
        """Start and wait until it listens; raises with its output when it does not."""
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        self.process = await asyncio.create_subprocess_exec(
            *self.wrapper,
            sys.executable,
            "-m",
            "m3u_proxy",
            *self._arguments,
            env=base | self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read())
        waiting = asyncio.create_task(self._listening.wait())
        done, _ = await asyncio.wait(
            [waiting, self._reader], timeout=START_PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if waiting not in done:
            raise AssertionError("the daemon did not start:\n" + "\n".join(self.log))

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.log.append(line)
            if found := _LISTENS.search(line):
                self.port = int(found[2])
                self._listening.set()

    async def __aenter__(self) -> Self:
        await self.start()
        self.http = aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(total=30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()
        try:
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self.process.wait(), STOP_PATIENCE)
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
            if self._reader is not None:
                await self._reader
            if error is not None:
                print("\n".join(["daemon:", *self.log]))

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        """POST a JSON object; the answer, which must be 200."""
        async with self.http.post(path, json=body) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer

    async def get(self, path: str) -> Any:
        """GET JSON; the answer must be 200."""
        async with self.http.get(path) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def stream_ids(self) -> set[str]:
        """Ids of the streams there are; those of other tests may go meanwhile."""
        return {row["stream_id"] for row in (await self.get("/streams"))["streams"]}

    async def metrics(self, name: str) -> str:
        """The whole exposition, in which this metric must be declared."""
        async with self.http.get("/metrics") as response:
            text = await response.text()
        family = re.sub(r"(_sum|_count|_bucket)?(\{.*)?$", "", name)
        assert re.search(rf"^# TYPE m3u_proxy_{family}(_count)? ", text, re.MULTILINE), f"no metric {name}"
        return text

    async def metric(self, name: str) -> float:
        """Sum of a metric over its labels; it must be one that there is."""
        text = await self.metrics(name)
        rows = [line for line in text.splitlines() if re.match(rf"m3u_proxy_{name}(\{{|\s)", line)]
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows)


def descendants(pid: int) -> list[int]:
    """Living processes below ``pid``; zombies do not count."""
    parents = _children()
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def living_children(pid: int) -> list[int]:
    """Living processes whose parent is ``pid``; zombies do not count."""
    return _children().get(pid, [])


def _children() -> dict[int, list[int]]:
    """All living processes, by their parents."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
            except OSError:  # it has ended meanwhile
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(name))
    return parents


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
