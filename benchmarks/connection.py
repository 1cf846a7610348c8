"""A simulated player's HTTP connection: non-blocking, its payload thrown away inside the kernel.

The load shares the machine with what it measures, so a body costs one system call per readiness and no copy:
``recv`` with ``MSG_TRUNC`` (tcp(7)) discards what has arrived and tells how much it was.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Protocol

HEAD_LIMIT = 8192
_SINK = bytearray(1 << 20)
"""Never written to: gives the kernel the length it may discard at a time."""


class Owner(Protocol):
    """Who is told what happens; every call may start the next request."""

    def keeps(self, status: int) -> bool:
        """Headers are there: whether the body is wanted, or only its length."""

    def got(self, size: int, data: bytes) -> None:
        """That many bytes of the body have arrived; ``data`` is empty when they were not wanted."""

    def finished(self) -> None:
        """The whole body is there."""

    def lost(self, reason: str) -> None:
        """The connection is gone in the middle of a request, or never came about."""


class Connection:
    """One request at a time, over a connection that is kept while the server keeps it."""

    def __init__(self, poll: Callable[[int, Connection | None, int], None], owner: Owner) -> None:
        self._poll = poll
        self._owner = owner
        self._socket: socket.socket | None = None
        self._step: Callable[[], None] = self._idle
        self._request = b""
        self._head = b""
        self._left = -1
        self._close_after = False

    def ask(self, address: tuple[str, int], path: str) -> None:
        """Send a GET, on a new connection if there is none."""
        host, port = address
        self._request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: bench\r\n\r\n".encode()
        self._head = b""
        if self._socket is not None:
            self._send()
            return
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.connect_ex(address)
        self._step = self._connected
        self._poll(self._socket.fileno(), self, select.EPOLLOUT)

    def stop_keeping(self) -> None:
        """From now on only the length of the body matters."""
        self._step = self._discard

    def close(self) -> None:
        """Hang up. Idempotent."""
        if self._socket is not None:
            self._poll(self._socket.fileno(), None, 0)
            self._socket.close()
            self._socket = None
            self._step = self._idle

    def ready(self) -> None:
        """The socket is readable, writable or broken."""
        try:
            self._step()
        except BlockingIOError:
            pass
        except OSError as error:
            self._lose(error.strerror or "broken")

    def _idle(self) -> None:
        self.close()  # the server ended a connection that had nothing to do

    def _connected(self) -> None:
        assert self._socket is not None
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "connection refused")
        self._poll(self._socket.fileno(), self, select.EPOLLIN)
        self._send()

    def _send(self) -> None:
        assert self._socket is not None
        self._step = self._read_head
        self._socket.send(self._request)  # some hundred bytes into an empty buffer: never cut

    def _read_head(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(HEAD_LIMIT)
        if not data:
            self._lose("no answer")
            return
        self._head += data
        head, end, rest = self._head.partition(b"\r\n\r\n")
        if not end:
            return
        status = self._understand(head.decode("latin-1").lower())
        self._step = self._keep if self._owner.keeps(status) else self._discard
        if rest or self._left == 0:
            self._arrived(len(rest), rest)

    def _understand(self, head: str) -> int:
        """Note how the body ends; the status."""
        first, *fields = head.split("\r\n")
        values = dict(field.split(":", 1) for field in fields)
        if "chunked" in values.get("transfer-encoding", ""):
            raise OSError(0, "chunked body")
        self._left = int(values.get("content-length", -1))
        self._close_after = "close" in values.get("connection", "") or self._left < 0
        return int(first.split(" ", 2)[1])

    def _discard(self) -> None:
        assert self._socket is not None
        limit = len(_SINK) if self._left < 0 else min(self._left, len(_SINK))
        self._arrived(self._socket.recv_into(_SINK, limit, socket.MSG_TRUNC), b"")

    def _keep(self) -> None:
        assert self._socket is not None
        data = self._socket.recv(65536)
        self._arrived(len(data), data)

    def _arrived(self, size: int, data: bytes) -> None:
        if not size and self._left:
            self._lose("body cut")
            return
        if self._left > 0:
            self._left -= size
        self._owner.got(size, data)
        if self._left == 0:
            self._step = self._idle
            if self._close_after:
                self.close()
            self._owner.finished()

    def _lose(self, reason: str) -> None:
        self.close()
        self._owner.lost(reason)
