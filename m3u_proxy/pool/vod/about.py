"""What is known of a file at a provider, and what a player is told of it.

Pure: the judgement of heads and first bytes (RFC 9110 §8.8, §13.1.5, §14), without a connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from m3u_proxy.errors import ProxyError, UpstreamError
from m3u_proxy.media.mpegts import has_adts_audio
from m3u_proxy.media.sniff import MPEGTS, PLAYLIST, TEXT, Container, sniff
from m3u_proxy.upstream.ranges import ContentRange, Single, Unsatisfiable, parse_content_range, parse_single
from m3u_proxy.upstream.source import Head

_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')  # RFC 9110 §8.8.3, without obs-text
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]{1,64}")
_LENGTH = re.compile(r"[0-9]{1,19}")
_JUDGED_FROM = 64
"""Bytes of a longer file that are too few to call it a text: many formats begin with a printable word."""
_BY_SUFFIX = {
    ".ts": "video/mp2t",
    ".mp4": "video/mp4",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
    ".avi": "video/x-msvideo",
}
_UNKNOWN_TYPE = "application/octet-stream"


class RangeNotSatisfiable(ProxyError):
    """The byte range that a player asks for lies outside the file."""

    def __init__(self, size: int | None) -> None:
        super().__init__("Range not satisfiable", reason="range")
        self.size = size
        """Bytes of the file, for ``Content-Range: bytes */size``; ``None`` where unknown."""


@dataclass(frozen=True)
class About:
    """What any connection has learnt of the file."""

    size: int | None
    """Bytes."""
    content_type: str
    etag: str | None
    last_modified: str | None
    accepts_ranges: bool
    container: Container | None
    """As told from its first bytes; ``None`` before any were seen, or if they are of no known format."""
    has_adts: bool = False
    """A transport stream whose audio is AAC in ADTS."""

    @property
    def validator(self) -> str | None:
        """What an If-Range field may hold: a strong entity tag, else the date (§13.1.5)."""
        return self.etag if self.etag is not None and not _is_weak(self.etag) else self.last_modified

    def confirms(self, if_range: str) -> bool | None:
        """Whether the player's validator is that of this file; ``None`` if the file has none of its sort."""
        known = self.etag if '"' in if_range else self.last_modified
        if _is_weak(if_range):
            return False
        return None if known is None else known == if_range

    def differs(self, other: About) -> bool:
        """Whether two answers cannot be about the same bytes."""
        pairs = (
            (self.size, other.size),
            (self.etag, other.etag),
            (self.last_modified, other.last_modified),
        )
        return any(None not in pair and pair[0] != pair[1] for pair in pairs)


def _is_weak(etag: str) -> bool:
    return etag.startswith("W/")


@dataclass(frozen=True)
class Reply:
    """The head of an answer to a player."""

    status: int
    """200 or 206."""
    headers: dict[str, str]
    length: int | None
    """Bytes of the body; ``None`` where unknown."""


@dataclass(frozen=True)
class Wish:
    """What a player wants of the file, as the provider is asked for it."""

    part: Single | None
    """``None``: the whole."""
    if_range: str | None = None

    @property
    def fields(self) -> dict[str, str]:
        """Header fields of the request."""
        if self.part is None:
            return {}
        fields = {"Range": str(self.part)}
        return {**fields, "If-Range": self.if_range} if self.if_range else fields

    @classmethod
    def of(cls, wanted: str | None, if_range: str | None, known: About | None) -> Wish:
        """What ``wanted``, a Range field, asks for, as far as can be said before the provider answers.

        A range that lies outside the size we know is asked for all the same: files of recordings grow.
        """
        part = parse_single(wanted)
        if part is None:
            return cls(None)
        if if_range is not None:
            is_valid = _ETAG.fullmatch(if_range) or _DATE.fullmatch(if_range)
            if not is_valid or _is_weak(if_range) or (known and known.confirms(if_range) is False):
                return cls(None)
        if known is not None and known.size is not None:
            try:
                first, last = part.within(known.size)
            except Unsatisfiable:
                return cls(part, if_range)
            part = Single(first, last if last < known.size - 1 else None)
        return cls(part, if_range)


def extent(head: Head, wish: Wish) -> ContentRange:
    """The bytes of the file that a body holds, as its head says; ``last`` is ``None`` if it does not.

    Raises UpstreamError if the body is not what was asked for, or is nothing that could be sent on.
    """
    if head.headers.get("Content-Encoding", "identity").strip().lower() not in ("identity", ""):
        raise UpstreamError("not_media", "The provider sends the file compressed", status=head.status)
    length = _length(head.headers)
    if head.status != 206:
        if length == 0:
            raise UpstreamError("not_media", "The provider's file is empty", status=head.status)
        return ContentRange(0, None if length is None else length - 1, length)
    held = parse_content_range(head.headers.get("Content-Range", ""))
    if held is None or held.first is None or held.last is None:
        raise _mismatch("The provider does not say which part of the file it sends")
    if length is not None and length != held.last - held.first + 1:
        raise _mismatch("The provider's length is not that of the part it sends")
    if not _fits(held.first, held.last, held.size, wish.part):
        raise _mismatch("The provider sends another part of the file than the one asked for")
    return held


def _fits(first: int, last: int, size: int | None, part: Single | None) -> bool:
    if part is None:
        return first == 0 and size == last + 1
    if part.first is not None:
        return first == part.first
    assert part.last is not None
    return last - first < part.last and size in (None, last + 1)


def _mismatch(detail: str) -> UpstreamError:
    return UpstreamError("protocol", detail, status=206)


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if _LENGTH.fullmatch(text) and "Transfer-Encoding" not in headers else None


def learnt(head: Head, held: ContentRange, wish: Wish, before: About | None, url: str) -> About:
    """What a head tells, completed with what was known of the same file ``before``."""
    about = About(
        size=held.size,
        content_type=head.content_type,
        etag=_field(_ETAG, head.headers.get("ETag")),
        last_modified=_field(_DATE, head.headers.get("Last-Modified")),
        accepts_ranges=True,
        container=None,
    )
    same = before if before is not None and not before.differs(about) else None
    container = same.container if same else None
    is_proven = same is not None and about.validator is not None and about.validator == same.validator
    return replace(
        about,
        size=same.size if same is not None and is_proven and about.size is None else about.size,
        accepts_ranges=_accepts_ranges(head, held, wish, same),
        container=container,
        content_type=_media_type(head.content_type, container, url),
        has_adts=same is not None and same.has_adts,
    )


def _field(form: re.Pattern[str], value: str | None) -> str | None:
    return value if value is not None and form.fullmatch(value) else None


def _accepts_ranges(head: Head, held: ContentRange, wish: Wish, before: About | None) -> bool:
    if head.status == 206:
        return True
    said = head.headers.get("Accept-Ranges", "").strip().lower()
    if said == "none" or (wish.part is not None and wish.if_range is None):
        return False
    return said == "bytes" or (held.size is not None if before is None else before.accepts_ranges)


def judged(about: About, head: Head, prefix: bytes, url: str, *, is_whole: bool) -> About:
    """``about`` with what the first bytes of the file show. Raises UpstreamError (not_media).

    ``is_whole``: the file has no more bytes than these.
    """
    container = sniff(prefix) if is_whole or len(prefix) >= _JUDGED_FROM else None
    if container is TEXT or (container is None and head.content_type.startswith("text/")):
        raise UpstreamError("not_media", "The provider sent a web page or a text instead of a file")
    if container is PLAYLIST:
        raise UpstreamError("not_media", "The provider sent a playlist instead of a file")
    if container is None:
        return about
    return replace(
        about,
        container=container,
        content_type=_media_type(head.content_type, container, url),
        has_adts=container is MPEGTS and has_adts_audio(prefix),
    )


def _media_type(said: str, container: Container | None, url: str) -> str:
    """The provider's word if it is plausible, else what the bytes show, else what the name says."""
    if said.startswith(("video/", "audio/")):
        return said
    if container is not None:
        return container.content_type
    path = urlsplit(url).path.lower()
    return next((media for suffix, media in _BY_SUFFIX.items() if path.endswith(suffix)), _UNKNOWN_TYPE)


def reply(about: About, held: ContentRange, *, is_part: bool) -> Reply:
    """The head for a body of the bytes ``held``: header fields of ours, by an allow-list."""
    headers = {
        "Content-Type": about.content_type,
        "Accept-Ranges": "bytes" if about.accepts_ranges else "none",
    }
    if about.etag is not None:
        headers["ETag"] = about.etag
    if about.last_modified is not None:
        headers["Last-Modified"] = about.last_modified
    length = None if held.last is None or held.first is None else held.last - held.first + 1
    if not is_part:
        return Reply(200, headers, length)
    size = "*" if held.size is None else held.size
    headers["Content-Range"] = f"bytes {held.first}-{held.last}/{size}"
    return Reply(206, headers, length)


def foreseen(about: About, wanted: str | None, if_range: str | None) -> Reply:
    """What GET would be answered, from memory. Raises RangeNotSatisfiable."""
    part = parse_single(wanted)
    size = about.size
    last = None if size is None else size - 1
    valid = if_range is None or about.confirms(if_range)
    if part is None or size is None or not about.accepts_ranges or not valid:
        return reply(about, ContentRange(0, last, size), is_part=False)
    try:
        held = part.within(size)
    except Unsatisfiable:
        raise RangeNotSatisfiable(size) from None
    return reply(about, ContentRange(held.first, held.last, size), is_part=True)
