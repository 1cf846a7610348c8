"""Cuts a playlist of too many segments down to a window (RFC 8216 §6.2.2). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from m3u_proxy.media.hls.model import ALL_KEYS, MAPS, Slot, SlotKind

_LASTING: Final = (
    "#EXTM3U",
    "#EXT-X-VERSION",
    "#EXT-X-TARGETDURATION",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-I-FRAMES-ONLY",
    "#EXT-X-START",
    "#EXT-X-SERVER-CONTROL",
    "#EXT-X-PART-INF",
    "#EXT-X-ALLOW-CACHE",
)
"""Tags of the whole playlist; the sequence numbers are written anew."""


class Window(NamedTuple):
    """What is left."""

    slots: list[Slot]
    trailer: str
    removed: int
    """Segments taken from the front."""
    discontinuities: int
    """EXT-X-DISCONTINUITY tags that went with them."""


def first(slots: Sequence[Slot], trailer: str, length: int) -> Window:
    """The first ``length`` segments of a playlist that has ended."""
    last = _segment_places(slots)[length - 1]
    end = "\r\n" if trailer.startswith("\r") or "\r\n" in slots[0].before else "\n"
    return Window(list(slots[: last + 1]), f"{end}#EXT-X-ENDLIST{end}", 0, 0)


def last(
    slots: Sequence[Slot], trailer: str, length: int, *, sequence: int, discontinuity_sequence: int
) -> Window:
    """The last ``length`` segments of a live playlist, with the keys and the map in force (§4.3.2.4)."""
    places = _segment_places(slots)
    start = places[-length - 1] + 1
    lines = [line for slot in slots[:start] for line in slot.before.splitlines(keepends=True)]
    lasting = [line for line in lines if line.startswith(_LASTING)]
    discontinuities = sum(line.rstrip() == "#EXT-X-DISCONTINUITY" for line in lines)
    removed = len(places) - length
    end = "\r\n" if lasting[0].endswith("\r\n") else "\n"
    numbers = (
        f"#EXT-X-MEDIA-SEQUENCE:{sequence + removed}{end}"
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuity_sequence + discontinuities}{end}"
    )
    in_force = [slot._replace(before="") for slot in _in_force(slots[:start])]
    # what is ahead of the next slot begins with the end of the last removed segment's line
    following = slots[start]._replace(before=slots[start].before.partition("\n")[2])
    kept = [*in_force, following, *slots[start + 1 :]]
    kept[0] = kept[0]._replace(before="".join(lasting) + numbers + kept[0].before)
    return Window(kept, trailer, removed, discontinuities)


def _segment_places(slots: Sequence[Slot]) -> list[int]:
    return [place for place, slot in enumerate(slots) if slot.kind is SlotKind.SEGMENT]


def _in_force(slots: Sequence[Slot]) -> list[Slot]:
    found: dict[str, Slot] = {}
    for slot in slots:
        if slot.scope == ALL_KEYS:
            found = {scope: kept for scope, kept in found.items() if scope == MAPS}
        elif slot.scope:
            found.pop(slot.scope, None)
            found[slot.scope] = slot
    return list(found.values())
