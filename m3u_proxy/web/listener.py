"""The sockets that players and editors connect to."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass

from aiohttp import web

from m3u_proxy.errors import StartError
from m3u_proxy.pool.live.sinks import tune
from m3u_proxy.web.middleware import failure, finish

log = logging.getLogger(__name__)

BACKLOG = 2048
SHUTDOWN = 0.25
"""Seconds twice given to what is still open at the end; the draining before it was the time to finish."""
LINGER = 1.0
"""Seconds for which the rest of a refused body is taken in, so that the refusal is read."""


def bind(host: str, port: int) -> list[socket.socket]:
    """Bound sockets for every address of ``host``; ``localhost`` always includes 127.0.0.1.

    Raises ``StartError`` that names address and port.
    """
    hosts = ["127.0.0.1", "::1"] if host == "localhost" else [host]
    sockets: list[socket.socket] = []
    for one in hosts:
        try:
            sockets.append(_bind(one, sockets[0].getsockname()[1] if sockets else port))
        except OSError as error:
            if one == "::1":  # a machine without IPv6
                continue
            for opened in sockets:
                opened.close()
            raise StartError(f"cannot listen on {one} port {port}: {error.strerror or error}") from error
    return sockets


def _bind(host: str, port: int) -> socket.socket:
    family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a client may take: for a whole header, and between two requests."""

    header: float
    idle: float


class Connection(web.RequestHandler):
    """One connection. What cannot be read as a request is refused in our words, with no echo of it.

    aiohttp waits for ever for a header that never ends, or never begins; ours has a deadline.
    """

    def __init__(self, server: web.Server, deadlines: Deadlines, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=deadlines.idle,
            lingering_time=LINGER,
            access_log=None,  # type: ignore[arg-type]  # means none; the annotation leaves it out
            logger=log,
            auto_decompress=False,  # an encoded body is refused, not decoded
        )
        self._header = deadlines.header
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The clock of the first header starts."""
        super().connection_made(transport)
        tune(transport)
        self._expect(transport)

    def data_received(self, data: bytes) -> None:
        """The clock stops with a whole header, and starts again with the first byte of the next."""
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._stop_clock()
        elif self._deadline is None and self.transport is not None:
            self._expect(self.transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is expected any more."""
        self._stop_clock()
        super().connection_lost(exc)

    def _expect(self, transport: asyncio.BaseTransport) -> None:
        self._deadline = asyncio.get_running_loop().call_later(self._header, transport.close)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to bytes that are no request; the connection is closed after it."""
        log.debug("request refused with %d: %s", status, type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = failure(status, "Bad Request" if status < 500 else "internal error")
        finish(request, response)
        response.force_close()
        return response


class Listener:
    """Serves an application on bound sockets: ``start``, ``close_door``, then ``aclose``."""

    def __init__(self, app: web.Application, sockets: list[socket.socket], deadlines: Deadlines) -> None:
        self._sockets = sockets
        self._deadlines = deadlines
        self._servers: list[asyncio.Server] = []
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN)
        self.addresses = [(sock.getsockname()[0], sock.getsockname()[1]) for sock in sockets]
        """Address and port of every socket."""

    async def start(self) -> None:
        """Accept connections."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._servers.append(await loop.create_server(self._connection, sock=sock, backlog=BACKLOG))

    def _connection(self) -> Connection:
        server = self._runner.server
        assert server is not None
        return Connection(server, self._deadlines, asyncio.get_running_loop())

    async def close_door(self) -> None:
        """Accept no more; open connections go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def aclose(self) -> None:
        """End every connection."""
        await self.close_door()
        await self._runner.cleanup()
        for sock in self._sockets:
            sock.close()
