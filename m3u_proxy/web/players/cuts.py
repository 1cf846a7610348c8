"""Which bytes of a segment a request is about, and the head of the answer that they follow."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from aiohttp import web

from m3u_proxy.errors import UpstreamError
from m3u_proxy.media.playlist import Role
from m3u_proxy.media.sniff import ADTS, FRAGMENT, MP4, MPEGTS, WEBVTT, sniff
from m3u_proxy.pool.hls.download import Download
from m3u_proxy.pool.hls.resources import Part, Resource
from m3u_proxy.upstream.ranges import Slice, Unsatisfiable, parse_content_range, parse_range, parse_single

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
FETCHED = {"Cache-Control": "no-cache"}


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


def whole_or_part(request: web.Request, size: int | None, headers: dict[str, str]) -> Cut:
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


def listed_part(request: web.Request, resource: Resource) -> Part | None:
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


def cut_of(request: web.Request, resource: Resource, listed: Part | None, download: Download) -> Cut:
    """What to answer from a download of ``listed``, or of the whole. Raises UpstreamError."""
    headers = {"Content-Type": type_of(resource, download), **FETCHED}
    if listed is None:
        return whole_or_part(request, download.length, headers)
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


def type_of(resource: Resource, download: Download) -> str:
    """What its first bytes show; where they show nothing, encrypted for one, what its name says."""
    container = sniff(download.prefix) if resource.role not in (Role.KEY, Role.DATA) else None
    if container in _TOLD_BY_BYTES and container is not None:
        return container.content_type
    return SEGMENT_TYPES.get(resource.suffix, UNKNOWN_TYPE)
