"""A small honest reader of HLS: what a player would ask for, and whatever a player would stumble over."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

import aiohttp

from tests.support.hls_media import aes_128

_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')


@dataclass(frozen=True)
class Key:
    """EXT-X-KEY with AES-128; ``iv`` of None is the sequence number (RFC 8216 §5.2)."""

    url: str
    iv: bytes | None


@dataclass(frozen=True)
class Span:
    """Something to fetch: an address, and a range of it where EXT-X-BYTERANGE says so."""

    url: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Segment:
    """One media segment; URLs are absolute."""

    span: Span
    sequence: int
    duration: float
    key: Key | None
    map: Span | None
    discontinuity: bool
    gap: bool


@dataclass(frozen=True)
class Variant:
    """One EXT-X-STREAM-INF."""

    url: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Rendition:
    """One EXT-X-MEDIA with a URI."""

    url: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Playlist:
    """A playlist as it was served. ``url`` is where it was found in the end."""

    url: str
    text: str
    target: float
    sequence: int
    ended: bool
    segments: tuple[Segment, ...]
    variants: tuple[Variant, ...]
    renditions: tuple[Rendition, ...]

    def variant(self, resolution: str) -> Variant:
        """The variant of a resolution (``640x360``)."""
        return next(one for one in self.variants if one.attributes["RESOLUTION"] == resolution)

    def rendition(self, kind: str, language: str) -> Rendition:
        """The rendition of a TYPE and a LANGUAGE."""
        return next(
            one
            for one in self.renditions
            if (one.attributes["TYPE"], one.attributes["LANGUAGE"]) == (kind, language)
        )


def attributes_of(line: str) -> dict[str, str]:
    """Attribute list of a tag (RFC 8216 §4.2), quotes removed."""
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.partition(":")[2])}


def parse(text: str, url: str) -> Playlist:
    """Read a playlist; ValueError where it is none."""
    lines = text.splitlines()
    if not lines or lines[0] != "#EXTM3U":
        raise ValueError(f"no playlist: {text[:80]!r}")
    first = int(_value(lines, "MEDIA-SEQUENCE", "0"))
    renditions = [attributes_of(line) for line in lines if line.startswith("#EXT-X-MEDIA:")]
    return Playlist(
        url=url,
        text=text,
        target=float(_value(lines, "TARGETDURATION", "0")),
        sequence=first,
        ended="#EXT-X-ENDLIST" in lines,
        segments=tuple(_segments(lines, url, first)),
        variants=tuple(
            Variant(urljoin(url, lines[n + 1]), attributes_of(line))
            for n, line in enumerate(lines)
            if line.startswith("#EXT-X-STREAM-INF:")
        ),
        renditions=tuple(Rendition(urljoin(url, each["URI"]), each) for each in renditions if "URI" in each),
    )


def _value(lines: list[str], tag: str, default: str) -> str:
    return next((line.partition(":")[2] for line in lines if line.startswith(f"#EXT-X-{tag}:")), default)


def _segments(lines: list[str], base: str, first: int) -> Iterator[Segment]:
    key: Key | None = None
    section: Span | None = None
    duration: float | None = None
    discontinuity = gap = False
    span = Span("")
    end = 0
    for line in lines:
        tag, _, value = line.partition(":")
        if tag == "#EXTINF":
            duration = float(value.split(",")[0])
        elif tag == "#EXT-X-KEY":
            key = _key(attributes_of(line), base)
        elif tag == "#EXT-X-MAP":
            section = _section(attributes_of(line), base)
        elif tag == "#EXT-X-BYTERANGE":
            span = _span(value, end)
        elif tag == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif tag == "#EXT-X-GAP":
            gap = True
        elif line and not line.startswith("#") and duration is not None:
            span = replace(span, url=urljoin(base, line))
            yield Segment(span, first, duration, key, section, discontinuity, gap)
            end = span.offset + (span.length or 0)
            first, duration, discontinuity, gap, span = first + 1, None, False, False, Span("")


def _key(said: dict[str, str], base: str) -> Key | None:
    if said["METHOD"] == "NONE":
        return None
    assert said["METHOD"] == "AES-128", said
    iv = bytes.fromhex(said["IV"][2:].rjust(32, "0")) if "IV" in said else None
    return Key(urljoin(base, said["URI"]), iv)


def _section(said: dict[str, str], base: str) -> Span:
    span = _span(said["BYTERANGE"], 0) if "BYTERANGE" in said else Span("")
    return replace(span, url=urljoin(base, said["URI"]))


def _span(value: str, end: int) -> Span:
    length, _, offset = value.partition("@")
    return Span("", int(offset) if offset else end, int(length))


@dataclass
class HlsReader:
    """Reads one playlist, multivariant or not, and what it names.

    ``url`` is absolute, or below the session's. ``errors`` holds what a player would
    stumble over, ``served`` every playlist text, ``fetched`` the plain bytes by sequence number.
    """

    http: aiohttp.ClientSession
    url: str
    errors: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    fetched: dict[int, bytes] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    """Content types by URL."""
    _keys: dict[str, bytes] = field(default_factory=dict)
    _names: dict[int, Span] = field(default_factory=dict)
    _last: Playlist | None = None

    async def playlist(self, url: str | None = None) -> Playlist:
        """Fetch a playlist, redirects included; it must be 200 and one."""
        async with self.http.get(url or self.url) as response:
            text = await response.text()
            assert response.status == 200, f"{response.status}: {text[:200]}"
            self.types[str(response.url)] = response.content_type
            self.served.append(text)
            return parse(text, str(response.url))

    async def fetch(self, segment: Segment) -> bytes:
        """Bytes of a segment, decrypted. An error raises."""
        data = await self.get(segment.span)
        if segment.key is None:
            return data
        if segment.key.url not in self._keys:
            self._keys[segment.key.url] = await self.get(Span(segment.key.url))
        iv = segment.key.iv or segment.sequence.to_bytes(16, "big")
        return await asyncio.to_thread(aes_128, data, self._keys[segment.key.url], iv)

    async def get(self, span: Span) -> bytes:
        """Bytes of one span; 200, or 206 where a range was asked for."""
        headers = {}
        if span.length is not None:
            headers["Range"] = f"bytes={span.offset}-{span.offset + span.length - 1}"
        async with self.http.get(span.url, headers=headers) as response:
            body = await response.read()
            assert response.status == (206 if headers else 200), f"{response.status}: {body[:200]!r}"
            assert span.length in {None, len(body)}, f"{len(body)} bytes of {span}"
            self.types[span.url] = response.content_type
            return body

    async def read(self, wanted: Playlist) -> bytes:
        """All segments of a playlist one after another, behind their initialization section."""
        movie = bytearray()
        section: Span | None = None
        for segment in wanted.segments:
            if segment.map is not None and segment.map != section:
                section = segment.map
                movie += await self.get(section)
            self.fetched[segment.sequence] = await self.fetch(segment)
            movie += self.fetched[segment.sequence]
        return bytes(movie)

    async def follow(
        self, url: str, *, segments: int, within: float = 30.0, poll: float = 0.2, newest: int = 3
    ) -> None:
        """Play from the ``newest`` listed segments on until so many are in ``fetched`` or the list ends."""
        deadline = time.monotonic() + within
        while len(self.fetched) < segments:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self.fetched)} of {segments} segments, errors {self.errors}")
            now = await self.playlist(url)
            self._compare(now)
            start = min(self.fetched, default=now.segments[-newest:][0].sequence if now.segments else 0)
            for each in now.segments:
                if each.sequence >= start and each.sequence not in self.fetched and not each.gap:
                    await self._take(each)
            if now.ended:
                return
            await asyncio.sleep(poll)

    async def _take(self, segment: Segment) -> None:
        try:
            self.fetched[segment.sequence] = await self.fetch(segment)
        except (AssertionError, aiohttp.ClientError) as error:
            self.errors.append(f"segment {segment.sequence}: {error!r}")

    def _compare(self, now: Playlist) -> None:
        """What RFC 8216 §6.2.2 forbids between two loads of a live playlist."""
        before, self._last = self._last, now
        if before is not None and now.sequence < before.sequence:
            self.errors.append(f"sequence fell from {before.sequence} to {now.sequence}")
        for each in now.segments:
            if self._names.setdefault(each.sequence, each.span) != each.span:
                self.errors.append(f"segment {each.sequence} changed its name")
            if round(each.duration) > now.target:
                self.errors.append(f"segment {each.sequence} is longer than the target duration")
