"""The last attempts at providers, kept over restarts: a crash loop of ours is no storm at theirs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from m3u_proxy.storage.private import PrivateFile
from m3u_proxy.upstream.pacing import MEMORY, Pacer

log = logging.getLogger(__name__)

NAME = "pacing.json"
VERSION = 1
INTERVAL = 0.5
"""Seconds from a change to its being written; what a process is killed within is lost."""


class Paces:
    """Keeps what ``pacer`` knows in ``directory``; its caller owns the task of `run`.

    Between two runs only the time of day goes on, and it jumps: a file from the future counts as written
    just now, so that nobody waits longer than the pacer's own bounds.
    """

    def __init__(self, pacer: Pacer, directory: Path) -> None:
        self._pacer = pacer
        self._file = PrivateFile(directory / NAME, VERSION)
        self._written = pacer.changes
        self._lock = asyncio.Lock()
        self._is_failing = False

    def __repr__(self) -> str:
        return f"<Paces {self._file.path}>"

    async def load(self) -> None:
        """Take in what an earlier run has kept. Never raises for what the file holds."""
        state = await asyncio.to_thread(self._file.read)
        age, values = _age(state.get("at"), time.time()), state.get("pacing")
        if isinstance(values, Mapping) and age < MEMORY:
            self._pacer.load(values, time.monotonic() - age)
        self._written = self._pacer.changes

    async def run(self) -> None:
        """Write what has changed, soon, for ever."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.save()

    async def save(self) -> None:
        """Write now if anything has changed. A file that cannot be written is told once."""
        async with self._lock:
            changes = self._pacer.changes
            if changes == self._written:
                return
            values = {"at": time.time(), "pacing": self._pacer.dump(time.monotonic())}
            try:
                await asyncio.to_thread(self._file.write, values)
            except OSError as error:
                if not self._is_failing:
                    log.warning("%s not written: %s", self._file.path, error.strerror)
                self._is_failing = True
            else:
                self._written, self._is_failing = changes, False


def _age(at: object, now: float) -> float:
    """Seconds since ``at``; what is no time at all is as old as can be."""
    return max(0.0, now - at) if isinstance(at, int | float) and abs(at) < 1e12 else MEMORY
