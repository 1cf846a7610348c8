"""Segments in memory, so that a file is read once for all viewers."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict

from m3u_proxy.errors import NotFound
from m3u_proxy.ffmpeg.shelf import Segment
from m3u_proxy.pool.flight import Flights


class SegmentCache:
    """At most ``budget`` bytes of finished segments; those asked for longest ago leave first.

    A segment that its writer closes is forgotten with it.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._held: OrderedDict[Segment, None] = OrderedDict()
        self._flights: Flights[bytes] = Flights()
        self.fetches = 0
        """Files read."""
        self.hits = 0
        """Requests answered without reading one."""

    @property
    def size(self) -> int:
        """Bytes held now."""
        return sum(segment.size for segment in self._held if segment.data is not None)

    async def load(self, segment: Segment) -> bytes:
        """The segment's bytes; raises ``NotFound`` when it was closed meanwhile."""
        if segment.data is not None:
            self.hits += 1
            self._held.move_to_end(segment)
            return segment.data
        if segment.fd < 0:
            raise NotFound("Segment expired")
        return await self._flights.fly(segment, lambda: self._read(segment))

    async def _read(self, segment: Segment) -> bytes:
        # The writer may close its descriptor while the thread reads, and the number then means another file.
        try:
            own = Segment(segment.name, segment.size, os.dup(segment.fd))
        except OSError as error:
            raise NotFound("Segment expired") from error
        try:
            data = await asyncio.to_thread(own.read)
        except OSError as error:
            raise NotFound("Segment expired") from error
        finally:
            own.close()
        self.fetches += 1
        if segment.fd >= 0:
            segment.data = data
            self._held[segment] = None
            self._trim()
        return data

    def _trim(self) -> None:
        for segment in [one for one in self._held if one.data is None]:
            del self._held[segment]
        size = self.size
        while size > self._budget and len(self._held) > 1:
            oldest, _ = self._held.popitem(last=False)
            oldest.data = None
            size -= oldest.size

    async def aclose(self) -> None:
        """Wait for reads under way; drop everything."""
        await self._flights.aclose()
        for segment in self._held:
            segment.data = None
        self._held.clear()
