"""One epoll loop for all players."""

from __future__ import annotations

import heapq
import select
from collections import Counter
from collections.abc import Callable
from time import monotonic

from benchmarks.connection import Connection, Owner

HOST = "127.0.0.1"


class Crowd:
    """The loop: readiness, timers, and what all viewers count together."""

    def __init__(self, port: int) -> None:
        self.address = (HOST, port)
        self.bytes = 0
        self.errors: Counter[str] = Counter()
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer = 0

    def connect(self, owner: Owner) -> Connection:
        """A connection of that viewer's, not open yet."""
        return Connection(self._poll, owner)

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Call ``do`` at a monotonic time."""
        self._timer += 1
        heapq.heappush(self._timers, (when, self._timer, do))

    def run(self, until: float) -> None:
        """Go on until a monotonic time."""
        while (now := monotonic()) < until:
            while self._timers and self._timers[0][0] <= now:
                heapq.heappop(self._timers)[2]()
            wake = min(until, self._timers[0][0] if self._timers else until)
            for fd, _ in self._epoll.poll(max(0.0, wake - monotonic()), 512):
                if connection := self._connections.get(fd):
                    connection.ready()

    def _poll(self, fd: int, connection: Connection | None, events: int) -> None:
        if connection is None:
            self._epoll.unregister(fd)
            del self._connections[fd]
        elif fd in self._connections:
            self._epoll.modify(fd, events)
        else:
            self._connections[fd] = connection
            self._epoll.register(fd, events)
