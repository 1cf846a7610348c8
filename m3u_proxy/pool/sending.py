"""Bodies of known length that are on their way to players: whoever ends the rest lets them arrive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from m3u_proxy.pool.viewers import Viewer


class Sending:
    """How many there are; ``with sending(viewer): …`` while there is one more."""

    def __init__(self) -> None:
        self._count = 0
        self._none_left = asyncio.Event()
        self._none_left.set()

    @contextmanager
    def __call__(self, viewer: Viewer) -> Iterator[None]:
        """One is on its way to this viewer, which is not silent meanwhile."""
        viewer.busy += 1
        self._count += 1
        self._none_left.clear()
        try:
            yield
        finally:
            viewer.busy -= 1
            viewer.seen_at = monotonic()
            self._count -= 1
            if not self._count:
                self._none_left.set()

    async def over(self) -> None:
        """Wait until none is on its way to anybody."""
        await self._none_left.wait()
