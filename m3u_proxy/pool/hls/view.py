"""What viewers get under one name: a playlist that goes on while the sources behind it change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from math import inf

from m3u_proxy.media.hls.splice import Splice
from m3u_proxy.media.playlist import Playlist, Reference
from m3u_proxy.pool.hls.listing import Found, Page
from m3u_proxy.pool.hls.resources import Resource, Resources

NAMED_AT_ONCE = 1000
"""References of a playlist that are given names in one go: a few milliseconds of the loop."""
KEEP_TARGETS = 3
KEEP = 20.0
"""Target durations, and least seconds, for which a segment is kept after it was listed last."""


def kept_until(playlist: Playlist, now: float) -> float:
    """Monotonic time up to which what a playlist names is remembered, even if it is never read again."""
    if playlist.is_ended or playlist.is_multivariant:
        return inf
    return now + max(KEEP, KEEP_TARGETS * playlist.target_duration)


async def named(
    resources: Resources, playlist: Playlist, found: Found, depth: int, keep_until: float
) -> Mapping[Reference, Resource | None]:
    """Names for all that a playlist lists, without keeping the loop for long."""
    names: dict[Reference, Resource | None] = {}
    for at in range(0, max(len(playlist.references), 1), NAMED_AT_ONCE):
        if at:
            await asyncio.sleep(0)
        names |= resources.index(
            playlist,
            found.base.resolve,
            which=slice(at, at + NAMED_AT_ONCE),
            named_by=found.named_by,
            depth=depth,
            keep_until=keep_until,
        )
    return names


class View:
    """The newest page under one name. A media playlist is spliced over everything that stood behind it.

    A playlist that was ended from its first revision on is a film: of that another source has another one,
    which is not joined to it.
    """

    def __init__(self) -> None:
        self.page: Page | None = None
        self.good_until = 0.0
        """Monotonic time until which it may be shown without a newer revision."""
        self.renewed_at = 0.0
        """When the provider was asked last for what it shows."""
        self._splice = Splice()
        self._is_film = False
        self._raw: Page | None = None
        self._generation = 0

    @property
    def is_media(self) -> bool:
        """Whether players have been given segments here: they take nothing else any more."""
        return self.page is not None and not self.page.playlist.is_multivariant

    def follow(self, raw: Page, generation: int) -> Page:
        """The page for a revision as fetched, of the source of that ``generation``."""
        if self.page is None or raw is not self._raw or generation != self._generation:
            self.page = raw if raw.playlist.is_multivariant else self._spliced(raw, generation)
            self._raw, self._generation = raw, generation
        return self.page

    def _spliced(self, raw: Page, generation: int) -> Page:
        is_other = generation != self._generation
        if not self.is_media or (self._is_film and is_other):
            self._splice, self._is_film = Splice(), raw.playlist.is_ended
        before = self.page
        playlist = self._splice.follow(raw.playlist, is_new_source=is_other, is_final=self._is_film)
        if playlist is raw.playlist:
            return raw
        if before is not None and playlist is before.playlist:
            return before
        known = before.resources if before is not None else {}
        newest = self._splice.source
        return Page(playlist, {one: _resource(one, raw, known, newest) for one in playlist.references})


def _resource(
    reference: Reference, raw: Page, known: Mapping[Reference, Resource | None], newest: int
) -> Resource | None:
    """That of the revision that listed it: the same URI may be another thing at another source."""
    if reference.source == newest:
        plain = reference._replace(source=0)
        if plain in raw.resources:
            return raw.resources[plain]
    return known.get(reference)
