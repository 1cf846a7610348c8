"""Lineups: lists of channels as extended M3U, in the dialect that IPTV speaks. Pure.

There is no standard. ``#EXTINF:-1 tvg-id="…" group-title="…",Name`` and an address make an entry; lines
between the two tell more of it. What is not understood is kept as it is, what makes no entry is skipped and
said, with its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from sys import intern
from urllib.parse import unquote

LINE = 64 * 1024
"""Bytes of one line; a longer one is skipped."""
ENTRIES = 200_000
SKIPPED_TOLD = 200
"""Skipped lines that are told one by one; the others are counted."""
ATTRIBUTES = 64
"""Attributes of one entry."""
OPTIONS = 32
"""Further lines of one entry."""

_ATTRIBUTE = re.compile(r"""([A-Za-z0-9_.-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s,"']*))""")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S")
_VLC_HEADERS = {"http-user-agent": "User-Agent", "http-referrer": "Referer", "http-origin": "Origin"}
_KODI_HEADERS = ("inputstream.adaptive.stream_headers", "inputstream.adaptive.common_headers")
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")


class NotALineup(ValueError):
    """What was read is no M3U. The message says what it looks like; ``line`` is where that showed."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Entry:
    """One channel as the lineup has it."""

    line: int
    """Of its ``#EXTINF``, counted from 1."""
    name: str
    url: str
    """Without what Kodi appends to it."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Of its ``#EXTINF``, in their order, names in lower case."""
    headers: tuple[tuple[str, str], ...] = ()
    """For its source, from ``#EXTVLCOPT``, ``#KODIPROP``, ``#EXTHTTP`` and after a ``|``."""
    options: tuple[str, ...] = ()
    """Further lines about it, as they were."""

    def get(self, name: str) -> str:
        """The attribute of that name, or nothing."""
        return next((value for key, value in self.attributes if key == name), "")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that made no entry, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class _Draft:
    """An entry whose address has not come yet."""

    line: int
    name: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    group: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)


class Reader:
    """Reads a lineup that arrives in pieces: ``feed`` and ``finish`` hand out entries as they are complete.

    The first bytes decide whether it is one: raises ``NotALineup``. Text is UTF-8, and Latin-1 in lines that
    are not. Memory is bounded by the longest line.
    """

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        """Of ``#EXTM3U``: ``url-tvg`` and the like, names in lower case."""
        self.skipped: list[Skipped] = []
        self.skips = 0
        """How many lines were skipped in all."""
        self.entries = 0
        self._rest = b""
        self._line = 0
        self._too_long = False
        self._begun = False
        self._draft: _Draft | None = None

    def feed(self, data: bytes) -> Iterator[Entry]:
        """Entries that are complete with ``data``. Exhaust it before the next call."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for raw in lines:
            if self._too_long:  # the end of a line whose beginning was thrown away
                self._too_long = False
                self._line += 1
                self._skip("longer than 64 KiB")
            else:
                yield from self._take(raw)
        if len(self._rest) > LINE:
            self._look_at(self._rest)
            self._rest, self._too_long = b"", True

    def finish(self) -> Iterator[Entry]:
        """The last entries; raises ``NotALineup`` if there was nothing at all."""
        rest, self._rest = self._rest, b""
        if self._too_long:
            self._line += 1
            self._skip("longer than 64 KiB")
        elif rest:
            yield from self._take(rest)
        if not self._begun:
            raise NotALineup("It is empty", 1)
        if self._draft is not None:
            self._skip("no address follows", self._draft.line)
            self._draft = None

    def _take(self, raw: bytes) -> Iterator[Entry]:
        self._line += 1
        if len(raw) > LINE:
            self._skip("longer than 64 KiB")
            return
        line = _text(raw).strip()
        if not line:
            return
        if not self._begun:
            line = line.removeprefix("\ufeff")
            self._look_at(raw)
        if line.startswith("#"):
            self._tag(line)
        elif (entry := self._address(line)) is not None:
            yield entry

    def _look_at(self, raw: bytes) -> None:
        """Judge the first line that says anything."""
        if self._begun:
            return
        start = _text(raw[:512]).lstrip("\ufeff \t\r").lower()
        if start.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
            raise NotALineup("It is a web page", self._line or 1)
        if start.startswith(("{", "[")):
            raise NotALineup("It is JSON", self._line or 1)
        if not start.startswith(("#extm3u", "#extinf")) and not _ADDRESS.match(start):
            raise NotALineup("It does not begin with #EXTM3U", self._line or 1)
        self._begun = True

    # -- lines ------------------------------------------------------------------------------------------

    def _tag(self, line: str) -> None:
        tag, _, rest = line.partition(":")
        name = tag.upper()
        if name.startswith("#EXTM3U"):
            self.attributes.update(_attributes(line[7:]))
        elif name == "#EXTINF":
            if self._draft is not None and self._draft.name:
                self._skip("no address follows", self._draft.line)
            self._begin(rest)
        elif name.startswith("#EXT-X-") and self._draft is None:
            return
        else:
            self._about(name, rest, line)

    def _begin(self, rest: str) -> None:
        """``-1 tvg-id="a, b" …,Name``: the name follows the comma after the last quote."""
        # Where quotes are closed properly nothing else needs care; an odd one is part of the name.
        cut = rest.rfind('"')
        comma = rest.find(",", cut + 1) if cut >= 0 else rest.find(",")
        if comma < 0:
            comma = len(rest)
        before = self._draft
        draft = _Draft(self._line, rest[comma + 1 :].strip(), tuple(_attributes(rest[:comma]).items()))
        if before is not None:  # options may stand in front of it, too
            draft.group, draft.headers, draft.options = before.group, before.headers, before.options
        self._draft = draft

    def _about(self, name: str, rest: str, line: str) -> None:
        """A further line about the entry that is on its way."""
        if name not in ("#EXTGRP", "#EXTVLCOPT", "#KODIPROP", "#EXTHTTP", "#WEBPROP") and self._draft is None:
            return  # a remark
        if self._draft is None:
            self._draft = _Draft(self._line)
        draft = self._draft
        if name == "#EXTGRP":
            draft.group = rest.strip()
            return
        if name in ("#EXTVLCOPT", "#KODIPROP"):
            option, _, value = rest.strip().partition("=")
            if header := _VLC_HEADERS.get(option.strip().lower()):
                draft.headers[header] = value.strip()
            elif option.strip().lower() in _KODI_HEADERS:
                draft.headers.update(_pairs(value))
        elif name == "#EXTHTTP":
            draft.headers.update(_json_headers(rest))
        if len(draft.options) < OPTIONS:
            draft.options.append(line)

    def _address(self, line: str) -> Entry | None:
        draft, self._draft = self._draft or _Draft(self._line), None
        url, _, appended = line.partition("|")
        url = url.strip()
        if not _ADDRESS.match(url):
            self._skip("not an address")
            return None
        if self.entries >= ENTRIES:
            self._skip(f"more than {ENTRIES} entries")
            return None
        self.entries += 1
        headers = {**draft.headers, **_pairs(appended)}
        attributes = draft.attributes
        if draft.group and not any(name == "group-title" for name, _ in attributes):
            attributes = (*attributes, ("group-title", intern(draft.group)))
        name = draft.name or dict(attributes).get("tvg-name") or _name_of(url)
        usable = tuple((name, value) for name, value in headers.items() if _is_header(name, value))
        return Entry(draft.line, name, url, attributes, usable, tuple(draft.options))

    def _skip(self, reason: str, line: int | None = None) -> None:
        self.skips += 1
        if len(self.skipped) < SKIPPED_TOLD:
            self.skipped.append(Skipped(self._line if line is None else line, reason))


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _attributes(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(text):
        name = intern(match[1].lower())
        value = match[2] if match[2] is not None else match[3] if match[3] is not None else match[4]
        if name not in found and len(found) < ATTRIBUTES:
            found[name] = intern(value.strip()) if name == "group-title" else value.strip()
    return found


def _pairs(text: str) -> dict[str, str]:
    """``User-Agent=x&Referer=y``, as Kodi appends it; a ``!`` marks a name that is no setting of Kodi's."""
    found = {}
    for part in text.strip().split("&"):
        name, equals, value = part.partition("=")
        if equals and name:
            found[_canonical(unquote(name.strip().lstrip("!")))] = unquote(value.strip())
    return found


def _json_headers(text: str) -> dict[str, str]:
    """``{"User-Agent": "x"}``, as ``#EXTHTTP`` holds it; nothing if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, Mapping):
        return {}
    return {_canonical(str(name)): value for name, value in found.items() if isinstance(value, str)}


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-")) if name.islower() else name


def _is_header(name: str, value: str) -> bool:
    """Whether it can be sent: RFC 9110 §5.1 and §5.5."""
    return bool(_FIELD_NAME.fullmatch(name)) and value.isprintable() and 0 < len(value) <= 4096


def _name_of(url: str) -> str:
    """What to call an entry without a name."""
    leaf = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    return leaf.rpartition(".")[0] or leaf or "channel"
