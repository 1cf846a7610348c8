"""Editors: channels one by one, and whole lineups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from time import monotonic

from aiohttp import web
from pydantic_core import to_json

from m3u_proxy.errors import Unavailable, UpstreamError
from m3u_proxy.lineup.breath import Breath
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.choice import Choice
from m3u_proxy.lineup.importer import LINEUP_BYTES
from m3u_proxy.lineup.place import PATIENCE, opened
from m3u_proxy.lineup.plan import Mode
from m3u_proxy.media.lineup.reader import ENTRIES
from m3u_proxy.media.lineup.writer import slug
from m3u_proxy.web.body import ask_for_body, read_model, read_query
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.middleware import Refused
from m3u_proxy.web.schemas.channels import (
    ChannelFields,
    ChannelRequest,
    ChannelsQuery,
    ImportQuery,
    LineupReference,
    channel_json,
    imported_json,
)
from m3u_proxy.web.slices import send_slices

LINEUP_TYPES = ("audio/x-mpegurl", "audio/mpegurl", "application/vnd.apple.mpegurl", "application/x-mpegurl")
SLICE = 200
"""Channels of a list that are written at once."""


async def list_channels(request: web.Request) -> web.StreamResponse:
    """``GET /api/v1/channels``: those that are wanted, in the order of the lineup."""
    query = read_query(request, ChannelsQuery)
    chosen = await choose(request.app[CONTEXT].channels, Choice(query.group, query.search))
    end = None if query.limit is None else query.offset + query.limit
    wanted = chosen[query.offset : end]
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    return await send_slices(request, response, _listed(wanted, len(chosen)))


async def _listed(wanted: Sequence[Channel], total: int) -> AsyncGenerator[bytes]:
    yield b'{"channels":['
    for at in range(0, len(wanted), SLICE):
        rows = to_json([channel_json(one) for one in wanted[at : at + SLICE]])
        yield (b"," if at else b"") + rows[1:-1]
    yield b'],"total":%d}' % total


async def choose(channels: Channels, choice: Choice) -> list[Channel]:
    """The channels that are wanted, as they are now, without holding up the loop."""
    chosen, breath = [], Breath()
    for channel in channels.snapshot:
        if choice.fits(channel):
            chosen.append(channel)
        if breath.is_due:
            await breath.take()
    return chosen


async def add_channel(request: web.Request) -> web.Response:
    """``POST /api/v1/channels``: one more at the end of the lineup; contacts nobody."""
    context = request.app[CONTEXT]
    body = await read_model(request, ChannelRequest, context.config.body_timeout)
    if len(context.channels) >= ENTRIES:
        raise Unavailable(f"There are {ENTRIES} channels", reason="max_channels", retry_after=60.0)
    channel = _checked(
        context, body.channel(body.key or _free_key(context.channels, body.name), by_hand=True)
    )
    context.channels.add(channel)
    return web.json_response(channel_json(channel), status=201)


async def show_channel(request: web.Request) -> web.Response:
    """``GET /api/v1/channels/{key}``: one of them."""
    return web.json_response(channel_json(request.app[CONTEXT].channels.get(request.match_info["key"])))


async def change_channel(request: web.Request) -> web.Response:
    """``PUT /api/v1/channels/{key}``: all of it but the key. Who watches goes on, from its next source on."""
    context = request.app[CONTEXT]
    key = request.match_info["key"]
    context.channels.get(key)
    body = await read_model(request, ChannelFields, context.config.body_timeout)
    old = context.channels.get(key)
    channel = _checked(context, body.channel(key, by_hand=old.by_hand))
    context.channels.put(channel)
    return web.json_response(channel_json(channel))


async def delete_channel(request: web.Request) -> web.Response:
    """``DELETE /api/v1/channels/{key}``: returns when its viewers are cut and its source is closed."""
    context = request.app[CONTEXT]
    channel = context.channels.delete(request.match_info["key"])
    is_alone = context.channels.of_stream(channel.stream_id) is None
    record = context.audience.catalog.get(channel.stream_id)
    if is_alone and record is not None and not record.lasting:  # those that last were made by an editor
        await context.audience.delete(channel.stream_id, "manual_deletion")
    return web.json_response({"message": f"Channel {channel.key} deleted"})


def _checked(context: Context, channel: Channel) -> Channel:
    """A channel whose URLs and header fields may be used; raises ``InvalidField``."""
    context.check_url("url", channel.url)
    for index, url in enumerate(channel.failover_urls):
        context.check_url(f"failover_urls.{index}", url)
    context.request_headers(channel.url, context.config.user_agent, channel.headers)
    return channel


def _free_key(channels: Channels, name: str) -> str:
    base = key = slug(name)
    number = 2
    while key in channels:
        key, number = f"{base}_{number}", number + 1
    return key


# -- imports --------------------------------------------------------------------------------------------


async def import_lineup(request: web.Request) -> web.Response:
    """``POST /api/v1/channels/import``: a lineup as it is, ``audio/x-mpegurl`` or ``text/plain``, or its URL.

    It replaces the one in force, or is merged into it; one of which nothing can be used changes nothing.
    """
    context = request.app[CONTEXT]
    mode = Mode(read_query(request, ImportQuery).mode)
    importer = context.importer
    if importer.is_busy:
        raise Unavailable("Another import is at work", reason="importing")
    kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
    # A page of another site can send text where a browser asks us nothing first.
    if kind in LINEUP_TYPES or (kind == "text/plain" and "Origin" not in request.headers):
        return web.json_response(imported_json(await importer.take(_body(context, request), mode)))
    if kind != "application/json":
        raise Refused(415, "The body must be audio/x-mpegurl, or application/json with a url", {})
    body = await read_model(request, LineupReference, context.config.body_timeout)
    url = context.check_url("url", body.url)
    async with opened(context.open_document(url, {}), limit=LINEUP_BYTES) as document:
        if document is None:
            raise UpstreamError("protocol", "The provider says that nothing has changed since never")
        return web.json_response(imported_json(await importer.take(document[1], mode)))


async def _body(context: Context, request: web.Request) -> AsyncGenerator[bytes]:
    """What is sent, as it arrives: no import of others goes on meanwhile, so it must come to an end."""
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(415, "The body must have no Content-Encoding", {})
    if (request.content_length or 0) > LINEUP_BYTES:
        raise web.HTTPRequestEntityTooLarge(LINEUP_BYTES, request.content_length or 0)
    await ask_for_body(request)
    taken, until = 0, monotonic() + PATIENCE
    while True:
        try:
            async with asyncio.timeout(min(context.config.body_timeout, until - monotonic())):
                piece = await request.content.readany()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        if not piece:
            return
        taken += len(piece)
        if taken > LINEUP_BYTES:
            raise web.HTTPRequestEntityTooLarge(LINEUP_BYTES, taken)
        yield piece
