"""Debian's nginx in front of a daemon: any configuration, and the sample."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

CONFIG = Path(__file__).resolve().parents[2] / "docker" / "nginx.conf"
START_PATIENCE = 5.0


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class NginxProcess:
    """``async with`` starts it with the configuration ``text``, which listens at ``port``, and ends it.

    ``log`` is what it complained about.
    """

    def __init__(self, home: Path, port: int, text: str) -> None:
        self.port = port
        self.log: list[str] = []
        self._config = home / "nginx.conf"
        # Directories of tests are closed to others, such as the user nobody of the workers.
        user = "user root;\n" if os.geteuid() == 0 else ""
        self._config.write_text(user + text, encoding="utf-8")

    @property
    def url(self) -> str:
        """Base address, with the prefix that it cuts off."""
        return f"http://127.0.0.1:{self.port}/m3u-proxy"

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *("nginx", "-e", "stderr", "-c", str(self._config), "-g", "daemon off;"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())
        async with asyncio.timeout(START_PATIENCE):
            while not await self._listens():
                assert self.process.returncode is None, self.log
                await asyncio.sleep(0.05)
        return self

    async def _listens(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        await self._reader
        if error is not None:
            print("\n".join(["nginx:", *self.log]))

    def complaints(self) -> list[str]:
        """What it logged above a notice."""
        return [line for line in self.log if re.search(r"\[(warn|error|crit|alert|emerg)\]", line)]


class Nginx(NginxProcess):
    """``async with Nginx(home, daemon_port, segments)``: the sample, with ports and paths of a test."""

    def __init__(self, home: Path, daemon_port: int, segments: Path) -> None:
        port = free_port()
        text = CONFIG.read_text(encoding="utf-8")
        for old, new in (
            ("listen 8080;", f"listen 127.0.0.1:{port};"),
            ("server 127.0.0.1:8085;", f"server 127.0.0.1:{daemon_port};"),
            ("alias /segments/;", f"alias {segments}/;"),
            ("worker_processes auto;", "worker_processes 1;"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        super().__init__(home, port, text.replace("/tmp/m3u-proxy-nginx", f"{home}/nginx"))
