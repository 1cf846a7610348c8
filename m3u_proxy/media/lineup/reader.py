"""Lineups: lists of channels as extended M3U, in the dialect that IPTV speaks. Pure.

There is no standard. ``#EXTINF:-1 tvg-id="…" group-title="…",Name`` and an address make an entry; lines
between the two tell more of it. Attributes that are not understood are kept, what makes no entry is skipped
and said, with its line. `m3u_proxy.media.lineup.writer` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from sys import intern

from m3u_proxy.media.lineup.fields import attributes_of, is_header, json_headers, name_at, pairs, vlc_header

LINE = 64 * 1024
"""Bytes of one line; a longer one is skipped."""
ENTRIES = 200_000
SKIPPED_TOLD = 200
"""Skipped lines that are told one by one; the others are counted."""
NAME = 500
"""Characters of a channel's name."""
HEADERS = 32
"""Header fields of one entry."""

_BOM = b"\xef\xbb\xbf"
_OTHER_FORMS = {
    b"\x1f\x8b": "It is compressed (gzip)",
    b"PK\x03\x04": "It is a ZIP archive",
    b"\xff\xfe": "It is UTF-16; save it as UTF-8",
    b"\xfe\xff": "It is UTF-16; save it as UTF-8",
}
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,31})://[^\s/?#]")
_SCHEMES = frozenset({"http", "https"})
_KODI_HEADERS = ("inputstream.adaptive.stream_headers", "inputstream.adaptive.common_headers")
_ABOUT = frozenset({"#EXTGRP", "#EXTVLCOPT", "#KODIPROP", "#EXTHTTP"})
_HLS = frozenset({"#EXT-X-TARGETDURATION", "#EXT-X-STREAM-INF", "#EXT-X-MEDIA-SEQUENCE"})
_TOO_LONG = f"longer than {LINE // 1024} KiB"


class NotALineup(ValueError):
    """What was read is no lineup. The message says what it looks like; ``line`` is where that showed."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Entry:
    """One channel as the lineup has it."""

    line: int
    """Of its ``#EXTINF``, or of its address where there is none; counted from 1."""
    name: str
    url: str
    """http or https, without what Kodi appends to it."""
    attributes: dict[str, str] = field(default_factory=dict)
    """Of its ``#EXTINF``, in their order, names in lower case."""
    headers: dict[str, str] = field(default_factory=dict)
    """For its source, from ``#EXTVLCOPT``, ``#KODIPROP``, ``#EXTHTTP`` and after a ``|``."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that made no entry, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class _Draft:
    """An entry whose address has not come yet."""

    line: int
    has_info: bool = False
    is_usable: bool = True
    """Whether its ``#EXTINF`` could be read; otherwise its address is of no use either."""
    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    group: str = ""
    headers: dict[str, str] = field(default_factory=dict)


class Reader:
    """Reads a lineup that arrives in pieces: ``feed`` and ``finish`` hand out entries as they are complete.

    The first line that says anything decides whether it is one: raises ``NotALineup``. Text is UTF-8, and
    Windows-1252 or Latin-1 in lines that are not. Memory is bounded by the longest line. ``refusal`` says why
    an address is of no use, if it is of none.
    """

    def __init__(self, refusal: Callable[[str], str | None] = lambda _: None) -> None:
        self.attributes: dict[str, str] = {}
        """Of ``#EXTM3U``: ``url-tvg`` and the like, names in lower case."""
        self.skipped: list[Skipped] = []
        self.skips = 0
        """How many lines were skipped in all."""
        self.entries = 0
        self._judge = refusal
        self._rest = b""
        self._line = 0
        self._is_cut = False
        """Whether the beginning of the present line was thrown away."""
        self._begun = self._has_remarks = False
        self._draft: _Draft | None = None

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Entries that are complete with ``data``. Exhaust it before the next call."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for raw in lines:
            yield from self._take(raw)
        if len(self._rest) > LINE:
            if not self._is_cut:
                self._overflow(self._rest, self._line + 1)
            self._rest, self._is_cut = b"", True

    def finish(self) -> Iterator[Entry]:
        """The last entries; raises ``NotALineup`` if there was nothing at all."""
        rest, self._rest = self._rest, b""
        if rest or self._is_cut:
            yield from self._take(rest)
        if not self._begun:
            raise NotALineup("It does not begin with #EXTM3U" if self._has_remarks else "It is empty", 1)
        self._give_up()

    def _take(self, raw: bytes) -> Iterator[Entry]:
        """One line."""
        self._line += 1
        if self._is_cut:  # its beginning was judged
            self._is_cut = False
            return
        if len(raw) > LINE:
            self._overflow(raw, self._line)
            return
        raw = raw.removeprefix(_BOM) if not self._begun else raw
        if self._line == 1 and raw.startswith(tuple(_OTHER_FORMS)):
            raise NotALineup(next(what for start, what in _OTHER_FORMS.items() if raw.startswith(start)), 1)
        line = _text(raw).strip()
        if not line:
            return
        self._look_at(line, self._line)
        if line.startswith("#"):
            self._tag(line)
        elif (entry := self._address(line)) is not None:
            yield entry

    def _overflow(self, raw: bytes, number: int) -> None:
        """A line that is too long is skipped, and what it was about with it."""
        start = _text(raw[:512].removeprefix(_BOM)).strip()
        self._look_at(start, number)
        self._skip(_TOO_LONG, number)
        if start[:8].upper() == "#EXTINF:":
            self._give_up()
            self._draft = _Draft(number, has_info=True, is_usable=False)
        elif not start.startswith("#"):
            self._draft = None

    def _look_at(self, line: str, number: int) -> None:
        """Judge the first line that says anything."""
        if self._begun:
            return
        start = line[:512].lower()
        if start.startswith("#") and not start.startswith(("#extm3u", "#extinf")):
            self._has_remarks = True  # or what is said of the first entry
            return
        if start.startswith(("<!doctype", "<html", "<head", "<body", "<script")):
            raise NotALineup("It is a web page", number)
        if start.startswith("<"):
            raise NotALineup("It is XML", number)
        if start.startswith(("{", "[")):
            raise NotALineup("It is JSON", number)
        if not start.startswith(("#extm3u", "#extinf")) and not _ADDRESS.match(start):
            raise NotALineup("It does not begin with #EXTM3U", number)
        self._begun = True

    # -- lines ------------------------------------------------------------------------------------------

    def _tag(self, line: str) -> None:
        if not line.isprintable():
            line = "".join(c if c.isprintable() else " " for c in line)
        tag, _, rest = line.partition(":")
        name = tag.rstrip().upper()
        if name.startswith("#EXTM3U"):
            self.attributes = attributes_of(line[7:]) | self.attributes
        elif name == "#EXTINF":
            self._begin(rest)
        elif name in _ABOUT:
            self._about(name, rest.strip())
        elif name in _HLS:
            raise NotALineup("It is the HLS playlist of one stream", self._line)

    def _begin(self, rest: str) -> None:
        """``-1 tvg-id="a, b" …,Name``."""
        before = self._draft
        if before is not None and before.has_info:
            self._give_up()
            before = None
        at = name_at(rest)
        name = rest[at:].strip()[:NAME]
        draft = _Draft(self._line, has_info=True, name=name, attributes=attributes_of(rest[:at]))
        if before is not None:  # options may stand in front of it, too
            draft.group, draft.headers = before.group, before.headers
        self._draft = draft

    def _about(self, tag: str, rest: str) -> None:
        """A further line about the entry that is on its way."""
        if self._draft is None:
            self._draft = _Draft(self._line)
        draft = self._draft
        if tag == "#EXTGRP":
            draft.group = rest
        elif tag == "#EXTHTTP":
            draft.headers |= json_headers(rest)
        else:
            option, _, value = rest.partition("=")
            option, value = option.strip().lower(), value.strip()
            if header := vlc_header(option):
                draft.headers[header] = value
            elif option in _KODI_HEADERS:
                draft.headers |= pairs(value)

    def _address(self, line: str) -> Entry | None:
        draft, self._draft = self._draft or _Draft(self._line), None
        if not draft.is_usable:
            return None
        url, _, appended = line.partition("|")
        url = url.strip()
        if (why := self._refusal(url)) is not None:
            self._skip(why)
            return None
        self.entries += 1
        attributes = draft.attributes
        if draft.group and not attributes.get("group-title"):
            attributes["group-title"] = intern(draft.group)
        name = draft.name or attributes.get("tvg-name") or _name_of(url)
        headers = draft.headers | pairs(appended) if appended else draft.headers
        usable = [(name, value) for name, value in headers.items() if is_header(name, value)]
        return Entry(draft.line, name, url, attributes, dict(usable[:HEADERS]))

    def _refusal(self, url: str) -> str | None:
        """Why nothing can be played from there."""
        match = _ADDRESS.match(url)
        if match is None or not url.isprintable():
            return "not an address"
        if match[1].lower() not in _SCHEMES:
            return f"only http and https can be played, not {match[1].lower()}"
        if self.entries >= ENTRIES:
            return f"more than {ENTRIES} entries"
        return self._judge(url)

    def _give_up(self) -> None:
        """The entry that is on its way will have no address."""
        if self._draft is not None and self._draft.has_info and self._draft.is_usable:
            self._skip("no address follows", self._draft.line)
        self._draft = None

    def _skip(self, reason: str, line: int | None = None) -> None:
        self.skips += 1
        if len(self.skipped) < SKIPPED_TOLD:
            self.skipped.append(Skipped(self._line if line is None else line, reason))


def _text(raw: bytes) -> str:
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1")


def _name_of(url: str) -> str:
    """What to call an entry without a name."""
    path = url.partition("#")[0].partition("?")[0].partition("://")[2].partition("/")[2]
    leaf = path.rstrip("/").rpartition("/")[2]
    return (leaf.rpartition(".")[0] or leaf)[:NAME] or "channel"
