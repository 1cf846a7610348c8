"""Tasks that live as long as the daemon: owned, watched, started again when they crash."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Self

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds from a crash to the next start; doubled with each."""
CRASHES = 3
CRASH_WINDOW = 60.0
"""So many crashes within so many seconds are too many; a task that ran for longer has recovered."""


class Background:
    """``async with Background() as background: background.keep("sweeper", audience.run)``.

    A task that raises is logged once and started again after 1, 2, 4 … at most 30 s; after 1 s again when it
    had run for a minute. On exit all of them are cancelled and awaited.
    """

    def __init__(self) -> None:
        self.crashes: Counter[str] = Counter()
        """By task; 0 for one that never has."""
        self._recent: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def degraded(self) -> bool:
        """Whether tasks keep crashing: three times within a minute."""
        since = monotonic() - CRASH_WINDOW
        self._recent = [at for at in self._recent if at >= since]
        return len(self._recent) >= CRASHES

    def keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` until the end; when it returns it is done, when it raises it is started again."""
        self.crashes[name] += 0  # metrics name it before it crashes
        task = asyncio.get_running_loop().create_task(self._keep(name, work), name=name)
        self._tasks.append(task)

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause = FIRST_PAUSE
        while True:
            began = monotonic()
            try:
                await work()
                return
            except Exception:
                if monotonic() - began >= CRASH_WINDOW:
                    pause = FIRST_PAUSE
                log.exception("task %s crashed; it starts again in %.0f s", name, pause)
                self.crashes[name] += 1
                self._recent.append(monotonic())
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
