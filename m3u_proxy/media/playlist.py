"""HLS playlists as they pass through the proxy: read once, written with other URLs (RFC 8216, 8216bis). Pure.

:func:`parse` finds every URI by a table of tags and leaves out what could carry an address past it;
:meth:`Playlist.render` puts a viewer's URLs in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from m3u_proxy.media.hls import window
from m3u_proxy.media.hls.draft import ENTRIES, LINE, Draft
from m3u_proxy.media.hls.guard import Guard
from m3u_proxy.media.hls.model import (
    GAP_URL,
    NotAPlaylist,
    Playlist,
    Reference,
    Role,
    Slot,
    SlotKind,
    references_of,
    without,
)
from m3u_proxy.media.hls.reader import DEFAULT_TARGET, Reader
from m3u_proxy.media.hls.variables import Variables

__all__ = [
    "ENTRIES",
    "GAP_URL",
    "LINE",
    "LINES",
    "SIZE",
    "NotAPlaylist",
    "Playlist",
    "Reference",
    "Role",
    "parse",
]

SIZE: Final = 2 * 1024 * 1024
"""Bytes of a playlist, at most."""
LINES: Final = 6 * ENTRIES
"""Lines of a playlist, at most: what an entry needs with a key, a map, a date and a range of its own."""

_HEADER: Final = re.compile(r"\ufeff?[ \t\r\n]*+(#EXTM3U(?![^ \t\r\n])[^\n]*+\n?)")
_EXTINF: Final = re.compile(r"#EXTINF:([0-9.]+)")
_SHORTEST, _LONGEST = 0.5, 60.0  # seconds, for timing
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def parse(
    text: bytes,
    *,
    hosts: Collection[str] = (),
    variables: Mapping[str, str] = _NONE,
    query: Mapping[str, str] = _NONE,
) -> Playlist:
    """Read a playlist; raises :class:`NotAPlaylist`, and nothing else whatever the bytes are.

    ``hosts`` are names that must not occur in what viewers get: the upstream's hosts, user names; one of
    fewer than 3 characters, or a word of the format itself, is not looked for. ``variables`` are those of the
    multivariant playlist that named this one, ``query`` the parameters of its own URL (EXT-X-DEFINE's IMPORT
    and QUERYPARAM).
    """
    if len(text) > SIZE or text.count(b"\n") > LINES:
        raise NotAPlaylist("the playlist is too large", reason="too_large")
    decoded = text.decode("utf-8", "surrogateescape")
    header = _HEADER.match(decoded)
    if header is None:
        raise NotAPlaylist("the upstream sent something that is not a playlist")
    draft = Draft(Guard(hosts), Variables(variables, query, line=LINE, total=SIZE))
    reader = Reader(draft)
    draft.text.append(_header_line(header[1], draft.guard))
    reader.read(decoded[header.end() :])
    return _multivariant(reader) if reader.variants else _media(reader)


def _header_line(line: str, guard: Guard) -> str:
    content = line.rstrip("\r\n")
    return line.replace(content, "#EXTM3U") if len(content) > LINE or guard.suspects(content) else line


def _multivariant(reader: Reader) -> Playlist:
    if reader.has_durations or reader.target_duration is not None:
        raise NotAPlaylist("the playlist mixes variants with segments", reason="protocol")
    stray = {id(slot) for slot in reader.draft.slots if slot.kind is SlotKind.SEGMENT}
    slots, trailer = without(reader.draft.slots, "".join(reader.draft.text), stray)
    return _playlist(reader, list(slots), trailer, media_sequence=0, dropped=len(stray))


def _media(reader: Reader) -> Playlist:
    draft = reader.draft
    if not draft.segments and reader.target_duration is None:
        raise NotAPlaylist("the playlist names neither segments nor usable variants")
    slots, trailer = draft.slots, "".join(draft.text)
    sequence = reader.media_sequence or 0
    if draft.segments > ENTRIES and (reader.is_ended or reader.is_vod):
        slots, trailer, _, _ = window.first(slots, trailer, ENTRIES)
    elif draft.segments > ENTRIES:
        slots, trailer, removed, _ = window.last(
            slots,
            trailer,
            ENTRIES,
            sequence=sequence,
            discontinuity_sequence=reader.discontinuity_sequence or 0,
        )
        sequence += removed
    return _playlist(reader, slots, trailer, media_sequence=sequence)


def _playlist(
    reader: Reader, slots: list[Slot], trailer: str, *, media_sequence: int, dropped: int = 0
) -> Playlist:
    draft = reader.draft
    target = reader.target_duration or _longest(slots) or DEFAULT_TARGET
    return Playlist(
        is_multivariant=bool(reader.variants),
        is_ended=reader.is_ended or reader.is_vod,
        target_duration=min(max(target, _SHORTEST), _LONGEST),
        media_sequence=media_sequence,
        references=references_of(slots),
        has_keys=draft.has_keys,
        has_map=draft.has_map,
        variables=MappingProxyType(draft.variables.values),
        dropped=draft.dropped + dropped,
        slots=tuple(slots),
        trailer=trailer,
    )


def _longest(slots: list[Slot]) -> float:
    """Seconds of the longest segment; 0 without any."""
    durations = _EXTINF.findall("".join(slot.before for slot in slots))
    return max(map(float, durations), default=0.0)
