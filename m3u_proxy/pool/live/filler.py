"""What keeps players connected while no source gives anything: now and then a packet that says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

FILL_EVERY = 0.5
"""Seconds between two of them."""


class Filler:
    """Calls ``fill`` from ``start`` to ``stop``, but not for longer than ``limit`` seconds. Has one timer."""

    def __init__(self, fill: Callable[[], None], limit: float) -> None:
        self._fill = fill
        self._limit = limit
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """Begin, if that was not done. The limit counts from here."""
        if self._timer is None:
            self._until = self._loop.time() + self._limit
            self._timer = self._loop.call_later(FILL_EVERY, self._tick)

    def stop(self) -> None:
        """There is something to send again. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if self._loop.time() < self._until:
            self._timer = self._loop.call_later(FILL_EVERY, self._tick)
            self._fill()
