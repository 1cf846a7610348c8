"""Where connections come in: how many may, and what happens while there are too many.

A loop's own server is not used: uvloop drops connections without a word when descriptors run out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

log = logging.getLogger(__name__)

BACKLOG = 2048
BATCH = 64
"""Connections that are accepted in one turn of the loop."""
PER_ADDRESS = 64
"""Connections of one address without a whole request. Viewers are more: a household is one address."""
LEAST_RESERVE = 16
TURNED_AWAY = 8
"""Connections at once that are only told to come back; the others wait in the backlog meanwhile."""
REST = 1.0
"""Seconds without accepting after an error, and at least between two lines in the log."""
CROWDED_REST = 0.05
"""Seconds until it is looked again whether somebody who was turned away has left."""


def descriptors_for_clients() -> int:
    """Descriptors that connections may take; the rest is for sources, pipes and files (FD_RESERVE)."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, limit - max(limit // 4, LEAST_RESERVE))


@dataclass
class Arrivals:
    """Who waits in front of a process and what became of them; its listeners share one."""

    accept_errors: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Connections that were not served, by reason: ``descriptors`` or ``per_address``."""
    silent: Counter[str] = field(default_factory=Counter)
    """Connections that have not sent a whole request yet, by address."""
    leaving: int = 0
    """Connections that are told to come back."""
    _said: float = -REST

    def enters(self, address: str) -> bool:
        """One more that has said nothing; whether its address has too many of them."""
        self.silent[address] += 1
        return self.silent[address] > PER_ADDRESS

    def spoke(self, address: str) -> None:
        """A whole request has come, or nothing will."""
        self.silent[address] -= 1
        if not self.silent[address]:
            del self.silent[address]

    def failed(self, error: OSError) -> None:
        """A connection could not be accepted."""
        self.accept_errors += 1
        now = monotonic()
        if now - self._said >= REST:
            self._said = now
            why = os.strerror(error.errno) if error.errno else "no reason given"
            log.warning("cannot accept connections: %s (%d times so far)", why, self.accept_errors)


class Door:
    """Accepts the connections of one bound socket: ``open``, then ``aclose``.

    ``protocol`` makes who serves a connection; it is told whether there is room for it. A door without
    limits lets everybody in: FFmpeg comes only where we sent it.
    """

    def __init__(
        self,
        sock: socket.socket,
        arrivals: Arrivals,
        protocol: Callable[[bool], asyncio.Protocol],
        *,
        is_limited: bool,
    ) -> None:
        self._sock = sock
        self._arrivals = arrivals
        self._protocol = protocol
        self._is_limited = is_limited
        self._entering: set[asyncio.Task[None]] = set()
        self._resting: asyncio.TimerHandle | None = None
        self._is_open = False

    def open(self) -> None:
        """Listen, and accept whoever comes."""
        self._sock.listen(BACKLOG)
        self._is_open = True
        self._resume()

    async def aclose(self) -> None:
        """Accept no more; the socket is closed. Connections that were accepted go on."""
        if self._is_open:
            self._is_open = False
            self._pause()
            self._sock.close()
        if self._entering:
            await asyncio.wait(list(self._entering))

    def _resume(self) -> None:
        self._resting = None
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._accept)

    def _pause(self) -> None:
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None

    def _rest(self, seconds: float) -> None:
        self._pause()
        self._resting = asyncio.get_running_loop().call_later(seconds, self._resume)

    def _accept(self) -> None:
        for _ in range(BATCH):
            if self._arrivals.leaving >= TURNED_AWAY and self._is_limited:
                self._rest(CROWDED_REST)
                return
            try:
                connection, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptors, no memory: accept(2)
                self._arrivals.failed(error)
                self._rest(REST)
                return
            self._let_in(connection)

    def _let_in(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        # The kernel gives the lowest free number: one in the reserve says that all below are taken.
        has_room = not self._is_limited or connection.fileno() < descriptors_for_clients()
        if not has_room:
            self._arrivals.leaving += 1
            self._arrivals.refused["descriptors"] += 1
        task = asyncio.get_running_loop().create_task(self._enter(connection, has_room), name="accept")
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    async def _enter(self, connection: socket.socket, has_room: bool) -> None:
        protocol = self._protocol(has_room)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
        except OSError as error:  # gone again
            log.debug("a connection was lost before it began: %s", error)
            connection.close()
            if not has_room:
                self._arrivals.leaving -= 1
