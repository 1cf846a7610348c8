"""A viewer as the data path sees it, and the watch that finds those who are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from m3u_proxy.pool.live.sinks import Sink

WATCH_INTERVAL = 2.0
"""Seconds between two looks at who is still there."""


class Outlet:
    """One viewer's way out, and its cursor into a ring. ``ended`` says why it was cut, once it is."""

    __slots__ = (
        "_acked",
        "_noted",
        "_owing",
        "ended",
        "moved_at",
        "number",
        "on_dead",
        "on_first",
        "on_sent",
        "sent",
        "sink",
        "skips",
    )

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.number = -1
        self.sent = 0
        self.skips = 0
        self.moved_at = monotonic()
        """Monotonic time at which its peer last took something, or had taken everything."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_first: Callable[[], None] = lambda: None
        """Called when its first byte is sent."""
        self.on_dead: Callable[[], None] = lambda: None
        """Called when its peer was found dead or paused for too long: nothing more can be delivered."""
        self.on_sent: Callable[[], None] = lambda: None
        """Called now and then, when more was sent since the last time."""
        self._acked = 0
        self._noted = 0
        self._owing = False

    def write(self, data: bytes) -> None:
        """Send and count."""
        if not self.sent:
            self.on_first()
        self.sink.write(data)
        self.sent += len(data)

    def end(self, reason: str) -> None:
        """Cut this viewer; its owner closes the connection. Idempotent: the first reason stays."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def inspect(self, now: float, stuck: float, pause: float) -> None:
        """End it when its peer is dead, or has been paused for too long; durations in seconds."""
        if self.sent != self._noted:
            self._noted = self.sent
            self.on_sent()
        peer = self.sink.peer()
        acked = peer.acked if peer else 0
        if self.sink.pending() == 0 or acked != self._acked:
            self.moved_at = now
        self._acked = acked
        # After a source was silent itself, the last ACK is old and the next one on its way.
        owed, self._owing = self._owing, peer is not None and peer.owes
        if owed and peer is not None and peer.is_dead(stuck):
            self.end("stuck")
            self.on_dead()
        elif now - self.moved_at >= pause:
            self.end("paused")
            self.on_dead()


class PeerWatch:
    """Looks at every open response now and then, and ends those whose peer is dead or paused for too long.

    ``stuck`` and ``pause`` are seconds: without an ACK that was due, and without taking a byte.
    """

    def __init__(self, *, stuck: float, pause: float) -> None:
        self._stuck = stuck
        self._pause = pause
        self._outlets: set[Outlet] = set()
        self._next = 0.0

    def add(self, outlet: Outlet) -> None:
        """Watch it until ``discard``."""
        self._outlets.add(outlet)

    def discard(self, outlet: Outlet) -> None:
        """Its response is over. Idempotent."""
        self._outlets.discard(outlet)

    def look(self, now: float) -> None:
        """One look, unless the last was less than ``WATCH_INTERVAL`` ago."""
        if now < self._next:
            return
        self._next = now + WATCH_INTERVAL
        for outlet in list(self._outlets):
            outlet.inspect(now, self._stuck, self._pause)
