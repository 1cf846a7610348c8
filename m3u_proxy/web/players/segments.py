"""Segments for players, with keys and maps: of what FFmpeg writes, and of what a provider has."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import PurePosixPath

from aiohttp import web

from m3u_proxy.errors import NotFound
from m3u_proxy.ffmpeg.hls.shelf import Segment
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.media.playlist import Role
from m3u_proxy.model import Client
from m3u_proxy.pool.hls.download import Download
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.hls.resources import Part, Resource
from m3u_proxy.pool.supply import Supply
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.players.answers import joined, send, send_pieces, waiting
from m3u_proxy.web.players.cuts import (
    FETCHED,
    SEGMENT_TYPES,
    UNKNOWN_TYPE,
    Cut,
    cut_of,
    listed_part,
    whole_or_part,
)
from m3u_proxy.web.players.handmade import listed_name
from m3u_proxy.web.players.identity import identify

NGINX_SEGMENTS = "/m3u-proxy-segments/"
"""The internal location of nginx that stands for ``HLS_TEMP_DIR``."""
_WRITTEN = {"Cache-Control": "public, max-age=60, immutable"}


async def segment(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /hls/{id}/segment``: found through its token; one range is honoured."""
    context = request.app[CONTEXT]
    stream_id = request.match_info["id"]
    kind = context.audience.kind(stream_id)
    if "url" in request.query:
        label = listed_name(context, request)
    else:
        label = context.links.read(stream_id, request.query.get("t", ""))
    if kind.is_transcoded:
        return await _written(context, request, label)
    if request.method == "HEAD":
        return _foreseen(context, request, label)
    return await _fetched(context, request, label)


async def _written(context: Context, request: web.Request, label: str) -> web.StreamResponse:
    stream_id = request.match_info["id"]
    client = identify(request, stream_id)
    nonce, _, number = label.partition("-")
    writer = context.audience.playlists(stream_id)
    if not isinstance(writer, HlsWriter) or writer.nonce != nonce or int(number) not in writer.files:
        raise NotFound("Segment expired")
    return await send_written(context, request, client, writer.files[int(number)])


async def send_written(
    context: Context, request: web.Request, client: Client, found: Segment
) -> web.StreamResponse:
    """A segment that FFmpeg wrote, or the part of it that is asked for; only GET makes a viewer."""
    content_type = SEGMENT_TYPES.get(PurePosixPath(found.name).suffix, UNKNOWN_TYPE)
    cut = whole_or_part(request, found.size, {"Content-Type": content_type, **_WRITTEN})
    if request.method == "GET" and cut.has_body:
        _, viewer = context.audience.poll(client.stream_id, client)
        if context.config.is_behind_nginx and await asyncio.to_thread(found.has_name):
            return _by_nginx(found, cut, viewer)
        await _send_cut(context, request, viewer, cut, await context.segments.load(found))
    return cut.response


def _by_nginx(found: Segment, cut: Cut, viewer: Viewer) -> web.Response:
    """Name the file for nginx, which cuts the range out of it itself; its bytes count as sent.

    Of our headers nginx keeps those of the type and of caching (X-Accel-Redirect in its documentation).
    """
    length = cut.response.content_length or 0
    viewer.base_bytes += length
    viewer.last_access = datetime.now(UTC)
    viewer.segments += 1
    headers = {"Content-Type": cut.response.content_type, **_WRITTEN}
    return web.Response(
        headers={**headers, "X-Accel-Redirect": f"{NGINX_SEGMENTS}{found.folder}/{found.name}"}
    )


async def _send_cut(context: Context, request: web.Request, viewer: Viewer, cut: Cut, body: bytes) -> None:
    is_whole = cut.first == 0 and cut.last in (None, len(body) - 1)
    part = body if is_whole else memoryview(body)[cut.first : None if cut.last is None else cut.last + 1]
    await send(context, request, cut.response, viewer, part)


def _foreseen(context: Context, request: web.Request, label: str) -> web.StreamResponse:
    """Answer to HEAD: with a length if the segment is in memory; nobody is asked for it."""
    source = context.audience.playlists(request.match_info["id"])
    if not isinstance(source, Passthrough):
        suffix = PurePosixPath(request.query["t"]).suffix  # honest: the label that was read covers it
        return _unmeasured(suffix)
    resource = _resource(source, label)
    listed = listed_part(request, resource)
    download = source.downloads.find(resource, listed)
    if download is not None and download.error is not None:
        raise download.error.again()
    if download is None or not download.received:
        return _unmeasured(resource.suffix)
    return cut_of(request, resource, listed, download).response


def _unmeasured(suffix: str) -> web.StreamResponse:
    """The head of a segment of which only the name is known."""
    return web.StreamResponse(headers={"Content-Type": SEGMENT_TYPES.get(suffix, UNKNOWN_TYPE), **FETCHED})


async def _fetched(context: Context, request: web.Request, label: str) -> web.StreamResponse:
    """A segment, key or map that a provider has, fetched once for everybody."""
    stream_id = request.match_info["id"]
    thing, viewer = context.audience.poll(stream_id, identify(request, stream_id))
    assert isinstance(thing, Supply)

    async def attach() -> tuple[Resource, Part | None, Download]:
        inner = await thing.settled()
        if not isinstance(inner, Passthrough):
            raise NotFound("Segment expired")
        resource = _resource(inner, label)
        listed = listed_part(request, resource)
        download = inner.downloads.fetch(resource, listed)
        await download.begun()
        return resource, listed, download

    with waiting(viewer):
        resource, listed, download = await joined(
            attach(), context.config.join_wait, "The segment does not arrive"
        )
    cut = cut_of(request, resource, listed, download)
    body = download.body
    if not cut.has_body:
        return cut.response
    if body is not None:
        await _send_cut(context, request, viewer, cut, body)
    else:
        async with aclosing(download.chunks(cut.first, cut.last)) as pieces:
            await send_pieces(context, request, cut.response, viewer, pieces)
    return cut.response


def _resource(source: Passthrough, label: str) -> Resource:
    """What a token names; not a playlist, which would be given out as the provider wrote it."""
    resource = source.resource(label)
    if resource.role is Role.PLAYLIST:
        raise NotFound("Not a segment")
    return resource
