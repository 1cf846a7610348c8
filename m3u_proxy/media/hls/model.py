"""A playlist that was read, ready to be written with other URLs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum, auto
from functools import cached_property
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from m3u_proxy.media.hls.attributes import unquoted, write_list

GAP_URL: Final = "gap.ts"
"""Stands where a segment cannot be had; EXT-X-GAP tells players not to load it (8216bis §4.4.4.7)."""
ALL_KEYS: Final = "METHOD=NONE"
MAPS: Final = "MAP"

Reason = Literal["not_media", "too_large", "protocol"]


class NotAPlaylist(ValueError):
    """The text cannot be used as a playlist. The message is for a person and quotes nothing of the text."""

    def __init__(self, detail: str, *, reason: Reason = "not_media") -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class Role(StrEnum):
    """What a URI in a playlist leads to."""

    PLAYLIST = "playlist"
    SEGMENT = "segment"
    PART = "part"
    MAP = "map"
    KEY = "key"
    DATA = "data"

    __hash__ = str.__hash__  # that of an Enum is a call for each look-up


class Reference(NamedTuple):
    """A URI in a playlist. Equal references are the same thing."""

    role: Role
    uri: str
    """As it stands, variables substituted, relative to the playlist's own URL."""
    byte_range: tuple[int, int] | None = None
    """First and last byte of the resource, both included; ``None`` for all of it."""
    source: int = 0
    """Which of the sources of a splice listed it: the same URI may be another thing elsewhere."""


class SlotKind(Enum):
    """How a slot is written, and what becomes of others when its target cannot be used."""

    SEGMENT = auto()  # becomes a gap
    KEY = auto()  # left out; segments and parts after it cannot be used
    MAP = auto()  # the same
    PART = auto()  # left out, also where a key or map it needs cannot be used
    VARIANT = auto()  # left out with its tag
    RENDITION = auto()
    I_FRAMES = auto()
    OTHER = auto()


CHOICES: Final = frozenset({SlotKind.VARIANT, SlotKind.RENDITION, SlotKind.I_FRAMES})
"""Playlists among which a player chooses."""


class Slot(NamedTuple):
    """A place in the text that depends on a URL."""

    before: str
    """Text ahead of it, written in any case."""
    head: str
    """Written ahead of the URL, with it or not at all. For a key or map ``""``: it is not usable."""
    reference: Reference | None
    """``None``: written without a URL, except for a segment, which is a gap."""
    tail: str
    """Written behind the URL. For a segment: the tag that is put ahead of it where it is a gap."""
    kind: SlotKind
    scope: str = ""
    """The KEYFORMAT of a key, ``ALL_KEYS`` or ``MAPS``: a later one of the same scope replaces it."""
    attributes: Mapping[str, str] = MappingProxyType({})
    """Of a variant or rendition."""


@dataclass(frozen=True)
class Playlist:
    """What a playlist says, and its text with a hole for every URI."""

    is_multivariant: bool
    is_ended: bool
    """Nothing will be added: EXT-X-ENDLIST, or EXT-X-PLAYLIST-TYPE is VOD."""
    target_duration: float
    """Seconds, 0.5 to 60 whatever the playlist says: for timing."""
    media_sequence: int
    references: tuple[Reference, ...]
    """Every URI that is to be rewritten, in order of appearance. Segments that are gaps already have none."""
    has_keys: bool
    has_map: bool
    variables: Mapping[str, str] = field(repr=False)
    """What EXT-X-DEFINE defines: handed to ``parse`` for the playlists that this one names."""
    dropped: int
    """Lines left out because they could carry an address or make no sense."""
    slots: tuple[Slot, ...] = field(repr=False)
    trailer: str = field(repr=False)
    """Text behind the last slot."""

    @cached_property
    def length(self) -> int:
        """How many segments are listed, gaps included."""
        return [slot.kind for slot in self.slots].count(SlotKind.SEGMENT)

    def segments(self) -> tuple[Reference, ...]:
        """The media segments, in order."""
        return tuple(found for found in self.references if found.role is Role.SEGMENT)

    def render(self, url_of: Callable[[Reference], str | None]) -> str:
        """The playlist with the URLs of ``url_of``, which says ``None`` where the target cannot be used.

        Bytes that were not UTF-8 are surrogates (PEP 383): encode with ``errors="surrogateescape"``.
        """
        out: list[str] = []
        unusable: set[str] = set()
        for before, head, reference, tail, kind, scope, _ in self.slots:
            out.append(before)
            url = "" if reference is None else url_of(reference)
            if kind is SlotKind.SEGMENT:
                out.append(url if url and not unusable else tail + GAP_URL)
            elif _usable(kind, scope, bool(head) and url is not None, unusable):
                out.append(f"{head}{url}{tail}")
        out.append(self.trailer)
        return "".join(out)

    def variants(self) -> tuple[Reference, ...]:
        """The playlists to choose from, that of the highest BANDWIDTH first; none in a media playlist."""
        slots = [slot for slot in self.slots if slot.kind is SlotKind.VARIANT]
        return references_of(sorted(slots, key=_bandwidth, reverse=True))

    def narrowed(self, is_usable: Callable[[Reference], bool] = lambda _: True) -> Playlist:
        """A multivariant playlist with the usable variant of the highest BANDWIDTH alone, and its one
        rendition each of audio and video: DEFAULT=YES, or else the first. Without a usable variant there is
        none left. Any other playlist: itself.
        """
        if not self.is_multivariant:
            return self
        usable = [slot for slot in self.slots if slot.kind is SlotKind.VARIANT and _leads(slot, is_usable)]
        best = max(usable, key=_bandwidth, default=None)
        renditions = [_rendition(self.slots, best, kind) for kind in ("AUDIO", "VIDEO")] if best else []
        kept = filter(None, (best, *renditions))
        left = {id(slot) for slot in self.slots if slot.kind in CHOICES}.difference(map(id, kept))
        slots, trailer = without(self.slots, self.trailer, left)
        slots = tuple(_plain_variant(slot) if slot.kind is SlotKind.VARIANT else slot for slot in slots)
        return replace(self, slots=slots, trailer=trailer, references=references_of(slots))


def references_of(slots: Iterable[Slot]) -> tuple[Reference, ...]:
    """What the slots refer to, in order."""
    return tuple(slot.reference for slot in slots if slot.reference is not None)


def without(slots: Iterable[Slot], trailer: str, left: Collection[int]) -> tuple[tuple[Slot, ...], str]:
    """The slots but for those whose ``id`` is in ``left``; the text ahead of these stays."""
    kept: list[Slot] = []
    carried = ""
    for slot in slots:
        carried += slot.before
        if id(slot) not in left:
            kept.append(slot._replace(before=carried))
            carried = ""
    return tuple(kept), carried + trailer


def _usable(kind: SlotKind, scope: str, is_usable: bool, unusable: set[str]) -> bool:
    """Whether a slot is written; keeps the scopes whose key or map in force cannot be used."""
    if kind is SlotKind.PART:
        return is_usable and not unusable
    if scope == ALL_KEYS:
        unusable.intersection_update({MAPS})
    elif scope and is_usable:
        unusable.discard(scope)
    elif scope:
        unusable.add(scope)
    return is_usable


def _leads(slot: Slot, is_usable: Callable[[Reference], bool]) -> bool:
    return slot.reference is not None and is_usable(slot.reference)


def _bandwidth(variant: Slot) -> int:
    return int(variant.attributes["BANDWIDTH"])


def _rendition(slots: Iterable[Slot], variant: Slot, kind: str) -> Slot | None:
    group = unquoted(variant.attributes.get(kind))
    members = [
        slot
        for slot in slots
        if slot.kind is SlotKind.RENDITION
        and slot.attributes.get("TYPE") == kind
        and unquoted(slot.attributes.get("GROUP-ID")) == group
    ]
    preferred = [slot for slot in members if slot.attributes.get("DEFAULT") == "YES"]
    return next(iter(preferred + members), None) if group else None


def _plain_variant(variant: Slot) -> Slot:
    """The variant without the groups that are left out with their renditions."""
    groups = ("SUBTITLES", "CLOSED-CAPTIONS")
    attributes = {name: value for name, value in variant.attributes.items() if name not in groups}
    tag, _, rest = variant.head.partition(":")
    end = "\r\n" if rest.endswith("\r\n") else "\n"
    return variant._replace(head=f"{tag}:{write_list(attributes)}{end}", attributes=attributes)
