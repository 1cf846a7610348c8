"""The lineup as players get it, and its guide."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from aiohttp import web

from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.choice import Choice
from m3u_proxy.lineup.guide import guide_urls
from m3u_proxy.media.lineup import writer
from m3u_proxy.model import Kind, endpoint_of, guess_kind, window_endpoint
from m3u_proxy.web.body import read_query
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.middleware import NO_STORE
from m3u_proxy.web.players.public import base_url
from m3u_proxy.web.schemas.channels import ChoiceQuery, GuideQuery, LineupQuery
from m3u_proxy.web.slices import send_slices

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
    disposition = 'inline; filename="playlist.m3u"'
    headers = {"Content-Type": LINEUP_TYPE, "Content-Disposition": disposition, **NO_STORE}
    slices = _written(request, Choice(query.group, query.search, enabled_only=True), as_hls=as_hls)
    return await send_slices(request, web.StreamResponse(headers=headers), slices)


async def _written(request: web.Request, choice: Choice, *, as_hls: bool) -> AsyncGenerator[bytes]:
    context = request.app[CONTEXT]
    base = base_url(request)
    attributes = context.channels.attributes
    count = len(guide_urls(attributes))
    guides = [f"{base}/xmltv" + (f"?guide={number}" if number > 1 else "") for number in range(1, count + 1)]
    lines = [writer.header(attributes, guides=guides)]
    live_is_strict = context.config.strict_live_ts
    for looked, channel in enumerate(context.channels.snapshot):
        if choice.fits(channel):
            url = base + (window_endpoint(channel.key) if as_hls else _path(channel, strict=live_is_strict))
            lines.append(writer.entry(channel.name, url, channel.attributes))
        if len(lines) >= SLICE:
            yield "".join(lines).encode()
            lines = []
        elif looked % LOOK == 0:
            await asyncio.sleep(0)
    yield "".join(lines).encode()


def _path(channel: Channel, *, strict: bool) -> str:
    return endpoint_of(channel.stream_id, Kind.LIVE if strict else guess_kind(channel.url))


async def guide(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /xmltv``: a guide that the lineup names, kept here; compressed if it came so."""
    context = request.app[CONTEXT]
    number = read_query(request, GuideQuery).guide
    one, url = context.guides.at(context.channels.attributes, number)
    if request.method == "HEAD" and one.known(url) is None:
        return web.Response(headers={"Content-Type": "application/xml", **NO_STORE})
    copy = await one.get(url)
    return web.FileResponse(
        copy.path, headers={"Content-Type": copy.content_type, "Cache-Control": "no-cache"}
    )
