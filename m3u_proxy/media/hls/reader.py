"""Reads the lines of a playlist (RFC 8216 §4, 8216bis). Pure.

What is not understood passes as it is, unless it could hold an address or end a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import ceil, isnan
from types import MappingProxyType
from typing import Final

from m3u_proxy.media.hls.attributes import write_byte_range, write_list
from m3u_proxy.media.hls.draft import ENTRIES, LINE, Draft
from m3u_proxy.media.hls.guard import is_clean
from m3u_proxy.media.hls.model import NotAPlaylist, Reference, Role, SlotKind
from m3u_proxy.media.hls.tags import HANDLERS, repair_bandwidth

LONGEST: Final = 60.0
"""Seconds: what an absurd duration is lowered to."""
DEFAULT_TARGET: Final = 10.0
"""Seconds: the target duration where a playlist gives none."""

_EXTINF: Final = re.compile(r"#EXTINF:([^, ]*+)(.*)", re.DOTALL)
_PLAIN_EXTINF: Final = re.compile(r"#EXTINF:[0-9]{1,5}(?:\.[0-9]{0,20})?,?")
_PAIR: Final = re.compile(r"(#EXTINF:[0-9]{1,5}(?:\.[0-9]{0,20})?,?\n)([A-Za-z0-9._~%/?=&+:;@,-]{1,4096}+)\n")
"""A segment as most are: a duration, and an address that holds nothing to expand, strip or clean."""
_DURATION: Final = re.compile(r"[0-9]{1,5}(?:\.[0-9]{0,20})?")
_TARGET: Final = re.compile(r"[1-9][0-9]{0,4}")
_INTEGER: Final = re.compile(r"[0-9]{1,19}")
_PLAIN: Final = re.compile(
    r"#EXT-X-(?:DISCONTINUITY|INDEPENDENT-SEGMENTS|I-FRAMES-ONLY|VERSION:[0-9]{1,3}|BITRATE:[0-9]{1,12}"
    r"|ALLOW-CACHE:(?:YES|NO)|PROGRAM-DATE-TIME:[0-9T:.Z+-]{1,40})"
)
"""Lines that can hold nothing but what they say."""


class Reader:
    """One pass over the lines behind ``#EXTM3U``; afterwards the attributes say what was found."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.media_sequence: int | None = None
        self.discontinuity_sequence: int | None = None
        self.target_duration: float | None = None
        self.is_ended = self.is_vod = self.has_durations = False
        self.variants = 0
        self._date_ranges = 0
        self._variant: tuple[str, Mapping[str, str]] | None = None  # an EXT-X-STREAM-INF without its URI line
        self._is_refused = False  # the next URI line belongs to a variant that was left out
        self._is_gap = False  # the next segment has EXT-X-GAP
        self._range: tuple[str, str] | None = None  # EXT-X-BYTERANGE of the next segment: value, line end

    def read(self, text: str) -> None:
        """Take all lines; raises :class:`NotAPlaylist`."""
        at = 0
        while at < len(text):
            pair = _PAIR.match(text, at) if self._is_plain() else None
            if pair is not None:
                self.has_durations = True
                self.draft.segment(*pair.groups())
                at = pair.end()
                continue
            end = text.find("\n", at)
            if end < 0:
                self._line(text[at:].rstrip("\r"), "")
                return
            line = text[at:end]
            if line.endswith("\r"):
                self._line(line.rstrip("\r"), "\r\n")
            else:
                self._line(line, "\n")
            at = end + 1

    def _is_plain(self) -> bool:
        """Whether nothing that was read applies to the next segment alone."""
        return not (self._is_gap or self._is_refused) and self._variant is None and self._range is None

    def _line(self, line: str, end: str) -> None:
        if len(line) > LINE:
            self._long_line(line)
        elif line.startswith("#EXTINF:"):
            self._extinf(line, end)
        elif not line.startswith("#"):
            self._uri(line, end)
        elif _PLAIN.fullmatch(line):
            self.draft.text.append(line + end)
        else:
            self._tag(line, end)

    def _long_line(self, line: str) -> None:
        name = line[:64].partition(":")[0]
        if not line.startswith("#") or name == "#EXTINF" or name in HANDLERS or name in _OWN_HANDLERS:
            raise NotAPlaylist("a line of the playlist is too long", reason="too_large")
        self.draft.refuse()

    def _tag(self, line: str, end: str) -> None:
        name, _, value = line.partition(":")
        name = name.rstrip(" \t")
        if handler := HANDLERS.get(name):
            handler(self.draft, name, value, end)
        elif own := _OWN_HANDLERS.get(name):
            own(self, name, value.strip(" \t"), end)
        else:
            self.draft.free_line(line, end)

    def _uri(self, line: str, end: str) -> None:
        stripped = line.strip(" \t")
        if not stripped:
            self.draft.text.append(end)
            return
        uri = self.draft.variables.expand(stripped).strip(" \t") if "{$" in stripped else stripped
        if self._is_refused:
            self._is_refused = False
            self.draft.refuse()
        elif self._variant is not None:
            self._variant_uri(uri, *self._variant, end)
        else:
            self._segment(uri, end)

    def _variant_uri(self, uri: str, head: str, attributes: Mapping[str, str], end: str) -> None:
        self._variant = None
        if not uri or not is_clean(uri):
            self.draft.dropped += 2
            return
        self.variants += 1
        if self.variants > ENTRIES:
            raise NotAPlaylist("the playlist has too many variants", reason="too_large")
        self.draft.slot(SlotKind.VARIANT, head, Reference(Role.PLAYLIST, uri), end, attributes=attributes)

    def _segment(self, uri: str, end: str) -> None:
        is_usable = bool(uri) and is_clean(uri)
        span = None
        if self._range is not None:
            value, range_end = self._range
            self._range = None
            span = self.draft.span(Role.SEGMENT, uri, value)
            is_usable = is_usable and span is not None
            if span is not None:
                self.draft.text.append(f"#EXT-X-BYTERANGE:{write_byte_range(span)}{range_end}")
        gap_tag = "" if self._is_gap else f"#EXT-X-GAP{end or chr(10)}"
        self._is_gap = False
        self.draft.slot(
            SlotKind.SEGMENT, "", Reference(Role.SEGMENT, uri, span) if is_usable else None, gap_tag
        )
        self.draft.text.append(end)

    def _extinf(self, line: str, end: str) -> None:
        self.has_durations = True
        if _PLAIN_EXTINF.fullmatch(line) is None:
            match = _EXTINF.fullmatch(line)
            assert match is not None
            number, title = match.groups()
            if _DURATION.fullmatch(number) is None:
                number = f"{_clamped(number, otherwise=0.0):.3f}"
            line = f"#EXTINF:{number}{',' if self.draft.guard.suspects(title) else title}"
        self.draft.text.append(line + end)

    def _stream_inf(self, name: str, value: str, end: str) -> None:
        attributes = self.draft.attributes(value)
        repair_bandwidth(attributes)
        if self._variant is not None:
            self.draft.refuse()  # it had no URI line
        self._variant = None
        self._is_refused = self.draft.reveals(attributes)
        if self._is_refused:
            self.draft.refuse()
        else:
            self._variant = (f"{name}:{write_list(attributes)}{end or chr(10)}", attributes)

    def _gap(self, name: str, _: str, end: str) -> None:
        if not self._is_gap:
            self.draft.text.append(name + end)
        self._is_gap = True

    def _byte_range(self, _name: str, value: str, end: str) -> None:
        self._range = (value, end)

    def _target_duration(self, name: str, value: str, end: str) -> None:
        if self.target_duration is not None:
            self.draft.refuse()
            return
        if _TARGET.fullmatch(value) is None:
            value = str(max(1, ceil(_clamped(value, otherwise=DEFAULT_TARGET))))
        self.target_duration = float(value)
        self.draft.text.append(f"{name}:{value}{end}")

    def _media_sequence(self, name: str, value: str, end: str) -> None:
        if self.media_sequence is None:
            self.media_sequence = _sequence_number(value)
            self.draft.text.append(f"{name}:{value}{end}")
        else:
            self.draft.refuse()

    def _discontinuity_sequence(self, name: str, value: str, end: str) -> None:
        if self.discontinuity_sequence is None:
            self.discontinuity_sequence = _sequence_number(value)
            self.draft.text.append(f"{name}:{value}{end}")
        else:
            self.draft.refuse()

    def _endlist(self, name: str, _: str, end: str) -> None:
        self.is_ended = True
        self.draft.text.append(name + end)

    def _playlist_type(self, name: str, value: str, end: str) -> None:
        if value in {"VOD", "EVENT"}:
            self.is_vod = value == "VOD"
            self.draft.text.append(f"{name}:{value}{end}")
        else:
            self.draft.refuse()

    def _date_range(self, name: str, value: str, end: str) -> None:
        self._date_ranges += 1
        if self._date_ranges > ENTRIES or "X-ASSET-" in value:  # an interstitial names a playlist or a list
            self.draft.refuse()
        else:
            self.draft.free_line(f"{name}:{value}", end)


_OWN_HANDLERS: Final[Mapping[str, Callable[[Reader, str, str, str], None]]] = MappingProxyType(
    {
        "#EXT-X-STREAM-INF": Reader._stream_inf,
        "#EXT-X-GAP": Reader._gap,
        "#EXT-X-BYTERANGE": Reader._byte_range,
        "#EXT-X-TARGETDURATION": Reader._target_duration,
        "#EXT-X-MEDIA-SEQUENCE": Reader._media_sequence,
        "#EXT-X-DISCONTINUITY-SEQUENCE": Reader._discontinuity_sequence,
        "#EXT-X-ENDLIST": Reader._endlist,
        "#EXT-X-PLAYLIST-TYPE": Reader._playlist_type,
        "#EXT-X-DATERANGE": Reader._date_range,
    }
)


def _clamped(text: str, *, otherwise: float) -> float:
    """Seconds from 0 to ``LONGEST``; ``otherwise`` for what is no number."""
    try:
        value = float(text)
    except ValueError:
        return otherwise
    return otherwise if isnan(value) else min(max(value, 0.0), LONGEST)


def _sequence_number(value: str) -> int:
    """A decimal-integer that signed 64 bits hold (RFC 8216 §4.2)."""
    if _INTEGER.fullmatch(value) is None or int(value) >= 2**63:
        raise NotAPlaylist("the playlist's sequence number is out of range", reason="protocol")
    return int(value)
