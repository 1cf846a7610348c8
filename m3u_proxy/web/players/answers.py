"""What answers to players have in common: waiting together, the way out, bodies, redirects."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import TypeVar

from aiohttp import HttpVersion11, web

from m3u_proxy.errors import Closed, ProxyError, Unavailable, UpstreamError
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.sinks import SocketSink
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.middleware import finish

T = TypeVar("T")


async def joined(ready: Awaitable[T], limit: float, detail: str) -> T:
    """Wait with everybody else for something to serve, at most ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            return await ready
    except TimeoutError:
        raise Unavailable(detail, reason="join_wait") from None


@contextmanager
def waiting(viewer: Viewer) -> Iterator[None]:
    """While a player of HLS waits for us: whoever was asked for something does not count as silent."""
    viewer.busy += 1
    try:
        yield
    finally:
        viewer.busy -= 1
        viewer.seen_at = monotonic()


def redirect(request: web.Request, path: str) -> web.Response:
    """302 to another form of the same stream: path-absolute, the query kept.

    Not so the address of a link made by hand, whose stream is in the path now, and the token that it took.
    """
    root = request.app[CONTEXT].config.root_path
    url = request.rel_url
    if "url" in request.query:
        url = url.without_query_params("url", "parent", "api_token")
    query = url.raw_query_string
    return web.Response(status=302, headers={"Location": root + path + (f"?{query}" if query else "")})


@contextmanager
def way_out(context: Context, request: web.Request, viewer: Viewer) -> Iterator[Outlet]:
    """The connection of a player that has its headers: watched, and cut when the viewer is ended."""
    transport = request.transport
    if transport is None:
        raise Closed("The player has left", reason="client_left")
    outlet = Outlet(SocketSink(transport))

    def cut(reason: str) -> None:
        outlet.end(reason)
        transport.abort()

    def sent() -> None:
        viewer.last_access = datetime.now(UTC)

    outlet.on_dead, outlet.on_sent = transport.abort, sent
    viewer.answered_at = monotonic()
    context.audience.peers.add(outlet)
    try:
        with viewer.cut_by(cut):
            yield outlet
    finally:
        context.audience.peers.discard(outlet)


async def send(
    context: Context,
    request: web.Request,
    response: web.StreamResponse,
    viewer: Viewer,
    data: bytes | memoryview,
) -> None:
    """A body that is there as a whole, in one write of the shared bytes; a peer found dead is cut."""
    with context.audience.sending(viewer):
        finish(request, response)
        await response.prepare(request)
        with way_out(context, request, viewer):
            await response.write(data)
            await response.write_eof()
    viewer.base_bytes += len(data)
    viewer.last_access = datetime.now(UTC)
    viewer.segments += 1


async def send_pieces(
    context: Context,
    request: web.Request,
    response: web.StreamResponse,
    viewer: Viewer,
    pieces: AsyncIterator[bytes | memoryview],
) -> None:
    """A body that is still on its way: what is there now, and the rest as it arrives.

    One that ends before its announced end is broken off: the player would wait for the rest.
    """
    missing = response.content_length or 0
    with context.audience.sending(viewer):
        finish(request, response)
        await response.prepare(request)
        with way_out(context, request, viewer):
            try:
                async for piece in pieces:
                    await response.write(piece)
                    viewer.base_bytes += len(piece)
                    viewer.last_access = datetime.now(UTC)
                    missing -= len(piece)
                if missing > 0:
                    raise UpstreamError("short", "The body ended before its announced end")
            except ProxyError:
                if response.content_length is None and request.version < HttpVersion11:
                    _reset(request)
                raise
            await response.write_eof()
    viewer.segments += 1


def _reset(request: web.Request) -> None:
    """End a body that only the connection's end delimits with RST: FIN would say that it is complete."""
    transport = request.transport
    if transport is not None and not transport.is_closing():
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
