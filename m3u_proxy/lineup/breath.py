"""Long work in the loop, in short pieces."""

from __future__ import annotations

import asyncio
import gc
from time import monotonic

PIECE = 0.005
"""Seconds of work after which others have their turn."""
LOOK = 32
"""Steps between two looks at the clock."""
SETTLE = 20
"""Pieces after which what was made is taken to last."""


class Breath:
    """``if breath.is_due: await breath.take()``, once for each small step."""

    def __init__(self) -> None:
        self._steps = self._pieces = 0
        self._since = monotonic()

    @property
    def is_due(self) -> bool:
        """Whether others wait long enough."""
        self._steps += 1
        return self._steps % LOOK == 0 and monotonic() - self._since > PIECE

    async def take(self) -> None:
        """Let everything run that is ready."""
        self._pieces += 1
        if self._pieces % SETTLE == 0:  # or a look at all of it, again and again, holds up the loop for long
            gc.collect(0)
            gc.freeze()
        await asyncio.sleep(0)
        self._since = monotonic()
