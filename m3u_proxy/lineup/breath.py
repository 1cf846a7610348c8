"""Long work in the loop, in short pieces."""

from __future__ import annotations

import asyncio
from time import monotonic

PIECE = 0.005
"""Seconds of work after which others have their turn."""
LOOK = 32
"""Steps between two looks at the clock."""


class Breath:
    """``if breath.is_due: await breath.take()``, once for each small step."""

    def __init__(self) -> None:
        self._steps = 0
        self._since = monotonic()

    @property
    def is_due(self) -> bool:
        """Whether others wait long enough."""
        self._steps += 1
        return self._steps % LOOK == 0 and monotonic() - self._since > PIECE

    async def take(self) -> None:
        """Let everything run that is ready."""
        await asyncio.sleep(0)
        self._since = monotonic()
