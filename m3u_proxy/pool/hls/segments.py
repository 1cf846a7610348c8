"""Segments that FFmpeg wrote, in memory, so that a file is read once for all viewers."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from m3u_proxy.errors import NotFound
from m3u_proxy.ffmpeg.hls.shelf import Segment
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.flight import Flights


@dataclass(frozen=True)
class _InMemory:
    """A segment as the budget sees it."""

    segment: Segment

    @property
    def size(self) -> int:
        return self.segment.size if self.segment.data is not None else 0

    def forget(self) -> None:
        self.segment.data = None


class SegmentCache:
    """Finished segments within a budget that is shared with everything else that holds segments.

    A segment that its writer closes is forgotten with it. One that finds no room is served, but not kept.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held: set[_InMemory] = set()
        self._flights: Flights[bytes] = Flights()
        self.fetches = 0
        """Files read."""
        self.hits = 0
        """Requests answered without reading one."""

    @property
    def size(self) -> int:
        """Bytes held now."""
        return sum(one.size for one in self._held)

    async def load(self, segment: Segment) -> bytes:
        """The segment's bytes; raises ``NotFound`` when it was closed meanwhile."""
        if segment.data is not None:
            self.hits += 1
            self._budget.touch(_InMemory(segment))
            return segment.data
        if segment.fd < 0:
            raise NotFound("Segment expired")
        return await self._flights.fly(segment, lambda: self._fetch(segment))

    async def _fetch(self, segment: Segment) -> bytes:
        """Read the file and keep what was read, if there is room for it and the segment is still open."""
        self._sweep()
        granted = self._budget.grant(segment.size)
        try:
            data = await _read(segment)
            self.fetches += 1
            if granted and segment.fd >= 0:
                segment.data = data
                self._keep(_InMemory(segment))
                granted = False
            return data
        finally:
            if granted:
                self._budget.give_back(segment.size)

    def _keep(self, one: _InMemory) -> None:
        self._held.add(one)
        self._budget.keep(one)

    def _sweep(self) -> None:
        """Give back what closed segments held; evicted ones are only taken off the list."""
        for one in [one for one in self._held if not one.size]:
            self._held.discard(one)
            self._budget.drop(one)

    async def aclose(self) -> None:
        """Wait for reads under way; drop everything."""
        await self._flights.aclose()
        for one in self._held:
            self._budget.drop(one)
        self._held.clear()


async def _read(segment: Segment) -> bytes:
    """All of its file. The writer may close its descriptor meanwhile; the number then means another file."""
    try:
        own = Segment(segment.name, segment.size, os.dup(segment.fd))
    except OSError as error:
        raise NotFound("Segment expired") from error
    try:
        return await asyncio.to_thread(own.read)
    except OSError as error:
        raise NotFound("Segment expired") from error
    finally:
        own.close()
