"""The sockets that players and editors connect to."""

from __future__ import annotations

import logging
import socket

from aiohttp import web

from m3u_proxy.errors import StartError

log = logging.getLogger(__name__)

BACKLOG = 2048
KEEPALIVE = 30.0
"""Seconds an idle connection is kept."""


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


class Listener:
    """Serves an application on bound sockets: ``start``, ``close_door``, then ``aclose``."""

    def __init__(self, app: web.Application, sockets: list[socket.socket]) -> None:
        self._sockets = sockets
        self._sites: list[web.SockSite] = []
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=KEEPALIVE,
            shutdown_timeout=1.0,
        )
        self.addresses = [(sock.getsockname()[0], sock.getsockname()[1]) for sock in sockets]
        """Address and port of every socket."""

    async def start(self) -> None:
        """Accept connections."""
        await self._runner.setup()
        for sock in self._sockets:
            site = web.SockSite(self._runner, sock, backlog=BACKLOG)
            await site.start()
            self._sites.append(site)

    async def close_door(self) -> None:
        """Accept no more; open connections go on."""
        for site in self._sites:
            await site.stop()
        self._sites.clear()

    async def aclose(self) -> None:
        """End every connection."""
        await self.close_door()
        await self._runner.cleanup()
        for sock in self._sockets:
            sock.close()
