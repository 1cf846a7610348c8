"""Debian's supervisord with the project's own ``supervisord.conf``, in a checkout of its own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from tests.support.daemon import descendants, living_children
from tests.support.nginx import free_port

ROOT = Path(__file__).resolve().parents[2]
START_PATIENCE = 20.0
STOP_PATIENCE = 20.0


class Supervised:
    """``async with Supervised(home, HLS_GC_INTERVAL="60") as supervised``: the daemon is ready then.

    Of the file only the place of socket and pid file is changed, as two tests may run at once. ``log`` is
    what supervisord and daemon wrote.
    """

    def __init__(self, home: Path, **environ: str) -> None:
        self.port = free_port()
        self.segments = home / "hls"
        self.log: list[str] = []
        self.wrapper: tuple[str, ...] = ()
        """A command that starts it, and its arguments."""
        self.left_out = ""
        """Options of the file, as a regular expression, without which it is started."""
        self.is_doomed = False
        """Whether nobody shall wait for the daemon, which is not going to start."""
        self.environ = {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "STATE_DIR": str(home),
            "HLS_TEMP_DIR": str(self.segments),
            **environ,
        }

    @property
    def url(self) -> str:
        """Base address of the daemon."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        """The file that supervisord was given."""
        return self.checkout / "supervisord.conf"

    async def __aenter__(self) -> Self:
        self.checkout = Path(
            tempfile.mkdtemp(prefix="m3u ")
        )  # a socket's path is short, and a blank is no word's end
        for name in ("main.py", "m3u_proxy", "docker"):
            (self.checkout / name).symlink_to(ROOT / name)
        (self.checkout / ".venv").symlink_to(sys.prefix)
        text = (ROOT / "supervisord.conf").read_text(encoding="utf-8")
        if self.left_out:
            text = re.sub(rf"(?m)^(?:{self.left_out})=.*\n", "", text)
        self.config.write_text(text.replace("/tmp/m3u-proxy", f"{self.checkout}/m3u-proxy"), encoding="utf-8")
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        # A pipe, as of a container: supervisord opens /dev/stdout, and uvloop would make it a socket.
        reading, writing = os.pipe()
        self._output = asyncio.StreamReader()
        self.process = await asyncio.create_subprocess_exec(
            *self.wrapper,
            *("supervisord", "-c", str(self.config)),
            cwd="/",
            env=base | self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=writing,
            stderr=writing,
            start_new_session=True,
        )
        os.close(writing)
        protocol = asyncio.StreamReaderProtocol(self._output)
        pipe = os.fdopen(reading, "rb", buffering=0)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, pipe)
        self._reader = asyncio.create_task(self._read())
        self.http = aiohttp.ClientSession(self.url, timeout=aiohttp.ClientTimeout(total=30))
        try:
            if not self.is_doomed:
                await self.ready()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def _read(self) -> None:
        async for raw in self._output:
            self.log.append(raw.decode(errors="replace").rstrip())

    async def ready(self) -> None:
        """Wait until the daemon can serve."""
        async with asyncio.timeout(START_PATIENCE):
            while True:
                try:
                    async with self.http.get("/readyz") as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)

    async def control(self, *words: str) -> str:
        """What ``supervisorctl`` answers."""
        process = await asyncio.create_subprocess_exec(
            *("supervisorctl", "-c", str(self.config), *words), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return output.decode().strip()

    def daemon(self) -> int:
        """The daemon's process: supervisord's only child."""
        (pid,) = living_children(self.process.pid)
        return pid

    async def end(self) -> float:
        """SIGTERM to supervisord; seconds until it has ended."""
        began = asyncio.get_running_loop().time()
        self.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(self.process.wait(), STOP_PATIENCE)
        return asyncio.get_running_loop().time() - began

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.close()
        left = descendants(self.process.pid)
        try:
            if self.process.returncode is None:
                await self.end()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
            await self._reader
            self._transport.close()
            shutil.rmtree(self.checkout)
            if error is not None:
                print("\n".join(["supervisord:", *self.log]))


def environ_of(pid: int) -> dict[str, str]:
    """The variables that a process was started with."""
    raw = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(re.findall(r"([^=\0]+)=([^\0]*)\0", raw))
