"""Segments for players, with keys and maps: of what FFmpeg writes, and of what a provider has."""

from __future__ import annotations

import re
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import PurePosixPath

from aiohttp import web

from m3u_proxy.errors import NotFound
from m3u_proxy.ffmpeg.hls import HlsWriter
from m3u_proxy.media.playlist import Role
from m3u_proxy.media.sniff import ADTS, FRAGMENT, MP4, MPEGTS, WEBVTT, sniff
from m3u_proxy.pool.download import Download
from m3u_proxy.pool.downloads import Part, checked
from m3u_proxy.pool.passthrough import Passthrough
from m3u_proxy.pool.resources import Resource
from m3u_proxy.pool.supply import Supply
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.upstream.ranges import Slice, Unsatisfiable, parse_content_range, parse_range
from m3u_proxy.web.answers import joined, send, send_pieces
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
_RANGE = re.compile(r"bytes=(\d{1,19})-(\d{0,19})$")


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
        return web.StreamResponse(headers=_FETCHED)
    resource = source.resource(label)
    listed = _listed(request, resource)
    download = source.downloads.find(resource, listed)
    if download is None or not download.received:
        content_type = SEGMENT_TYPES.get(resource.suffix, UNKNOWN_TYPE)
        return web.StreamResponse(headers={"Content-Type": content_type, **_FETCHED})
    return _cut_of(request, resource, listed, download).response


async def _fetched(context: Context, request: web.Request, label: str) -> web.StreamResponse:
    """A segment, key or map that a provider has, fetched once for everybody."""
    stream_id = request.match_info["id"]
    thing, viewer = context.audience.poll(stream_id, identify(request, stream_id))
    assert isinstance(thing, Supply)

    async def attach() -> tuple[Resource, Part | None, Download]:
        inner = await thing.settled()
        if not isinstance(inner, Passthrough):
            raise NotFound("Segment expired")
        resource = inner.resource(label)
        listed = _listed(request, resource)
        download = inner.downloads.fetch(resource, listed)
        await checked(resource, download)
        return resource, listed, download

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


def _listed(request: web.Request, resource: Resource) -> Part | None:
    """The byte range that a playlist named and this request is about, if it is about one."""
    match = _RANGE.match(request.headers.get("Range", "")) if resource.ranges else None
    if match is None:
        return None
    first = int(match[1])
    holding = [part for part in resource.ranges if part[0] <= first <= part[1]]
    return max(holding, key=lambda part: part[0]) if holding else None


def _cut_of(request: web.Request, resource: Resource, listed: Part | None, download: Download) -> Cut:
    headers = {"Content-Type": _type_of(resource, download), **_FETCHED}
    if listed is None:
        return _cut(request, download.length, headers)
    match = _RANGE.match(request.headers["Range"])
    assert match is not None
    first, last = int(match[1]), min(int(match[2] or listed[1]), listed[1])
    head = download.head
    assert head is not None
    held = parse_content_range(head.headers.get("Content-Range", "")) if head.status == 206 else None
    start = held.first if held is not None and held.first is not None else 0  # not every provider gives parts
    size = held.size if held is not None else download.length
    headers |= {
        "Accept-Ranges": "bytes",
        "Content-Range": f"bytes {first}-{last}/{'*' if size is None else size}",
    }
    response = web.StreamResponse(status=206, headers=headers)
    response.content_length = last - first + 1
    return Cut(response, first - start, last - start)


def _type_of(resource: Resource, download: Download) -> str:
    """What its first bytes show; where they show nothing, encrypted for one, what its name says."""
    container = sniff(download.prefix) if resource.role not in (Role.KEY, Role.DATA) else None
    if container in _TOLD_BY_BYTES and container is not None:
        return container.content_type
    return SEGMENT_TYPES.get(resource.suffix, UNKNOWN_TYPE)
