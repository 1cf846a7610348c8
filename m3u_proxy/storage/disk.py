"""How much room is left where streams are written, and whether another writer may start.

FFmpeg on a full disk can keep running and say nothing, so free space and free inodes are looked at on their
own clock, once a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m3u_proxy.errors import Unavailable

log = logging.getLogger(__name__)

WARN_PERCENT = 20
FULL_PERCENT = 5
FULL_BYTES = 64 * 1024 * 1024
INTERVAL = 1.0
"""Seconds between two looks."""
RELIEF_LOOKS = 2
"""Looks in a row that must find room before the pressure is over: at the brim it would flap."""

Level = Literal["ok", "warn", "full"]
SpaceState = Literal["ok", "low", "critical"]


@dataclass(frozen=True, slots=True)
class Space:
    """Room on one filesystem, as an unprivileged process sees it. A total of 0 means it does not count."""

    free_bytes: int
    total_bytes: int
    free_inodes: int
    total_inodes: int

    def __str__(self) -> str:
        """For people."""
        room = f"{self.free_bytes / 2**20:.1f} of {self.total_bytes / 2**20:.1f} MiB"
        return f"{room} and {self.free_inodes} of {self.total_inodes} inodes are free"


def look(path: Path) -> Space:
    """Ask the filesystem that holds ``path``; blocking, raises `OSError`."""
    figures = os.statvfs(path)
    return Space(
        free_bytes=figures.f_bavail * figures.f_frsize,
        total_bytes=figures.f_blocks * figures.f_frsize,
        free_inodes=figures.f_favail,
        total_inodes=figures.f_files,
    )


def judge(space: Space) -> Level:
    """``full``: no new writer. ``warn``: less than a fifth of the bytes or inodes is free."""
    counts_bytes = space.total_bytes > 0
    if counts_bytes and space.free_bytes < FULL_BYTES:
        return "full"
    pairs = [(space.free_bytes, space.total_bytes), (space.free_inodes, space.total_inodes)]
    if any(free * 100 < total * FULL_PERCENT for free, total in pairs):
        return "full"
    if any(free * 100 < total * WARN_PERCENT for free, total in pairs):
        return "warn"
    return "ok"


def report(space: Space, warning_bytes: int, critical_bytes: int) -> SpaceState:
    """What the start, the log and ``/health`` call it; decides nothing. A threshold of 0 is off."""
    if space.total_bytes == 0 or space.free_bytes >= max(warning_bytes, critical_bytes):
        return "ok"
    return "critical" if space.free_bytes < critical_bytes else "low"


class DiskGuard:
    """Watches one filesystem; its caller owns the task of `run`.

    ``space`` is the last look (``None`` before the first, and while the path cannot be looked at),
    ``pressure`` whether it is too full for another writer. ``on_change`` is told each time ``pressure``
    changes, in the loop's thread.
    """

    def __init__(
        self, path: Path, *, on_change: Callable[[bool, Space], None], interval: float = INTERVAL
    ) -> None:
        self.space: Space | None = None
        self.pressure = False
        self._path = path
        self._on_change = on_change
        self._interval = interval
        self._level: Level | Literal["unknown"] = "ok"
        self._relief = 0

    def __repr__(self) -> str:
        return f"<Guard {self._level} {self.space}>"

    async def run(self) -> None:
        """Look every ``interval`` seconds, for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._interval)

    async def refresh(self) -> None:
        """Look once, now; a path that cannot be looked at changes nothing about ``pressure``."""
        try:
            self.space = await asyncio.to_thread(look, self._path)
        except OSError as error:
            self.space = None
            if self._level != "unknown":
                self._level = "unknown"
                log.warning("free space of %s is unknown: %s", self._path, error.strerror)
            return
        self._take(self.space)

    def _take(self, space: Space) -> None:
        level = judge(space)
        if level != self._level:
            self._level = level
            severity = logging.INFO if level == "ok" else logging.WARNING
            log.log(severity, "disk %s: %s in %s", level, space, self._path)
        self._relief = 0 if level == "full" else self._relief + 1
        pressure = level == "full" or (self.pressure and self._relief < RELIEF_LOOKS)
        if pressure != self.pressure:
            self.pressure = pressure
            self._on_change(pressure, space)

    def allow_writer(self) -> None:
        """Raise `Unavailable` (reason ``disk_full``) while there is no room for another writer."""
        if self.pressure:
            raise Unavailable(
                "Not enough free disk space for a new stream", reason="disk_full", retry_after=5.0
            )
