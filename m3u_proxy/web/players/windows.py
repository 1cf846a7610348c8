"""Channels as HLS of a few seconds, as players read them."""

from __future__ import annotations

import re

from aiohttp import web

from m3u_proxy.errors import NotFound
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.players.identity import identify
from m3u_proxy.web.players.playlists import list_response, page_for
from m3u_proxy.web.players.segments import send_written

_SEGMENT = re.compile(r"segment_[0-9]{8}_[0-9]{6}_[0-9]{3,10}\.ts", re.ASCII)


async def playlist(request: web.Request) -> web.Response:
    """``GET`` and ``HEAD /hls_streams/{key}/master.m3u8``: the media playlist itself.

    Segments are named relative to it, so that they are found wherever a proxy in front has put it. They carry
    no query, and a viewer is told by its address and its player alone.
    """
    context = request.app[CONTEXT]
    key = request.match_info["key"]
    if request.method == "HEAD":
        client = identify(request, context.windows.id_of(key), by_query=False)
        known = context.audience.playlists(client.stream_id)
        writer = known if isinstance(known, HlsWriter) and known.is_warm else None
        return list_response(client, _text(writer) if writer else None)
    client = identify(request, context.windows.open(key), by_query=False)
    page, viewer = await page_for(context, client, None)
    assert isinstance(page, HlsWriter)
    response = list_response(client, _text(page))
    viewer.base_bytes += response.content_length or 0
    return response


def _text(writer: HlsWriter) -> bytes:
    return writer.timeline.render(lambda _, name: name).encode()


async def segment(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /hls_streams/{key}/{segment}``: what the playlist lists, or listed a moment ago."""
    context = request.app[CONTEXT]
    name = request.match_info["segment"]
    stream_id = context.windows.id_of(request.match_info["key"])
    writer = context.audience.playlists(stream_id)
    if not _SEGMENT.fullmatch(name) or not isinstance(writer, HlsWriter):
        raise NotFound("Segment expired")
    found = next((one for one in writer.files.values() if one.name == name), None)
    if found is None:
        raise NotFound("Segment expired")
    return await send_written(context, request, identify(request, stream_id, by_query=False), found)
