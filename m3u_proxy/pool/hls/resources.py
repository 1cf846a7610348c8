"""What the playlists of one source have named: an opaque name for each address, and no way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from math import inf

from m3u_proxy.media.playlist import Playlist, Reference, Role
from m3u_proxy.upstream.policy import AddressClass

LIMIT = 60_000
"""Addresses that are remembered for one source; those listed longest ago are forgotten first."""
ALL = slice(None)
_NAME_SIZE = 10
_GROUPS = {Role.PLAYLIST: "p", Role.KEY: "k", Role.DATA: "d"}
"""First letter of a name, ``s`` for media: an address with two uses is two resources."""
_SUFFIXES = {
    ".ts": ".ts",
    ".m4s": ".m4s",
    ".cmfv": ".m4s",
    ".cmfa": ".m4s",
    ".mp4": ".mp4",
    ".m4v": ".mp4",
    ".m4a": ".mp4",
    ".aac": ".aac",
    ".mp3": ".mp3",
    ".ac3": ".ac3",
    ".vtt": ".vtt",
    ".webvtt": ".vtt",
}
"""Endings of upstream names, and the honest ones that players are given for them."""
_ROLE_SUFFIXES = {Role.PLAYLIST: ".m3u8", Role.KEY: ".key", Role.DATA: ".json"}

Part = tuple[int, int]
"""First and last byte of a range, both included."""


@dataclass(slots=True, eq=False)
class Resource:
    """One address that a playlist named."""

    name: str
    url: str
    role: Role
    suffix: str
    named_by: AddressClass
    """The least trusted address on the way to a playlist that names it."""
    depth: int
    """Playlists above it, at most."""
    keep_until: float
    """Monotonic time up to which it is remembered, ``inf`` if a playlist names it that will not change."""
    ranges: dict[Part, float] = field(default_factory=dict)
    """Byte ranges of it that were named, each kept until its own time; none if it is named as a whole."""


class Resources:
    """Addresses by name. Outlives the passthrough, so that a paused player finds its film again."""

    def __init__(self, secret: bytes) -> None:
        self._keyed = blake2b(key=secret, digest_size=_NAME_SIZE)
        self._by_name: dict[str, Resource] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Resource | None:
        """The resource of that name, if it is known still."""
        return self._by_name.get(name)

    def at(self, url: str) -> Resource | None:
        """What is known at that address and is no playlist."""
        known = (self.get(self._name(role, url)) for role in (Role.SEGMENT, Role.KEY, Role.DATA))
        return next((resource for resource in known if resource is not None), None)

    def index(
        self,
        playlist: Playlist,
        resolve: Callable[[str], str | None],
        *,
        which: slice = ALL,
        named_by: AddressClass,
        depth: int,
        keep_until: float,
    ) -> dict[Reference, Resource | None]:
        """The resources that a playlist with ``depth - 1`` others above it names, new or named once more.

        ``resolve`` makes an address of a URI, or ``None`` of one that nobody may fetch; ``which`` of its
        references are meant.
        """
        found: dict[Reference, Resource | None] = {}
        for reference in playlist.references[which]:
            url = resolve(reference.uri)
            if url is None:
                found[reference] = None
                continue
            known = found[reference] = self._add(reference.role, url, named_by, depth, playlist.has_map)
            _keep(known, reference.byte_range, keep_until)
        self._make_room()
        return found

    def _make_room(self) -> None:
        """Forget segments before anything that others hang on."""
        excess = len(self._by_name) - LIMIT
        if excess <= 0:
            return
        passing = (name for name, one in self._by_name.items() if one.role in (Role.SEGMENT, Role.PART))
        for name in [*islice(passing, excess)] or [*islice(self._by_name, excess)]:
            del self._by_name[name]

    def _add(self, role: Role, url: str, named_by: AddressClass, depth: int, has_map: bool) -> Resource:
        name = self._name(role, url)
        known = self._by_name.pop(name, None)
        if known is None:
            suffix = _suffix(role, url, has_map)
            known = Resource(name, url, role, suffix, named_by, depth, 0.0)
        elif known.named_by > named_by:
            known.named_by = named_by
        known.depth = max(known.depth, depth)
        self._by_name[name] = known  # the one listed last
        return known

    def _name(self, role: Role, url: str) -> str:
        digest = self._keyed.copy()
        digest.update(url.encode("utf-8", "surrogateescape"))
        return _GROUPS.get(role, "s") + digest.hexdigest()

    def renew(self, found: Mapping[Reference, Resource | None], keep_until: float) -> None:
        """A playlist names still what ``index`` found in it."""
        for reference, resource in found.items():
            if resource is not None:
                known = self._by_name.pop(resource.name, resource)
                self._by_name[known.name] = known
                _keep(known, reference.byte_range, keep_until)

    def expire(self, now: float) -> list[str]:
        """Forget what is to be kept no longer; the names that are gone."""
        old = [resource.name for resource in self if resource.keep_until < now]
        for name in old:
            del self._by_name[name]
        for resource in self:
            if resource.ranges:
                resource.ranges = {part: until for part, until in resource.ranges.items() if until >= now}
        return old


def _keep(resource: Resource, part: Part | None, until: float) -> None:
    resource.keep_until = max(resource.keep_until, until)
    if part is not None and resource.ranges.get(part, -inf) < until:
        resource.ranges[part] = until


def _suffix(role: Role, url: str, has_map: bool) -> str:
    """An ending that says what it is: players built on FFmpeg refuse others."""
    if role in _ROLE_SUFFIXES:
        return _ROLE_SUFFIXES[role]
    path = url.partition("?")[0]
    found = _SUFFIXES.get(path[path.rfind(".") :].lower())
    if found is not None:
        return found
    if role is Role.MAP:
        return ".mp4"
    return ".m4s" if has_map else ".ts"
