"""What the playlists of one source have named: an opaque name for each address, and no way back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import PurePosixPath

from m3u_proxy.media.playlist import Playlist, Reference, Role
from m3u_proxy.upstream.policy import AddressClass

LIMIT = 60_000
"""Addresses that are remembered for one source; those listed longest ago are forgotten first."""
_NAME_SIZE = 10
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


@dataclass(slots=True, eq=False)
class Resource:
    """One address that a playlist named."""

    name: str
    url: str
    role: Role
    suffix: str
    named_by: AddressClass
    """The least trusted address on the way to the playlist."""
    depth: int
    """Playlists above it."""
    parent: Resource | None
    """The playlist that named it; ``None`` for the source's own."""
    listed_at: float
    """Monotonic time of the newest playlist that names it."""
    is_passing: bool
    """Named by a live playlist, which will not name it for long."""
    ranges: set[tuple[int, int]] = field(default_factory=set)
    """Byte ranges of it that were named; none if it is named as a whole."""


class Resources:
    """Addresses by name. Outlives the passthrough, so that a paused player finds its film again."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._by_name: dict[str, Resource] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Resource | None:
        """The resource of that name, if it is known still."""
        return self._by_name.get(name)

    def add(
        self,
        reference: Reference,
        url: str,
        *,
        named_by: AddressClass,
        parent: Resource | None,
        playlist: Playlist,
        now: float,
    ) -> Resource:
        """The resource at ``url``, new or named once more."""
        digest = blake2b(url.encode("utf-8", "surrogateescape"), key=self._secret, digest_size=_NAME_SIZE)
        name = ("p" if reference.role is Role.PLAYLIST else "s") + digest.hexdigest()
        known = self._by_name.pop(name, None)
        if known is None:
            suffix = _suffix(reference.role, url, has_map=playlist.has_map)
            depth = parent.depth + 1 if parent else 1
            passing = not (playlist.is_ended or playlist.is_multivariant)
            known = Resource(name, url, reference.role, suffix, named_by, depth, parent, now, passing)
        self._by_name[name] = known
        known.listed_at = now
        known.named_by = min(known.named_by, named_by)
        if reference.byte_range is not None:
            known.ranges.add(reference.byte_range)
        if len(self._by_name) > LIMIT:
            del self._by_name[next(iter(self._by_name))]
        return known

    def forget(self, name: str) -> None:
        """No playlist names it any more. Idempotent."""
        self._by_name.pop(name, None)


def _suffix(role: Role, url: str, *, has_map: bool) -> str:
    """An ending that says what it is: players built on FFmpeg refuse others."""
    if role in (Role.PLAYLIST, Role.KEY, Role.DATA):
        return {Role.PLAYLIST: ".m3u8", Role.KEY: ".key", Role.DATA: ".json"}[role]
    path = url.partition("#")[0].partition("?")[0]
    found = _SUFFIXES.get(PurePosixPath(path).suffix.lower())
    if found is not None:
        return found
    if role is Role.MAP:
        return ".mp4"
    return ".m4s" if has_map else ".ts"
