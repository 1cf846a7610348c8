"""Segments for players, with keys and maps: of what FFmpeg writes, and of what a provider has."""

from __future__ import annotations

import sys
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePosixPath

from aiohttp import web

from m3u_proxy.errors import NotFound, UpstreamError
from m3u_proxy.ffmpeg.hls import HlsWriter
from m3u_proxy.media.playlist import Role
from m3u_proxy.media.sniff import ADTS, FRAGMENT, MP4, MPEGTS, WEBVTT, sniff
from m3u_proxy.pool.download import Download
from m3u_proxy.pool.downloads import Part, checked
from m3u_proxy.pool.passthrough import Passthrough
from m3u_proxy.pool.resources import Resource
from m3u_proxy.pool.supply import Supply
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.upstream.ranges import Slice, Unsatisfiable, parse_content_range, parse_range, parse_single
from m3u_proxy.web.answers import joined, send, send_pieces, waiting
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.identity import identify

UNKNOWN_TYPE = "application/octet-stream"
SEGMENT_TYPES = {
    ".ts": "video/mp2t",
    ".m4s": "video/iso.segment",
    ".mp4": "video/mp4",
    ".aac": "audio/aac",
    ".mp3": "audio/mpeg",
    ".ac3": "audio/ac3",
    ".vtt": "text/vtt",
    ".json": "application/json",
}
_TOLD_BY_BYTES = (MPEGTS, MP4, FRAGMENT, ADTS, WEBVTT)
_WRITTEN = {"Cache-Control": "public, max-age=60, immutable"}
_FETCHED = {"Cache-Control": "no-cache"}


async def segment(request: web.Request) -> web.StreamResponse:
    """``GET`` and ``HEAD /hls/{id}/segment``: found through its token only; one range is honoured."""
    context = request.app[CONTEXT]
    stream_id = request.match_info["id"]
    kind = context.audience.kind(stream_id)
    label = context.links.read(stream_id, request.query.get("t", ""))
    if kind.is_transcoded:
        return await _written(context, request, label)
    if request.method == "HEAD":
        return _foreseen(context, request, label)
    return await _fetched(context, request, label)


@dataclass(frozen=True, slots=True)
class Cut:
    """The head of an answer, and the bytes of the body that follow it; ``last`` ``None``: to the end."""

    response: web.StreamResponse
    first: int = 0
    last: int | None = None

    @property
    def has_body(self) -> bool:
        """Whether anything is to be sent at all."""
        return self.response.status != 416


def _cut(request: web.Request, size: int | None, headers: dict[str, str]) -> Cut:
    """The part of a body of ``size`` bytes that is wanted; all of one whose size is not known yet."""
    if size is None:
        return Cut(web.StreamResponse(headers=headers))
    headers = {**headers, "Accept-Ranges": "bytes"}
    try:
        part = parse_range(request.headers.get("Range"), size)
    except Unsatisfiable:
        return Cut(web.Response(status=416, headers={"Content-Range": f"bytes */{size}"}))
    if part is not None:
        headers["Content-Range"] = f"bytes {part.first}-{part.last}/{size}"
    response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
    first, last = part or Slice(0, size - 1)
    response.content_length = last - first + 1
    return Cut(response, first, last)


async def _written(context: Context, request: web.Request, label: str) -> web.StreamResponse:
    """A segment that FFmpeg wrote."""
    stream_id = request.match_info["id"]
    client = identify(request, stream_id)
    nonce, _, number = label.partition("-")
    writer = context.audience.playlists(stream_id)
    if not isinstance(writer, HlsWriter) or writer.nonce != nonce or int(number) not in writer.files:
        raise NotFound("Segment expired")
    found = writer.files[int(number)]
    content_type = SEGMENT_TYPES.get(PurePosixPath(found.name).suffix, UNKNOWN_TYPE)
    cut = _cut(request, found.size, {"Content-Type": content_type, **_WRITTEN})
    if request.method == "GET" and cut.has_body:
        _, viewer = context.audience.poll(stream_id, client)
        await _send_cut(context, request, viewer, cut, await context.segments.load(found))
    return cut.response


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
    listed = _listed(request, resource)
    download = source.downloads.find(resource, listed)
    if download is not None and download.error is not None:
        raise download.error.again()
    if download is None or not download.received:
        return _unmeasured(resource.suffix)
    return _cut_of(request, resource, listed, download).response


def _unmeasured(suffix: str) -> web.StreamResponse:
    """The head of a segment of which only the name is known."""
    return web.StreamResponse(headers={"Content-Type": SEGMENT_TYPES.get(suffix, UNKNOWN_TYPE), **_FETCHED})


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
        listed = _listed(request, resource)
        download = inner.downloads.fetch(resource, listed)
        await checked(resource, download)
        return resource, listed, download

    with waiting(viewer):
        resource, listed, download = await joined(
            attach(), context.config.join_wait, "The segment does not arrive"
        )
    cut = _cut_of(request, resource, listed, download)
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


def _listed(request: web.Request, resource: Resource) -> Part | None:
    """The byte range that a playlist named and this request is about, if it is about one.

    Of several in which it begins, that which holds most of it, and then the shortest.
    """
    asked = parse_single(request.headers.get("Range")) if resource.ranges else None
    if asked is None or asked.first is None:
        return None
    first, last = asked.first, sys.maxsize if asked.last is None else asked.last
    if (first, last) in resource.ranges:
        return first, last
    holding = [part for part in resource.ranges if part[0] <= first <= part[1]]
    return max(holding, key=lambda part: (min(part[1], last), part[0], -part[1]), default=None)


def _cut_of(request: web.Request, resource: Resource, listed: Part | None, download: Download) -> Cut:
    headers = {"Content-Type": _type_of(resource, download), **_FETCHED}
    if listed is None:
        return _cut(request, download.length, headers)
    asked = parse_single(request.headers.get("Range"))
    assert asked is not None
    assert asked.first is not None
    start, end, size = _extent(listed, download)
    first, last = asked.first, min(listed[1], end, listed[1] if asked.last is None else asked.last)
    total = "*" if size is None else size
    if first > last:
        return Cut(web.Response(status=416, headers={"Content-Range": f"bytes */{total}"}))
    if first < start:
        raise UpstreamError("protocol", "The provider sent another part than it was asked for")
    headers |= {"Accept-Ranges": "bytes", "Content-Range": f"bytes {first}-{last}/{total}"}
    response = web.StreamResponse(status=206, headers=headers)
    response.content_length = last - first + 1
    return Cut(response, first - start, last - start)


def _extent(listed: Part, download: Download) -> tuple[int, int, int | None]:
    """Where a body that was asked for as a part begins and ends in the whole, and the size of that.

    Not every provider gives parts, some give less than was asked for, and some do not say which.
    """
    head = download.head
    assert head is not None
    start, end, size = 0, sys.maxsize, download.length
    if head.status == 206:
        held = parse_content_range(head.headers.get("Content-Range", ""))
        start, end, size = *listed, None
        if held is not None and held.first is not None and held.last is not None:
            start, end, size = held.first, held.last, held.size
    if download.length is not None:
        end = min(end, start + download.length - 1)
    return start, end, size


def _type_of(resource: Resource, download: Download) -> str:
    """What its first bytes show; where they show nothing, encrypted for one, what its name says."""
    container = sniff(download.prefix) if resource.role not in (Role.KEY, Role.DATA) else None
    if container in _TOLD_BY_BYTES and container is not None:
        return container.content_type
    return SEGMENT_TYPES.get(resource.suffix, UNKNOWN_TYPE)
