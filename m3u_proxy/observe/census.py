"""What the kernel says of this process and its children, looked at now and then in a thread.

A scrape never opens a file: it reads the newest ``Census``.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from m3u_proxy.ffmpeg.process import confine

INTERVAL = 5.0
"""Seconds between two looks."""
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Census:
    """One look."""

    processes: int = 0
    """Living processes whose environment carries the mark of this daemon, whoever their parent is."""
    fds: int = 0
    resident_bytes: int = 0


class CensusTaker:
    """Keeps the newest look in ``last``; its caller owns the task of ``run()``. ``instance`` is our id."""

    def __init__(self, instance: str) -> None:
        self.last = Census()
        self._mark = f"{confine.MARKER}={instance}".encode()

    async def run(self) -> None:
        """Look every ``INTERVAL`` seconds, for ever."""
        while True:
            self.last = await asyncio.to_thread(look, self._mark)
            await asyncio.sleep(INTERVAL)


def look(mark: bytes) -> Census:
    """Look once; ``mark`` is a ``NAME=value`` of the environment. Blocking."""
    statm = (_PROC / "self/statm").read_text(encoding="ascii").split()
    return Census(
        processes=sum(_carries(pid, mark) for pid in os.listdir(_PROC) if pid.isdigit()),
        fds=len(os.listdir(_PROC / "self/fd")) - 1,  # one of them is this very look
        resident_bytes=int(statm[1]) * os.sysconf("SC_PAGE_SIZE"),
    )


def _carries(pid: str, mark: bytes) -> bool:
    """Whether a process has the mark; one of somebody else's, or a zombie, shows no environment."""
    try:
        return mark in (_PROC / pid / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
