"""How late the event loop is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

INTERVAL = 0.25
"""Seconds between two measurements."""


class LoopLag:
    """Measures by sleeping; ``seconds`` is the newest lag, or how long the measurement itself is overdue."""

    def __init__(self, note: Callable[[float], None]) -> None:
        self._note = note
        self._due = monotonic() + INTERVAL
        self._last = 0.0

    @property
    def seconds(self) -> float:
        """Seconds by which the loop ran late the last time."""
        return max(self._last, monotonic() - self._due)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            self._due = monotonic() + INTERVAL
            await asyncio.sleep(INTERVAL)
            self._last = max(0.0, monotonic() - self._due)
            self._note(self._last)
