"""The lineup as players get it, and its guide."""

from __future__ import annotations

import asyncio

from aiohttp import web

from m3u_proxy.errors import NotFound
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.choice import Choice
from m3u_proxy.lineup.guide import guide_url
from m3u_proxy.media.lineup import writer
from m3u_proxy.model import Kind, endpoint_of, guess_kind, window_endpoint
from m3u_proxy.web.body import read_query
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.middleware import NO_STORE, finish
from m3u_proxy.web.players.public import base_url
from m3u_proxy.web.schemas.channels import ChoiceQuery, LineupQuery

LINEUP_TYPE = "audio/x-mpegurl; charset=utf-8"
SLICE = 250
"""Channels that are written at once."""
LOOK = 5_000
"""Channels that are looked at before others have their turn, wanted or not."""


async def playlist(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /playlist.m3u``: every enabled channel, at our address."""
    query = read_query(request, LineupQuery)
    return await _lineup(request, query, as_hls=query.output == "hls")


async def static_hls(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /api/v1/channels/static-hls-m3u``: the same, every channel as HLS of its own."""
    return await _lineup(request, read_query(request, ChoiceQuery), as_hls=True)


async def _lineup(request: web.Request, query: ChoiceQuery, *, as_hls: bool) -> web.StreamResponse:
    """In slices: it may have 100,000 entries, and the first of them are on their way at once."""
    context = request.app[CONTEXT]
    base = base_url(request)
    disposition = 'inline; filename="playlist.m3u"'
    headers = {"Content-Type": LINEUP_TYPE, "Content-Disposition": disposition, **NO_STORE}
    response = web.StreamResponse(headers=headers)
    finish(request, response)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    choice = Choice(query.group, query.search, enabled_only=True)
    lines = [writer.header(context.channels.attributes, guide=f"{base}/xmltv")]
    live_is_strict = context.config.strict_live_ts
    for looked, channel in enumerate(list(context.channels)):
        if choice.fits(channel):
            url = base + (window_endpoint(channel.key) if as_hls else _path(channel, strict=live_is_strict))
            lines.append(writer.entry(channel.name, url, channel.attributes))
        if len(lines) >= SLICE:
            await response.write("".join(lines).encode())
            lines = []
            await asyncio.sleep(0)
        elif looked % LOOK == 0:
            await asyncio.sleep(0)
    await response.write("".join(lines).encode())
    await response.write_eof()
    return response


def _path(channel: Channel, *, strict: bool) -> str:
    return endpoint_of(channel.stream_id, Kind.LIVE if strict else guess_kind(channel.url))


async def guide(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /xmltv``: the guide that the lineup names, kept here; compressed if it came so."""
    context = request.app[CONTEXT]
    attributes = context.channels.attributes
    url = guide_url(attributes)
    if url is None:
        raise NotFound("The lineup names no guide")
    if request.method == "HEAD" and context.guide.known(url) is None:
        return web.Response(headers={"Content-Type": "application/xml", **NO_STORE})
    copy = await context.guide.get(attributes)
    kind = "application/gzip" if copy.is_gzip else "application/xml"
    return web.FileResponse(copy.path, headers={"Content-Type": kind, "Cache-Control": "no-cache"})
