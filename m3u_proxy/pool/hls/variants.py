"""Which playlist of the source in use stands for each one that viewers hold the name of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from m3u_proxy.errors import NotFound, UpstreamError
from m3u_proxy.media.hls.attributes import unquoted
from m3u_proxy.media.hls.model import CHOICES, SlotKind
from m3u_proxy.media.playlist import Playlist, Reference, Role
from m3u_proxy.pool.hls.listing import Page
from m3u_proxy.pool.hls.resources import Resource


@dataclass(frozen=True, slots=True)
class _Place:
    """How a multivariant playlist lists another one (RFC 8216 §4.3.4)."""

    kind: SlotKind
    type: str
    """Of a rendition: AUDIO, VIDEO, SUBTITLES."""
    bandwidth: int
    language: str
    title: str
    position: int
    """Among those of the same kind and type."""

    @property
    def is_playable_alone(self) -> bool:
        """Whether a plain media playlist may stand for it."""
        return self.kind is not SlotKind.I_FRAMES and self.type not in {"SUBTITLES", "CLOSED-CAPTIONS"}

    def distance(self, other: _Place) -> tuple[object, ...]:
        """Smaller where ``other``, of the same kind and type, is more like it."""
        if self.kind is SlotKind.RENDITION:
            likeness = (other.language != self.language, other.title != self.title)
            return (*likeness, abs(other.position - self.position))
        return abs(other.bandwidth - self.bandwidth), abs(other.position - self.position)


class Variants:
    """Names are valid for life: after a change of the source each leads to the counterpart of what it led to.

    The counterpart has the same role, and of these the nearest BANDWIDTH, or the same language and name.
    """

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._held: dict[str, Resource] = {}
        self._now: dict[str, _Place] = {}
        """What the source in use lists, by its own names."""
        self._leads: dict[str, Resource | None] = {}

    @property
    def count(self) -> int:
        """Variants of the source in use."""
        return sum(place.kind is SlotKind.VARIANT for place in self._now.values())

    def is_variant(self, name: str) -> bool:
        """Whether the source in use lists it as a variant, and not as a rendition of one."""
        place = self._now.get(name)
        return place is None or place.kind is SlotKind.VARIANT

    def holds(self, name: str) -> bool:
        """Whether a multivariant playlist has ever listed it."""
        return name in self._places

    def is_playable_alone(self, name: str) -> bool:
        """Whether a source without variants may stand for it."""
        return self._places[name].is_playable_alone

    def lead(self, resource: Resource) -> Resource | None:
        """What to read for a name; ``None`` where the source in use has nothing like it."""
        return self._leads.get(resource.name, resource)

    def counterpart(self, resource: Resource, root: Playlist | None) -> Resource | None:
        """What the source in use, whose own playlist is ``root``, has for a name; raises ``NotFound``.

        ``None`` for that playlist itself, if it has no variants: it stands for what can be played alone.
        """
        found: Resource | None = None
        if root is None or root.is_multivariant or not self.holds(resource.name):
            found = self.lead(resource)
        elif self.is_playable_alone(resource.name):
            return None
        if found is None:
            raise NotFound("The source has no such playlist any more")
        return found

    def enter(
        self, playlist: Playlist, resources: Mapping[Reference, Resource | None]
    ) -> dict[Reference, Resource | None]:
        """The source's multivariant playlist as it is to be shown: under names that viewers hold already."""
        found = [
            (place, resource)
            for reference, place in _places(playlist)
            if (resource := resources[reference]) is not None
        ]
        self._now = {resource.name: place for place, resource in found}
        self._leads = {name: _counterpart(place, found) for name, place in self._places.items()}
        for place, resource in found:
            if not self._is_led_to(resource):
                self._places[resource.name], self._held[resource.name] = place, resource
            if resource.name in self._places:
                self._leads[resource.name] = resource
        shown = {lead.name: self._held[name] for name, lead in self._leads.items() if lead is not None}
        shown |= {name: self._held[name] for name in self._now if name in self._held}
        return {
            reference: shown.get(resource.name, resource) if resource is not None else None
            for reference, resource in resources.items()
        }

    def _is_led_to(self, resource: Resource) -> bool:
        return resource.name in self._places or any(lead is resource for lead in self._leads.values())


def best_of(page: Page, is_failing: Callable[[Resource], bool]) -> Resource:
    """The best variant of a multivariant playlist, see `Page.narrowed`; raises where there is none."""
    for reference in page.narrowed(is_failing).playlist.variants():
        resource = page.resources[reference]
        if resource is not None:
            return resource
    raise UpstreamError("not_media", "None of the source's variants can be read")


def _places(playlist: Playlist) -> Iterator[tuple[Reference, _Place]]:
    positions: Counter[tuple[SlotKind, str]] = Counter()
    for slot in playlist.slots:
        if slot.kind not in CHOICES or slot.reference is None or slot.reference.role is not Role.PLAYLIST:
            continue
        said = slot.attributes
        type_ = said.get("TYPE", "") if slot.kind is SlotKind.RENDITION else ""
        yield (
            slot.reference,
            _Place(
                slot.kind,
                type_,
                _number(said.get("BANDWIDTH", "")),
                unquoted(said.get("LANGUAGE")) or "",
                unquoted(said.get("NAME")) or "",
                positions[slot.kind, type_],
            ),
        )
        positions[slot.kind, type_] += 1


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _counterpart(place: _Place, found: Sequence[tuple[_Place, Resource]]) -> Resource | None:
    alike = [pair for pair in found if (pair[0].kind, pair[0].type) == (place.kind, place.type)]
    if not alike and place.is_playable_alone:
        alike = [pair for pair in found if pair[0].kind is SlotKind.VARIANT]
        place = _Place(SlotKind.VARIANT, "", max((one.bandwidth for one, _ in alike), default=0), "", "", 0)
    best = min(alike, key=lambda pair: place.distance(pair[0]), default=None)
    return best[1] if best is not None else None
