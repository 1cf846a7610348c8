"""One ring, many cursors: hands each new chunk to every viewer.

The producer pulses; a round then visits every viewer once and writes what it lacks. There is no task, queue
or event per viewer: a viewer costs one write per pulse. A slow viewer is not waited for. It is passed over
until its bytes have left, and jumps to a newer random-access point when the ring has moved past it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.ring import Ring
from m3u_proxy.pool.tally import Tally

log = logging.getLogger(__name__)

SLICE = 32
"""Viewers served before the loop gets to do something else (about a millisecond)."""
CATCH_UP = 0.05
"""Seconds until viewers that are behind are visited again, should no chunk arrive sooner."""


class Fanout:
    """The viewers of one ring.

    ``tables`` answers the PAT and PMT in force and the PIDs of the programme, for those who start or skip.
    """

    def __init__(
        self,
        ring: Ring,
        tables: Callable[[], tuple[bytes, Collection[int]]],
        *,
        queue: int,
        tally: Tally,
    ) -> None:
        self._ring = ring
        self._tables = tables
        self._queue = queue
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._outlets: dict[Outlet, None] = {}
        self._turn: list[Outlet] = []
        self._again = False
        self._behind = False
        self._timer: asyncio.TimerHandle | None = None
        self.skips = 0

    def __len__(self) -> int:
        return len(self._outlets)

    def attach(self, outlet: Outlet) -> None:
        """Start a viewer at the newest random-access point; at the live edge while there is none.

        Before the first chunk nothing is written: that chunk begins with the tables itself.
        """
        self._outlets[outlet] = None
        if not self._ring.size:
            outlet.number = self._ring.next
            return
        psi, _ = self._tables()
        preface, outlet.number = self._ring.join(psi)
        if preface:
            outlet.write(preface)
        if self._advance(outlet):
            self._come_back()

    def detach(self, outlet: Outlet) -> None:
        """Forget a viewer. Idempotent."""
        self._outlets.pop(outlet, None)

    def close(self, reason: str) -> None:
        """Cut every viewer and stop the timer. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        self._again = self._behind = False
        self._turn.clear()
        self.cut(reason)

    def cut(self, reason: str) -> None:
        """End every viewer; those that keep up get what is there, however short before the end it came."""
        for outlet in list(self._outlets):
            self._serve(outlet)
            outlet.end(reason)

    def pulse(self) -> None:
        """A chunk has been added: visit everybody, soon and in slices."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._turn:
            self._again = True
            return
        self._turn = list(self._outlets)
        self._behind = False
        self._slice()

    def _slice(self) -> None:
        turn, self._turn = self._turn[:SLICE], self._turn[SLICE:]
        for outlet in turn:
            if outlet in self._outlets:
                self._behind |= self._serve(outlet)
        if self._turn:
            self._loop.call_soon(self._slice)
        elif self._again:
            self._again = False
            self._loop.call_soon(self.pulse)
        elif self._behind:
            self._come_back()

    def _come_back(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(CATCH_UP, self.pulse)

    def _serve(self, outlet: Outlet) -> bool:
        """``_advance`` for one of many: a way out that breaks must not stop the others."""
        try:
            return self._advance(outlet)
        except Exception:
            log.exception("a viewer was dropped")
            self.detach(outlet)
            outlet.end("error")
            return False

    def _advance(self, outlet: Outlet) -> bool:
        """Write what the viewer lacks, at most ``queue`` bytes of it; whether it is still behind."""
        ring = self._ring
        if outlet.ended.done() or outlet.number == ring.next:
            return False
        room = self._queue - outlet.sink.pending()
        if outlet.number < ring.first:
            if outlet.sink.pending():
                return True  # skip only once it takes bytes again, so that it skips once
            self._skip(outlet)
        while outlet.number < ring.next and room > 0:
            chunk = ring[outlet.number]
            outlet.write(chunk)
            outlet.number += 1
            room -= len(chunk)
        return outlet.number < ring.next

    def _skip(self, outlet: Outlet) -> None:
        psi, pids = self._tables()
        preface, outlet.number = self._ring.resume(psi, pids)
        outlet.write(preface)
        outlet.skips += 1
        self.skips += 1
        self._tally.skips += 1
