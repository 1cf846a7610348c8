"""Files for players: byte ranges of what a provider has, each viewer at a position of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from m3u_proxy.pool.supply import Supply
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.pool.vod.about import Reply, foreseen
from m3u_proxy.pool.vod.position import Position
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.web.context import Context
from m3u_proxy.web.middleware import NO_STORE
from m3u_proxy.web.players.answers import send_pieces


async def send_file(
    context: Context, request: web.Request, supply: Supply, vod: Vod, viewer: Viewer, owner: str
) -> web.StreamResponse:
    """The body or a part of it; one that cannot be gone on with is broken off, and looks incomplete.

    ``owner``: the player's id, which is also that of its earlier requests.
    """
    position = await vod.open(
        request.headers.get("Range"), request.headers.get("If-Range"), supply.take_begun(), owner=owner
    )
    try:
        response = web.StreamResponse(status=position.status, headers={**position.headers, **NO_STORE})
        response.content_length = position.length
        response.headers["X-Client-ID"] = viewer.client.id
        response.headers["X-Stream-ID"] = viewer.client.stream_id
        if position.length is None:
            response.force_close()
        async with aclosing(_pieces(position)) as pieces:
            await send_pieces(context, request, response, viewer, pieces)
    finally:
        await position.aclose()
    return response


async def _pieces(position: Position) -> AsyncGenerator[bytes, None]:
    while piece := await position.read():
        yield piece


async def foretell(context: Context, request: web.Request, stream_id: str) -> web.StreamResponse | None:
    """Answer to HEAD: from memory, else from one request to the provider; ``None`` if it is no file."""
    about = context.audience.about(stream_id)
    if about is None:
        async with context.audience.peek(stream_id) as supply:
            inner = await supply.settled()
            if not isinstance(inner, Vod):
                return None
            about = inner.about or await inner.learn()
    return _head(foreseen(about, request.headers.get("Range"), request.headers.get("If-Range")))


def _head(reply: Reply) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers={**reply.headers, **NO_STORE})
    response.content_length = reply.length
    return response
