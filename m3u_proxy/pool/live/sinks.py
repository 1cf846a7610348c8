"""Ways out for a viewer: a player's socket, or FFmpeg's standard input.

A sink takes whole chunks without blocking, says how much of them has not left this process yet, and can tell
a paused peer from a dead one. It never copies: a chunk is kept by reference until it is gone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from contextlib import suppress
from typing import NamedTuple, Protocol

SEND_BUFFER = 512 * 1024
"""Kernel send buffer of a viewer's socket: bounds what a stopped reader can make the kernel hold."""

_KEEPALIVE_IDLE = 10
_KEEPALIVE_INTERVAL = 3
_KEEPALIVE_PROBES = 3
_GONE = (OSError, ValueError, AttributeError)
"""What asking about a closed socket raises; ValueError under uvloop."""
_TCP_INFO = struct.Struct("@8B24I2QQ")


class Peer(NamedTuple):
    """What the kernel knows of the other end (``TCP_INFO``)."""

    acked: int
    """Bytes acknowledged so far; rises as long as the peer takes anything."""
    silent: float
    """Seconds since its last ACK."""
    unacknowledged: int
    """Packets sent and not acknowledged."""
    probes: int
    """Window or keep-alive probes sent in a row without an answer."""

    @property
    def owes(self) -> bool:
        """Whether an ACK is due; a paused peer still answers probes."""
        return self.unacknowledged > 0 or self.probes >= 2

    def is_dead(self, limit: float) -> bool:
        """No ACK for ``limit`` seconds although one is due now."""
        return self.owes and self.silent >= limit


class Sink(Protocol):
    """Where a viewer's bytes go."""

    def pending(self) -> int:
        """Bytes taken that this process still holds; 0 when everything went on to the kernel."""

    def write(self, data: bytes) -> None:
        """Take ``data``; never blocks, never raises for a peer that has gone."""

    def peer(self) -> Peer | None:
        """What the kernel knows of the other end; ``None`` where there is nothing to ask."""


def tune(transport: asyncio.BaseTransport) -> None:
    """Options of every connection a viewer may use, set once when it is accepted."""
    option = transport.get_extra_info("socket").setsockopt
    with suppress(*_GONE):
        option(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        # A viewer of a silent source owes no ACK: only keep-alive finds out that it is half-open.
        option(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE)
        option(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL)
        option(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)


class SocketSink:
    """A player's connection, written to below aiohttp: the same ``bytes`` object for every viewer."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.pending = transport.get_write_buffer_size

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # uvloop raises, in the midst of everybody else's round
            self._transport.write(data)

    def peer(self) -> Peer | None:
        try:
            raw = self._transport.get_extra_info("socket").getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size
            )
        except _GONE:
            return None
        if len(raw) < _TCP_INFO.size:
            return None
        fields = _TCP_INFO.unpack(raw)
        return Peer(acked=fields[34], silent=fields[20] / 1000, unacknowledged=fields[12], probes=fields[3])


class PipeSink:
    """FFmpeg's standard input: a non-blocking pipe, drained by the loop when the pipe was full."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._queue: deque[memoryview] = deque()
        self._waiting = False
        self._closed = False

    def pending(self) -> int:
        return sum(len(view) for view in self._queue)

    def write(self, data: bytes) -> None:
        if self._closed:
            return
        self._queue.append(memoryview(data))
        if not self._waiting:
            self._flush()

    def peer(self) -> None:
        return None

    def close(self) -> None:
        """Forget what is queued; the pipe itself belongs to the child's owner. Idempotent."""
        self._closed = True
        self._queue.clear()
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._fd)

    def _flush(self) -> None:
        while self._queue:
            try:
                written = os.write(self._fd, self._queue[0])
            except BlockingIOError:
                if not self._waiting:
                    self._waiting = True
                    self._loop.add_writer(self._fd, self._flush)
                return
            except OSError:  # the child has gone: its owner learns that from the exit, not from here
                self.close()
                return
            if written == len(self._queue[0]):
                self._queue.popleft()
            else:
                self._queue[0] = self._queue[0][written:]
        if self._waiting:
            self._waiting = False
            self._loop.remove_writer(self._fd)
