"""Players: endless bodies, playlists and segments."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from time import monotonic

from aiohttp import web

from m3u_proxy.errors import Closed, NotFound, ProxyError, Unavailable
from m3u_proxy.ffmpeg.hls import HlsWriter
from m3u_proxy.model import Client
from m3u_proxy.pool.outlet import Outlet
from m3u_proxy.pool.sinks import SocketSink
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.upstream.ranges import Unsatisfiable, parse_range
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.identity import identify
from m3u_proxy.web.middleware import NO_STORE, finish

LINGER = 5.0
"""Seconds a connection may take to empty after its stream has ended."""
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
SEGMENT_TYPES = {
    ".ts": "video/mp2t",
    ".m4s": "video/iso.segment",
    ".mp4": "video/mp4",
    ".aac": "audio/aac",
    ".vtt": "text/vtt",
}


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
    """``GET`` and ``HEAD /stream/{id}``: one endless body; 302 to the playlist of a stream that has one."""
    context = request.app[CONTEXT]
    stream_id = request.match_info["id"]
    definition = context.audience.catalog.find(stream_id).stream
    if definition.kind.is_hls:
        return _redirect(request, f"/hls/{stream_id}/playlist.m3u8")
    content_type = definition.transcode.content_type if definition.transcode else "video/mp2t"
    if request.method == "HEAD":
        return EndlessResponse(content_type, None)
    began = monotonic()
    relay, viewer = context.audience.watch(stream_id, identify(request, stream_id))
    reason = "client_left"
    try:
        warm = relay.is_warm
        await _joined(relay.begun(), context.config.join_wait, "The source sends nothing")
        response = EndlessResponse(content_type, viewer)
        finish(request, response)
        await response.prepare(request)
        with _way_out(context, request, viewer) as outlet:
            outlet.on_first = lambda: context.first_byte(definition.kind, warm, monotonic() - began)
            try:
                relay.attach(outlet)
                reason = await outlet.ended
                _linger(request)
            finally:
                relay.detach(outlet)
    except ProxyError as error:
        reason = error.reason
        raise
    finally:
        context.audience.leave(viewer, reason)
    return response


async def playlist(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /hls/{id}/playlist.m3u8``: waits for the first segment, at most ``join_wait``."""
    context = request.app[CONTEXT]
    stream_id = request.match_info["id"]
    definition = context.audience.catalog.find(stream_id).stream
    if not definition.kind.is_hls:
        return _redirect(request, f"/stream/{stream_id}")
    client = identify(request, stream_id)
    if request.method == "HEAD":
        return _playlist(context, context.audience.writer(stream_id), client)
    began = monotonic()
    writer, viewer = context.audience.poll(stream_id, client)
    warm, joins = writer.is_warm, not viewer.bytes_served
    try:
        await _joined(writer.ready(), context.config.join_wait, "Playlist not available")
    except ProxyError:
        if writer.error is not None:  # a writer that is only slow keeps its viewer, who will ask again
            context.audience.leave(viewer, writer.error.reason)
        raise
    if joins:
        context.first_byte(definition.kind, warm, monotonic() - began)
    response = _playlist(context, writer, client)
    viewer.base_bytes += response.content_length or 0
    return response


def _playlist(context: Context, writer: HlsWriter | None, client: Client) -> web.Response:
    """The playlist as it is now; without a length for a HEAD before there is one."""
    headers = {
        "Content-Type": PLAYLIST_TYPE,
        "X-Client-ID": client.id,
        "X-Stream-ID": client.stream_id,
        **NO_STORE,
    }
    if writer is None or not writer.is_warm:
        return web.Response(headers=headers)
    return web.Response(body=context.links.playlist(writer, client).encode(), headers=headers)


async def segment(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /hls/{id}/segment``: found through its token only; one range is honoured."""
    context = request.app[CONTEXT]
    stream_id = request.match_info["id"]
    context.audience.catalog.find(stream_id)
    nonce, number = context.links.read(stream_id, request.query.get("t", ""))
    client = identify(request, stream_id)
    writer = context.audience.writer(stream_id)
    found = writer.files.get(number) if writer is not None and writer.nonce == nonce else None
    if found is None:
        raise NotFound("Segment expired")
    headers = {
        "Content-Type": SEGMENT_TYPES.get(PurePosixPath(found.name).suffix, "application/octet-stream"),
        "Accept-Ranges": "bytes",
        "Cache-Control": "public, max-age=60, immutable",
    }
    try:
        part = parse_range(request.headers.get("Range"), found.size)
    except Unsatisfiable:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{found.size}"})
    if part is not None:
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{found.size}"
    response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
    response.content_length = found.size if part is None else part.last - part.first + 1
    if request.method == "GET":
        _, viewer = context.audience.poll(stream_id, client)
        data: bytes | memoryview = await context.segments.load(found)
        if part is not None:
            data = memoryview(data)[part.first : part.last + 1]
        await _send(context, request, response, viewer, data)
    return response


async def _send(
    context: Context,
    request: web.Request,
    response: web.StreamResponse,
    viewer: Viewer,
    data: bytes | memoryview,
) -> None:
    """A body of known length, in one write of the shared bytes; a peer found dead is cut."""
    with context.audience.sending(viewer):
        finish(request, response)
        await response.prepare(request)
        with _way_out(context, request, viewer):
            await response.write(data)
            await response.write_eof()
    viewer.base_bytes += len(data)
    viewer.segments += 1


@contextmanager
def _way_out(context: Context, request: web.Request, viewer: Viewer) -> Iterator[Outlet]:
    """The connection of a player that has its headers: watched, and cut when the viewer is ended."""
    transport = request.transport
    if transport is None:
        raise Closed("The player has left", reason="client_left")
    outlet = Outlet(SocketSink(transport))

    def cut(reason: str) -> None:
        outlet.end(reason)
        transport.abort()

    if not viewer.is_hls:
        viewer.live_bytes = lambda: outlet.sent
    outlet.on_dead = transport.abort
    context.audience.peers.add(outlet)
    try:
        with viewer.cut_by(cut):
            yield outlet
    finally:
        context.audience.peers.discard(outlet)


def _linger(request: web.Request) -> None:
    """Let what was sent before the end arrive; a player that takes nothing loses its connection then."""
    if request.transport is not None:
        asyncio.get_running_loop().call_later(LINGER, request.transport.abort)


async def _joined(ready: Awaitable[None], limit: float, detail: str) -> None:
    """Wait with everybody else for something to serve, at most ``limit`` seconds."""
    try:
        async with asyncio.timeout(limit):
            await ready
    except TimeoutError:
        raise Unavailable(detail, reason="join_wait") from None


def _redirect(request: web.Request, path: str) -> web.Response:
    """302 to another form of the same stream: path-absolute, the query kept."""
    root = request.app[CONTEXT].config.root_path
    query = request.rel_url.raw_query_string
    return web.Response(status=302, headers={"Location": root + path + (f"?{query}" if query else "")})
