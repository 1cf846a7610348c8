"""The text of a playlist while it is being read: slots, and the lines between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from m3u_proxy.media.hls.attributes import byte_range, parse_list, words, write_list
from m3u_proxy.media.hls.guard import Guard, is_clean
from m3u_proxy.media.hls.model import NotAPlaylist, Reference, Role, Slot, SlotKind
from m3u_proxy.media.hls.variables import Variables

LINE: Final = 16 * 1024
"""Characters in a line, at most."""
ENTRIES: Final = 20_000
"""Segments, variants or date ranges, at most."""
_TAGS: Final = 2 * ENTRIES  # slots other than segments
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class Draft:
    """Collects what will be written. A line's ``end`` is ``\\n``, ``\\r\\n`` or, of the last one, ``""``."""

    def __init__(self, guard: Guard, variables: Variables) -> None:
        self.guard = guard
        self.variables = variables
        self.slots: list[Slot] = []
        self.text: list[str] = []
        """Lines behind the last slot."""
        self.segments = 0
        self.dropped = 0
        self.has_keys = False
        self.has_map = False
        self._ends: dict[Role, tuple[str, int]] = {}  # URI and first byte after the last range of a role

    def attributes(self, value: str) -> dict[str, str]:
        """The attribute list of a tag, variables replaced."""
        return parse_list(self.variables.expand(value))

    def reveals(self, attributes: Mapping[str, str]) -> bool:
        """Some attribute besides the URI could carry an address."""
        others = {name: value for name, value in attributes.items() if name != "URI"}
        return self.guard.suspects(words(others))

    def free_line(self, line: str, end: str) -> None:
        """A line of unknown grammar: as it is, or not at all."""
        if self.guard.suspects(line):
            self.dropped += 1
        else:
            self.text.append(line + end)

    def slot(
        self,
        kind: SlotKind,
        head: str,
        reference: Reference | None = None,
        tail: str = "",
        scope: str = "",
        attributes: Mapping[str, str] = _NONE,
    ) -> None:
        """Add a slot behind the text so far; raises :class:`NotAPlaylist` where there are too many."""
        if kind is SlotKind.SEGMENT:
            self.segments += 1
        elif len(self.slots) - self.segments >= _TAGS:
            raise NotAPlaylist("the playlist has too many entries", reason="too_large")
        before = "".join(self.text)
        self.text = []
        self.slots.append(Slot(before, head, reference, tail, kind, scope, attributes))

    def segment(self, extinf: str, uri: str) -> None:
        """Add a segment that has nothing special: the line of its duration, and its URI."""
        self.segments += 1
        self.text.append(extinf)
        reference = Reference(Role.SEGMENT, uri)
        self.slots.append(Slot("".join(self.text), "", reference, "#EXT-X-GAP\n", SlotKind.SEGMENT))
        self.text = ["\n"]

    def refuse(self, scope: str = "") -> None:
        """Leave a line out; ``scope`` of a key or map: what needs it cannot be played."""
        self.dropped += 1
        if scope:
            self.slot(SlotKind.KEY, "", scope=scope)

    def reference(
        self,
        kind: SlotKind,
        role: Role,
        tag: str,
        attributes: Mapping[str, str],
        end: str,
        *,
        span: tuple[int, int] | None = None,
        scope: str = "",
    ) -> None:
        """The slot of a tag with a URI; refused where that is useless or the rest reveals an address."""
        uri = attributes["URI"].strip('" ')
        if not uri or not is_clean(uri) or self.reveals(attributes):
            self.refuse(scope)
            return
        head, tail = write_list({**attributes, "URI": '"\n"'}).split("\n")
        self.slot(kind, f"{tag}:{head}", Reference(role, uri, span), tail + end, scope, attributes)

    def span(self, role: Role, uri: str, value: str) -> tuple[int, int] | None:
        """The range of ``length[@offset]``; without an offset it follows the last one (RFC 8216 §4.3.2.2)."""
        last_uri, next_byte = self._ends.get(role, ("", 0))
        span = byte_range(value, implied=next_byte if last_uri == uri else 0)
        if span is not None:
            self._ends[role] = (uri, span[1] + 1)
        return span
