"""Playlists for players: of what FFmpeg writes, and of what a provider has."""

from __future__ import annotations

from time import monotonic

from aiohttp import web

from m3u_proxy.errors import Closed, NotFound, ProxyError
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.media.playlist import Role
from m3u_proxy.model import Client
from m3u_proxy.pool.hls.listing import Page
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.supply import Inner, Supply
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.middleware import NO_STORE
from m3u_proxy.web.players.answers import joined, redirect, waiting
from m3u_proxy.web.players.handmade import stream_asked
from m3u_proxy.web.players.identity import identify

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
NOTHING_YET = "Playlist not available"


async def playlist(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /hls/{id}/playlist.m3u8``: waits for something to list, at most ``join_wait``.

    A token names one of the playlists that the source's own names.
    """
    context = request.app[CONTEXT]
    stream_id = stream_asked(context, request)
    kind = context.audience.kind(stream_id)
    if not kind.is_hls:
        return redirect(request, f"/stream/{stream_id}")
    token = request.query.get("t")
    name = context.links.read(stream_id, token) if token is not None else None
    client = identify(request, stream_id)
    if request.method == "HEAD":
        return await _foreseen(context, client, name)
    page, viewer = await page_for(context, client, name)
    if page is None:
        context.audience.leave(viewer, "redirected")
        return redirect(request, f"/stream/{stream_id}")
    response = _response(context, page, client)
    viewer.base_bytes += response.content_length or 0
    return response


async def page_for(
    context: Context, client: Client, name: str | None
) -> tuple[HlsWriter | Page | None, Viewer]:
    """What to list for a client, who is a viewer from now on; ``None`` where the source has no playlist.

    Waits for it with everybody else; raises why there is none.
    """
    began = monotonic()
    kind = context.audience.kind(client.stream_id)
    thing, viewer = context.audience.poll(client.stream_id, client)
    warm, joins = thing.is_warm, not viewer.bytes_served
    try:
        with waiting(viewer):
            page = await joined(_page(thing, name), context.config.join_wait, NOTHING_YET)
    except ProxyError as error:
        why = thing.error
        if why is None:  # one that is only slow keeps its viewer, who will ask again
            raise
        context.audience.leave(viewer, why.reason)
        if isinstance(error, Closed):  # who waits learns why it was closed
            raise why.again() from None
        raise
    if joins and page is not None:
        context.first_byte(kind, warm, monotonic() - began)
    return page, viewer


async def _page(thing: Supply | HlsWriter, name: str | None) -> HlsWriter | Page | None:
    """What to list; ``None`` when the source has turned out to have no playlist."""
    if isinstance(thing, HlsWriter):
        await thing.ready()
        return thing

    async def read(inner: Inner) -> Page | None:
        return await inner.page(name) if isinstance(inner, Passthrough) else None

    return await thing.through(read)


async def _foreseen(context: Context, client: Client, name: str | None) -> web.Response:
    """Answer to HEAD: with a length if the playlist is there; nobody is asked for it."""
    source = context.audience.playlists(client.stream_id)
    page: HlsWriter | Page | None = source if isinstance(source, HlsWriter) and source.is_warm else None
    if isinstance(source, Passthrough):
        if name is not None and source.resource(name).role is not Role.PLAYLIST:
            raise NotFound("Not a playlist")
        page = source.known_page(name)
    return _response(context, page, client)


def _response(context: Context, page: HlsWriter | Page | None, client: Client) -> web.Response:
    return list_response(client, None if page is None else context.links.playlist(page, client))


def list_response(client: Client, text: bytes | None) -> web.Response:
    """A playlist; without ``text`` the head of one that is not there yet."""
    headers = {
        "Content-Type": PLAYLIST_TYPE,
        "X-Client-ID": client.id,
        "X-Stream-ID": client.stream_id,
        **NO_STORE,
    }
    return web.Response(headers=headers) if text is None else web.Response(body=text, headers=headers)
