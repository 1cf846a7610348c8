"""Bounds that hold on a busy machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TICK = 0.02


@asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """asyncio.timeout() by a clock that stands still while this process may not run.

    However late a tick is, it is charged as two: a machine that is held up for a second, or gives its
    processors to others, does not eat the patience of the test.
    """
    async with asyncio.timeout(None) as bound:
        clock = _Clock(seconds, bound)
        try:
            yield
        finally:
            clock.stop()


class _Clock:
    """What is left of a patience; at its end the bound is due."""

    def __init__(self, seconds: float, bound: asyncio.Timeout) -> None:
        self._left = seconds
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._wait()

    def _wait(self) -> None:
        self._began = self._loop.time()
        self._next = self._loop.call_later(min(TICK, self._left), self._tick)

    def _tick(self) -> None:
        self._left -= min(self._loop.time() - self._began, 2 * TICK)
        if self._left > 0:
            self._wait()
        else:
            self._bound.reschedule(self._loop.time())

    def stop(self) -> None:
        self._next.cancel()
