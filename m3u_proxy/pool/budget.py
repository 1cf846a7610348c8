"""One limit on the memory that segments take, whoever wrote them and whether they are complete or not."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Protocol


class Held(Protocol):
    """Something whose bytes may be dropped at any time. Hashable; equal means the same bytes."""

    @property
    def size(self) -> int:
        """Bytes it holds."""

    def forget(self) -> None:
        """Drop them; afterwards ``size`` is 0. This is called by the budget and must not call it."""


class Budget:
    """Counts bytes; ``used`` never exceeds ``limit``.

    Bytes are first granted. From then on they belong to whoever asked, until they are given back, or kept:
    then they may be evicted to make room, those used longest ago first.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """Bytes."""
        self.used = 0
        """Bytes granted, those of kept things included."""
        self._kept: OrderedDict[Held, int] = OrderedDict()
        self._evictable = 0
        self._changed = asyncio.Event()

    def grant(self, size: int) -> bool:
        """Take ``size`` bytes, evicting what must go. ``False``, and nothing done, if that is too little."""
        if self.used - self._evictable + size > self.limit:
            return False
        while self.used + size > self.limit:
            self._drop(next(iter(self._kept)))
        self.used += size
        return True

    async def granted(self, size: int) -> None:
        """Wait until `grant` succeeds, for ever if ``size`` exceeds the limit. Cancelled, it took nothing."""
        while not self.grant(size):
            await self._changed.wait()

    def give_back(self, size: int) -> None:
        """``size`` granted bytes are free again."""
        assert size <= self.used - self._evictable
        self.used -= size
        self._tell()

    def keep(self, held: Held) -> None:
        """``held.size`` bytes, granted before, may be evicted from now on."""
        assert held not in self._kept
        self._kept[held] = held.size
        self._evictable += held.size
        assert self._evictable <= self.used
        self._tell()

    def touch(self, held: Held) -> None:
        """It was used just now: everything else is evicted first. Without effect on what is not kept."""
        if held in self._kept:
            self._kept.move_to_end(held)

    def drop(self, held: Held) -> None:
        """Forget it now, and free its bytes. Idempotent."""
        if held in self._kept:
            self._drop(held)
            self._tell()

    def _drop(self, held: Held) -> None:
        size = self._kept.pop(held)
        self._evictable -= size
        self.used -= size
        held.forget()

    def _tell(self) -> None:
        """Wake everyone who waits for memory."""
        self._changed.set()
        self._changed = asyncio.Event()
