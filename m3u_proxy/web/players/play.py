"""Players of one body: a live stream without an end, or a file; 302 to the playlist of what has one."""

from __future__ import annotations

import asyncio
from time import monotonic

from aiohttp import web

from m3u_proxy.errors import ProxyError
from m3u_proxy.model import Kind
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.pool.supply import Inner, Supply
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.upstream.ranges import parse_single
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.middleware import NO_STORE, finish
from m3u_proxy.web.players.answers import joined, redirect, way_out
from m3u_proxy.web.players.files import foretell, send_file
from m3u_proxy.web.players.handmade import stream_asked
from m3u_proxy.web.players.identity import identify

LINGER = 5.0
"""Seconds a connection may take to empty after its stream has ended."""
IN_TIME = 0.9
"""Part of a joiner's wait that may go into having bytes in stock."""
_SILENT = "The source sends nothing"


class EndlessResponse(web.StreamResponse):
    """A body of unknown length that ends with the connection, unframed, on every HTTP version.

    Many boxes like this best, and the same bytes object can go to every viewer as it is.
    """

    _length_check = False

    def __init__(self, content_type: str, viewer: Viewer | None) -> None:
        super().__init__(headers={"Content-Type": content_type, "Accept-Ranges": "none", **NO_STORE})
        self.headers["X-Accel-Buffering"] = "no"
        if viewer is not None:
            self.headers["X-Client-ID"] = viewer.client.id
            self.headers["X-Stream-ID"] = viewer.client.stream_id
        self.force_close()


async def stream(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /stream/{id}``: one body, MPEG-TS without an end or a file with byte ranges."""
    context = request.app[CONTEXT]
    stream_id = stream_asked(context, request)
    if context.audience.kind(stream_id).is_hls:
        return _to_playlist(request, stream_id)
    if request.method == "HEAD":
        return await _foreseen(context, request, stream_id)
    began = monotonic()
    part = parse_single(request.headers.get("Range"))
    is_seek = part is not None and part.first != 0
    client = identify(request, stream_id)
    thing, viewer = context.audience.watch(stream_id, client, is_seek=is_seek)
    reason = "client_left"
    try:
        warm = thing.is_warm
        patience = context.config.join_wait
        source = await joined(_begun(thing, patience), patience, _SILENT)
        if isinstance(source, Relay):
            return await _send_live(context, request, source, viewer, warm=warm, began=began)
        if isinstance(source, Vod):
            assert isinstance(thing, Supply)
            return await send_file(context, request, thing, source, viewer, client.id)
        reason = "redirected"
        return _to_playlist(request, stream_id)
    except ProxyError as error:
        reason = error.reason
        raise
    finally:
        context.audience.leave(viewer, viewer.ended or reason)


async def _begun(thing: Supply | Relay, patience: float) -> Inner:
    """What the source is, once it has something to give: by then with what is to be in stock, if it can."""
    deadline = asyncio.get_running_loop().time() + patience * IN_TIME

    async def begun(source: Inner) -> Inner:
        if isinstance(source, Relay):
            await source.begun(deadline)
        return source

    return await (thing.through(begun) if isinstance(thing, Supply) else begun(thing))


async def _send_live(
    context: Context, request: web.Request, relay: Relay, viewer: Viewer, *, warm: bool, began: float
) -> web.StreamResponse:
    """The endless body, until the viewer leaves or is cut."""
    definition = context.audience.catalog.find(viewer.client.stream_id).stream
    content_type = definition.transcode.content_type if definition.transcode else "video/mp2t"
    response = EndlessResponse(content_type, viewer)
    finish(request, response)
    await response.prepare(request)
    with way_out(context, request, viewer) as outlet:
        viewer.live_bytes = lambda: outlet.sent
        outlet.on_first = lambda: context.first_byte(relay.kind, warm, monotonic() - began)
        try:
            relay.attach(outlet)
            viewer.ended = await outlet.ended
            _linger(request)
        finally:
            relay.detach(outlet)
    return response


def _linger(request: web.Request) -> None:
    """Let what was sent before the end arrive; a player that takes nothing loses its connection then."""
    if request.transport is not None:
        asyncio.get_running_loop().call_later(LINGER, request.transport.abort)


async def _foreseen(context: Context, request: web.Request, stream_id: str) -> web.StreamResponse:
    """Answer to HEAD; only a file that nobody knows yet is asked for."""
    definition = context.audience.catalog.find(stream_id).stream
    if definition.transcode is not None:
        return EndlessResponse(definition.transcode.content_type, None)
    if context.audience.kind(stream_id) is Kind.VOD:
        answer = await joined(foretell(context, request, stream_id), context.config.join_wait, _SILENT)
        if answer is not None:
            return answer
        if context.audience.kind(stream_id).is_hls:
            return _to_playlist(request, stream_id)
    return EndlessResponse("video/mp2t", None)


def _to_playlist(request: web.Request, stream_id: str) -> web.Response:
    return redirect(request, f"/hls/{stream_id}/playlist.m3u8")
