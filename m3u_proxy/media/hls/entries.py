"""A media playlist taken apart into its segments, and put together again (RFC 8216 §4.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple

from m3u_proxy.media.hls.attributes import parse_list
from m3u_proxy.media.hls.model import ALL_KEYS, MAPS, Playlist, Reference, Slot, SlotKind, without

Force = Mapping[str, Slot]
"""Keys and the map in force, by scope."""
Identity = tuple[str, tuple[int, int] | None]
"""URI and byte range of a segment."""

NOTHING: Final[Force] = MappingProxyType({})

_DISCONTINUITY: Final = "#EXT-X-DISCONTINUITY\n"
_IDENTITY: Final = "KEYFORMAT=identity"
_KEY: Final = "#EXT-X-KEY:"
_CLEAR: Final = Slot("", f"{_KEY}METHOD=NONE\n", None, "", SlotKind.KEY, ALL_KEYS)
_LASTING: Final = re.compile(
    r"^#EXT(?:M3U|-X-(VERSION|TARGETDURATION|MEDIA-SEQUENCE|DISCONTINUITY-SEQUENCE|PLAYLIST-TYPE|ENDLIST"
    r"|INDEPENDENT-SEGMENTS|I-FRAMES-ONLY|START|SERVER-CONTROL|PART-INF|ALLOW-CACHE))"
    r"(?=[:\s]|\Z):?([^\r\n]*)\r?\n?",
    re.MULTILINE,
)
_BREAKS: Final = re.compile(r"^#EXT-X-DISCONTINUITY(?=[:\s]|\Z)[^\n]*\n?", re.MULTILINE)
_LEAD: Final = re.compile(r"(?:\r?\n)?(?:#EXT-X-DISCONTINUITY(?=[:\s])[^\n]*\n)*")
_NO_SCOPES: Final[frozenset[str]] = frozenset()
_REPLACING: Final = frozenset({_IDENTITY, ALL_KEYS})
_STAYS: Final = frozenset({SlotKind.SEGMENT, SlotKind.KEY, SlotKind.MAP})


class Entry(NamedTuple):
    """One segment with all that is written for it; or what is written behind the last one."""

    sequence: int
    """Media sequence number that its source gave it."""
    slots: tuple[Slot, ...]
    """Up to its own. The text of the first begins with the end of the line before."""
    breaks: int
    """EXT-X-DISCONTINUITY tags of it."""
    ahead: Force
    """In force ahead of its slots."""
    behind: Force

    @property
    def identity(self) -> Identity | None:
        """What tells it from others; a gap has none."""
        reference = self.slots[-1].reference
        return None if reference is None else (reference.uri, reference.byte_range)


@dataclass
class Header:
    """The tags of the whole playlist. Afterwards EXT-X-PLAYLIST-TYPE and EXT-X-ENDLIST are in no text."""

    version: int = 0
    target: int = 0
    """Seconds; 0: not said."""
    discontinuities: int = 0
    """EXT-X-DISCONTINUITY-SEQUENCE."""
    is_independent: bool = False
    others: list[str] = field(default_factory=list)
    """Lines without their ends."""

    def strip(self, text: str) -> str:
        """``text`` without the lines that belong here, which are taken in."""
        return _LASTING.sub(self._take, text)

    def _take(self, line: re.Match[str]) -> str:
        name, value = line[1], line[2]
        number = int(value) if value.isdecimal() else 0
        match name:
            case "VERSION":
                self.version = number
            case "TARGETDURATION":
                self.target = number
            case "DISCONTINUITY-SEQUENCE":
                self.discontinuities = number
            case "INDEPENDENT-SEGMENTS":
                self.is_independent = True
            case "I-FRAMES-ONLY" | "START" | "SERVER-CONTROL" | "PART-INF" | "ALLOW-CACHE":
                self.others.append(line[0].rstrip("\r\n"))
        return ""


class Reading(NamedTuple):
    """A media playlist in parts."""

    header: Header
    entries: Sequence[Entry]
    rest: Entry
    """What is written behind the last segment: low-latency tags."""
    trailer: str


def read(playlist: Playlist, source: int) -> Reading:
    """Take a media playlist apart; its references become those of ``source``."""
    header = Header()
    entries: list[Entry] = []
    slots: list[Slot] = []
    sequence, breaks = playlist.media_sequence, 0
    ahead = behind = NOTHING
    is_first = True
    for slot in playlist.slots:
        before, head, reference, tail, kind, scope, attributes = slot
        if "#EXT-X" in before or is_first:
            before = header.strip(before)
            breaks += len(_BREAKS.findall(before))
            before = f"\n{before}" if is_first else before
            is_first = False
        if reference is not None and source != reference.source:
            reference = Reference(reference.role, reference.uri, reference.byte_range, source)
        slots.append(Slot(before, head, reference, tail, kind, scope, attributes))
        if scope:
            behind = in_force(behind, slots[-1:])
        if kind is SlotKind.SEGMENT:
            entries.append(Entry(sequence, tuple(slots), breaks, ahead, behind))
            slots, breaks, ahead = [], 0, behind
            sequence += 1
    trailer = header.strip(playlist.trailer)
    rest = Entry(sequence, tuple(slots), breaks, ahead, behind)
    return Reading(header, entries, rest, f"\n{trailer}" if is_first else trailer)


def in_force(ahead: Force, slots: Iterable[Slot]) -> Force:
    """What is in force behind ``slots`` (RFC 8216 §4.3.2.4, §4.3.2.5)."""
    found = dict(ahead)
    for slot in slots:
        if slot.scope == ALL_KEYS:
            found = {scope: kept for scope, kept in found.items() if scope == MAPS}
        elif slot.scope:
            found[slot.scope] = slot
    return found


def with_break(entry: Entry) -> Entry:
    """The entry with exactly one EXT-X-DISCONTINUITY, ahead of all else."""
    slots = [slot._replace(before=_BREAKS.sub("", slot.before)) for slot in entry.slots]
    lead = _LEAD.match(slots[0].before)
    end = lead[0] if lead else ""
    slots[0] = slots[0]._replace(before=f"{end}{_DISCONTINUITY}{slots[0].before[len(end) :]}")
    return entry._replace(slots=tuple(slots), breaks=1)


def lasting(entry: Entry) -> Entry:
    """The entry without what only its own source's playlist can say: parts and other low-latency tags."""
    if len(entry.slots) == 1 or all(slot.kind in _STAYS for slot in entry.slots):
        return entry
    left = {id(slot) for slot in entry.slots if slot.kind not in _STAYS}
    return entry._replace(slots=without(entry.slots, "", left)[0])


def with_explicit_ivs(entries: Iterable[Entry]) -> list[Entry]:
    """The entries fit for other numbers: a key without an IV takes the media sequence number (§4.3.2.4)."""
    done: list[Entry] = []
    for entry in entries:
        ahead = done[-1].behind if done else entry.ahead
        done.append(_with_explicit_iv(entry, ahead))
    return done


def _with_explicit_iv(entry: Entry, ahead: Force) -> Entry:
    sequence, slots, breaks, known, behind = entry
    own = _NO_SCOPES if behind is known else {slot.scope for slot in slots}
    key = known.get(_IDENTITY)
    if slots and key is not None and own.isdisjoint(_REPLACING) and _is_implicit(key):
        key = _with_iv(key, sequence)
        slots = _behind_lead([key], slots)
        behind = {**ahead, _IDENTITY: key}
    else:
        behind = ahead
    if own:
        slots = tuple(
            _with_iv(slot, sequence) if slot.scope == _IDENTITY and _is_implicit(slot) else slot
            for slot in slots
        )
        behind = in_force(ahead, slots)
    return Entry(sequence, slots, breaks, ahead, behind)


def _is_implicit(key: Slot) -> bool:
    if not key.head:
        return False  # not usable
    return "IV" not in (key.attributes or parse_list(key.head.removeprefix(_KEY)))


def _with_iv(key: Slot, sequence: int) -> Slot:
    before, head, reference, tail, kind, scope, attributes = key
    value = f"0x{sequence:032X}"
    head = f"{_KEY}IV={value},{head.removeprefix(_KEY)}"
    return Slot(before, head, reference, tail, kind, scope, {"IV": value, **attributes})


def join(entries: Iterable[Entry]) -> list[Slot]:
    """The slots of entries of several playlists: each finds its own keys and map in force.

    No tag ends a map: one without must not follow one with it.
    """
    joined: list[Slot] = []
    current: Force = NOTHING
    for entry in entries:
        if entry.ahead is current or entry.ahead == current:
            joined += entry.slots
        else:
            joined += _behind_lead(_change(current, entry), entry.slots)
        current = entry.behind
    return joined


def _change(current: Force, entry: Entry) -> list[Slot]:
    """What makes ``entry`` find in force what it had in its own playlist."""
    own = {slot.scope for slot in entry.slots}
    clears = bool((current.keys() - {MAPS}) - entry.behind.keys()) and ALL_KEYS not in own
    found = NOTHING if clears else current
    missing = [
        slot._replace(before="")
        for scope, slot in entry.ahead.items()
        if scope not in own
        and (scope == MAPS or ALL_KEYS not in own)
        and not _is_same(found.get(scope), slot)
    ]
    return [_CLEAR, *missing] if clears else missing


def _is_same(one: Slot | None, other: Slot) -> bool:
    return one is not None and one[1:] == other[1:]


def _behind_lead(extra: Sequence[Slot], slots: Sequence[Slot]) -> tuple[Slot, ...]:
    """``extra`` ahead of ``slots``, but behind an EXT-X-DISCONTINUITY that these begin with."""
    if not extra:
        return tuple(slots)
    before = slots[0].before
    lead = _LEAD.match(before)
    end = lead.end() if lead else 0
    return (_after(before[:end], extra[0]), *extra[1:], _after(before[end:], slots[0]), *slots[1:])


def _after(before: str, slot: Slot) -> Slot:
    _, head, reference, tail, kind, scope, attributes = slot
    return Slot(before, head, reference, tail, kind, scope, attributes)
