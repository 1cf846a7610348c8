"""What FFmpeg reads on the loopback: playlists, segments and files, under an address made for one process."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import PurePosixPath

from aiohttp import web

from m3u_proxy.errors import ProxyError, UpstreamError
from m3u_proxy.media.playlist import Role
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.hls.resources import Resource
from m3u_proxy.pool.loopback import Grant, Grants
from m3u_proxy.pool.vod.position import Position
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.web.middleware import failure, status_of
from m3u_proxy.web.players.cuts import cut_of, listed_part

GRANTS = web.AppKey("grants", Grants)
_PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
_INDEX = "index.m3u8"


def loopback_application(grants: Grants) -> web.Application:
    """One route; every address is a one-off token and a name."""
    app = web.Application()
    app[GRANTS] = grants
    app.router.add_get("/{token}/{name}", _serve, allow_head=False)
    return app


async def _serve(request: web.Request) -> web.StreamResponse:
    grant = request.app[GRANTS].find(request.match_info["token"])
    if grant is None:
        return failure(404, "Not Found")
    source = grant.source
    try:
        if isinstance(source, Vod):
            return await _file(request, grant, source)
        return await _part_of_playlist(request, grant, source)
    except ProxyError as error:
        if request.writer.output_size > 0:  # a body that broke off must not look complete
            raise ConnectionError("the answer has begun") from None
        return failure(status_of(error), error.detail)


async def _part_of_playlist(request: web.Request, grant: Grant, source: Passthrough) -> web.StreamResponse:
    name = request.match_info["name"]
    stem = PurePosixPath(name).stem
    if name == _INDEX:
        return await _page(source, None)
    resource = source.resource(stem)
    if resource.role is Role.PLAYLIST:
        return await _page(source, stem)
    return await _segment(request, grant, source, resource)


async def _page(source: Passthrough, name: str | None) -> web.Response:
    """A playlist whose addresses are relative; of several variants FFmpeg is shown one."""
    page = await source.page(name)
    text = source.narrowed(page).render(lambda resource: resource.name + resource.suffix)
    body = text.encode("utf-8", "surrogateescape")
    return web.Response(body=body, headers={"Content-Type": _PLAYLIST_TYPE})


async def _segment(
    request: web.Request, grant: Grant, source: Passthrough, resource: Resource
) -> web.StreamResponse:
    """FFmpeg attaches to the download that viewers have, or they to its."""
    listed = listed_part(request, resource)
    download = source.downloads.fetch(resource, listed)
    await download.begun()
    cut = cut_of(request, resource, listed, download)
    if not cut.has_body:
        return cut.response
    async with aclosing(download.chunks(cut.first, cut.last)) as pieces:
        await cut.response.prepare(request)
        async for piece in pieces:
            await cut.response.write(piece)
            grant.sent += len(piece)
    await cut.response.write_eof()
    return cut.response


async def _moved(grant: Grant, source: Vod, wanted: str | None) -> Position:
    """A new place in the file. FFmpeg opens it before it lets go of the old one, so we let go of that."""
    async with grant.moving:
        last, grant.position = grant.position, None
        if last is not None:
            await last.aclose()
        try:
            grant.position = await source.open(wanted, None, grant.take_begun())
        except UpstreamError as error:
            grant.lose(error.reason)  # FFmpeg would go on with the old place, which is no more
            raise
        return grant.position


async def _file(request: web.Request, grant: Grant, source: Vod) -> web.StreamResponse:
    """A file from where FFmpeg wants it."""
    position = await _moved(grant, source, request.headers.get("Range"))
    try:
        response = web.StreamResponse(status=position.status, headers=position.headers)
        response.content_length = position.length
        await response.prepare(request)
        while piece := await position.read():
            await response.write(piece)
            grant.sent += len(piece)
        await response.write_eof()
    except ProxyError as error:
        if grant.position is position:  # not merely replaced by the next place
            grant.lose(error.reason)
        raise
    finally:
        await position.aclose()
    return response
