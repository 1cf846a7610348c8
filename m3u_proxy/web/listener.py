"""The sockets that players and editors connect to."""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass

from aiohttp import web

from m3u_proxy.errors import StartError
from m3u_proxy.pool.live.sinks import tune
from m3u_proxy.web.door import Arrivals, Door
from m3u_proxy.web.middleware import failure, finish

log = logging.getLogger(__name__)

SHUTDOWN = 0.25
"""Seconds twice given to what is still open at the end; the draining before it was the time to finish."""
LINGER = 1.0
"""Seconds for which the rest of a refused body is taken in, so that the refusal is read."""
HURRY = 1.0
"""Seconds for the header of a request where too many connections wait for one."""


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
            raise _cannot_listen(one, port, error) from error
    return sockets


def _cannot_listen(host: str, port: int, error: OSError) -> StartError:
    return StartError(f"cannot listen on {host} port {port}: {error.strerror or error}")


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

    def __init__(
        self, server: web.Server, deadlines: Deadlines, arrivals: Arrivals, *, is_limited: bool
    ) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=deadlines.idle,
            lingering_time=LINGER,
            access_log=None,  # type: ignore[arg-type]  # means none; the annotation leaves it out
            logger=log,
            auto_decompress=False,  # an encoded body is refused, not decoded
        )
        self._header = deadlines.header
        self._arrivals = arrivals
        self._is_limited = is_limited
        self._silent_at: str | None = None
        """The address, as long as no whole request has come from it over this connection."""
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The clock of the first header starts."""
        super().connection_made(transport)
        tune(transport)
        is_one_too_many = False
        if self._is_limited:
            self._silent_at = str((transport.get_extra_info("peername") or [""])[0])
            is_one_too_many = self._arrivals.enters(self._silent_at)
        self._expect(transport, is_one_too_many=is_one_too_many)

    def data_received(self, data: bytes) -> None:
        """The clock stops with a whole header, and starts again with the first byte of the next."""
        super().data_received(data)
        if self._messages or self._current_request is not None:
            self._stop_clock()
            self._spoke()
        elif self._deadline is None and self.transport is not None:
            self._expect(self.transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is expected any more."""
        self._stop_clock()
        self._spoke()
        super().connection_lost(exc)

    def _expect(self, transport: asyncio.BaseTransport, *, is_one_too_many: bool = False) -> None:
        patience = min(HURRY, self._header) if is_one_too_many else self._header
        self._deadline = asyncio.get_running_loop().call_later(
            patience, self._give_up, transport, is_one_too_many
        )

    def _give_up(self, transport: asyncio.BaseTransport, is_one_too_many: bool) -> None:
        self._arrivals.refused["per_address"] += is_one_too_many
        transport.close()

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _spoke(self) -> None:
        if self._silent_at is not None:
            self._arrivals.spoke(self._silent_at)
            self._silent_at = None

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


class TurnedAway(Connection):
    """A connection for which there is no room: its first request is answered 503, whatever it is."""

    def connection_lost(self, exc: BaseException | None) -> None:
        """Another may be turned away."""
        super().connection_lost(exc)
        self._arrivals.leaving -= 1


async def _come_back(request: web.BaseRequest) -> web.StreamResponse:
    response = failure(503, "No room for more connections", {"Retry-After": "2"})
    finish(request, response)
    response.force_close()
    return response


class Listener:
    """Serves an application on bound sockets: ``start``, ``close_door``, then ``aclose``.

    One ``inside`` is for FFmpeg, which only comes where it was sent: no limit on connections holds there.
    """

    def __init__(
        self,
        app: web.Application,
        sockets: list[socket.socket],
        deadlines: Deadlines,
        arrivals: Arrivals,
        *,
        inside: bool = False,
    ) -> None:
        self._deadlines = deadlines
        self._arrivals = arrivals
        self._is_limited = not inside
        self._doors = [Door(sock, arrivals, self._connection, is_limited=not inside) for sock in sockets]
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=SHUTDOWN)
        self.addresses = [(sock.getsockname()[0], sock.getsockname()[1]) for sock in sockets]
        """Address and port of every socket."""

    async def start(self) -> None:
        """Accept connections.

        Raises ``StartError`` where another process has listened since ours was bound: ``SO_REUSEADDR`` lets
        two bind one port as long as none of them listens (socket(7)).
        """
        await self._runner.setup()
        self._away = web.Server(_come_back, handler_cancellation=True)
        for door, (host, port) in zip(self._doors, self.addresses, strict=True):
            try:
                door.open()
            except OSError as error:
                raise _cannot_listen(host, port, error) from error

    def _connection(self, has_room: bool) -> Connection:
        if not has_room:
            hurried = Deadlines(min(HURRY, self._deadlines.header), self._deadlines.idle)
            return TurnedAway(self._away, hurried, self._arrivals, is_limited=False)
        server = self._runner.server
        assert server is not None
        return Connection(server, self._deadlines, self._arrivals, is_limited=self._is_limited)

    async def close_door(self) -> None:
        """Accept no more; open connections go on."""
        for door in self._doors:
            await door.aclose()

    async def aclose(self) -> None:
        """End every connection."""
        await self.close_door()
        await self._away.shutdown(SHUTDOWN)
        await self._runner.cleanup()
