"""What is to be in the ring before the first viewers of a strict live stream are served."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrebufferLimits:
    """From the settings."""

    size: int
    """Bytes in the ring."""
    wait: float
    """Seconds from the first of them, at most."""


class Prebuffer:
    """Open as soon as there is enough, or that has taken too long; from the first byte on without limits.

    ``close()`` lets everybody in and stops its timer.
    """

    def __init__(self, limits: PrebufferLimits | None) -> None:
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._open = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether a joiner is served."""
        return self._open.is_set()

    def fill(self, size: int) -> None:
        """So many bytes are there."""
        if self._open.is_set():
            return
        if self._limits is None or size >= self._limits.size:
            self.close()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.wait, self._open.set)

    async def wait(self, deadline: float | None) -> None:
        """Until it is open, not beyond ``deadline`` in loop time."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._open.wait()

    def close(self) -> None:
        """Idempotent."""
        self._open.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
