"""The playlists of an HLS source: its own, those that it names, and what follows where they fail.

Another source takes the place of the one in use as soon as its own playlist has been read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from m3u_proxy.errors import FormChanged, ProxyError, Unavailable, UpstreamError
from m3u_proxy.media.playlist import Playlist, Reference, Role
from m3u_proxy.model import Kind
from m3u_proxy.pool.hls.downloads import AT_ONCE, OpenChild
from m3u_proxy.pool.hls.listing import Found, Listing, Page
from m3u_proxy.pool.hls.resources import Resource, Resources
from m3u_proxy.pool.hls.variants import Variants, best_of
from m3u_proxy.pool.hls.view import kept_until, named
from m3u_proxy.pool.sources.attempts import Attempts
from m3u_proxy.pool.sources.sticky import Settled
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.source import Source

log = logging.getLogger(__name__)

DEPTH = 2
"""Playlists above a media playlist: a multivariant one, and one more."""
CHILDREN = 64
"""Playlists below the source's own that are kept; each may be megabytes."""
ASKED = 10.0
"""Seconds for which a variant counts as wanted. A source has failed when all that are wanted have."""

OpenRoot = Callable[[Settled | None], Source]
"""Opens a source's own playlist, at the address where redirects led before if it is given one."""


class Holder(Protocol):
    """Whoever holds a tree, and is told what it finds."""

    @property
    def who(self) -> Mapping[str, str]:
        """Fields for the log."""

    def read(self) -> None:
        """A playlist was read, new or not."""

    def listed(self, playlist: Playlist, resources: Mapping[Reference, Resource | None]) -> None:
        """It is a new revision, which lists these."""

    def arrived(self) -> None:
        """Another source is in use."""


class Tree:
    """Listings by the names of what they read. ``aclose()`` ends their fetches."""

    def __init__(
        self,
        open_root: OpenRoot,
        open_child: OpenChild,
        attempts: Attempts,
        resources: Resources,
        tally: Tally,
        holder: Holder,
    ) -> None:
        self.generation = 0
        """Counts the sources that have taken another one's place."""
        self.lost: asyncio.Future[ProxyError] = asyncio.get_running_loop().create_future()
        """Resolved with the reason when no source is left."""
        self._open_root = open_root
        self._open_child = open_child
        self._attempts = attempts
        self._resources = resources
        self._tally = tally
        self._holder = holder
        self.source = self._reading = attempts.url
        """The source in use, and that which is being read to take its place."""
        self.root = Listing(self.source, _Branch(self, None, 0))
        self._children: dict[str, Listing] = {}
        self._left: list[Listing] = []
        """Of sources before, on their last fetch."""
        self._variants = Variants()

    @property
    def target(self) -> float:
        """The longest target duration of all, in seconds."""
        return max(listing.target for listing in self._listings())

    @property
    def fetching(self) -> int:
        """Connections that are open for playlists."""
        return sum(listing.is_fetching for listing in self._listings())

    @property
    def is_live(self) -> bool:
        """Whether media is still to come."""
        pages = [page for page in self._pages() if not page.playlist.is_multivariant]
        return any(not page.playlist.is_ended for page in pages)

    def _listings(self) -> Iterator[Listing]:
        yield self.root
        yield from self._children.values()
        yield from self._left

    def _pages(self) -> Iterator[Page]:
        """Of the source in use."""
        listings = (self.root, *self._children.values())
        return (listing.page for listing in listings if listing.page is not None)

    def lists(self, resource: Resource) -> bool:
        """Whether the source in use lists it."""
        return any(resource in page.resources.values() for page in self._pages())

    def is_failing(self, resource: Resource) -> bool:
        """Whether the playlist that a name leads to is known to be of no use now."""
        lead = self._variants.lead(resource)
        listing = self._children.get(lead.name) if lead is not None else None
        return listing is not None and listing.is_failing

    def forget(self, name: str) -> None:
        """Nothing lists that playlist any more."""
        listing = self._children.get(name)
        if listing is not None and not listing.is_fetching:
            del self._children[name]

    async def aclose(self) -> None:
        """End the fetches under way: who waits for one gets Closed."""
        for listing in list(self._listings()):
            await listing.aclose()

    # -- reading ----------------------------------------------------------------------------------------

    def has_moved(self, generation: int) -> bool:
        """Whether what was read of that source is of no more use: another one is in use, or is to be."""
        return generation != self.generation or self._attempts.is_due(monotonic())

    async def read(self, resource: Resource | None, *, wants_media: bool) -> tuple[Listing, Page]:
        """The newest revision of what the source in use has for a name, of its own playlist without one.

        ``wants_media``: of several variants the best. Raises why there is none, and NotFound.
        """
        listing = self.root if resource is None else self._behind(resource)
        page = await listing.current()
        while page.playlist.is_multivariant and wants_media:  # not for ever: see DEPTH
            listing = self._behind(best_of(page, self.is_failing))
            page = await listing.current()
        return listing, page

    def _behind(self, resource: Resource) -> Listing:
        root = self.root.page
        found = self._variants.counterpart(resource, root.playlist if root is not None else None)
        if found is None:
            return self.root
        listing = self._children.pop(found.name, None)
        if listing is None:
            if self.fetching >= AT_ONCE:
                raise Unavailable("Too many playlists of this source are on their way", reason="busy")
            listing = Listing(found.url, _Branch(self, found, self.generation))
        self._children[found.name] = listing
        if len(self._children) > CHILDREN:
            idle = (
                name for name, one in self._children.items() if not one.is_fetching and one is not listing
            )
            self._children.pop(next(idle, ""), None)
        return listing

    async def open(self, resource: Resource | None, settled: Settled | None) -> Source:
        """The source of a playlist, of its own without ``resource``: then another one if that is decided."""
        self._tally.fetches[Role.PLAYLIST] += 1
        if resource is not None:
            return self._open_child(*(settled or (resource.url, resource.named_by)))
        if not self._attempts.is_pending:
            return self._open_root(settled)
        if self.root.page is not None:
            self._attempts.check()
        try:
            source = await self._attempts.next()
        except ProxyError as error:
            self._give_up(error)
            raise
        if self._reading != self._attempts.url:
            self._reading = self._attempts.url
            self.root.move(self._reading)
        return source

    def reading(self, resource: Resource | None) -> AbstractAsyncContextManager[None]:
        """Context in which a playlist is read: an order by hand ends that of the source's own."""
        return self._attempts.reading() if resource is None else nullcontext()

    # -- what is found ----------------------------------------------------------------------------------

    async def index(
        self, parent: Resource | None, playlist: Playlist, found: Found
    ) -> Mapping[Reference, Resource | None]:
        """Names for all that a new revision lists; what none lists any more is let go after a while."""
        depth = parent.depth if parent is not None else 0
        if playlist.is_multivariant and depth >= DEPTH:
            raise _too_deep()
        keep_until = kept_until(playlist, monotonic())
        resources = await named(self._resources, playlist, found, depth + 1, keep_until)
        if playlist.is_multivariant and parent is not None and parent in resources.values():
            raise _too_deep()
        self._tally.dropped_lines += playlist.dropped
        if parent is None:
            self._arrive()
            if playlist.is_multivariant:
                resources = self._variants.enter(playlist, resources)
                self._resources.renew(resources, keep_until)
        self._left = [one for one in self._left if one.is_fetching]
        self._holder.read()
        self._holder.listed(playlist, resources)
        return resources

    def _arrive(self) -> None:
        """The source that is being read has a playlist: what the one before had named is fetched no more."""
        if self._reading == self.source:
            return
        self.source = self._reading
        self.generation += 1
        self._left += [one for one in self._children.values() if one.is_fetching]
        self._children.clear()
        self._holder.arrived()
        self._attempts.connected(Kind.HLS)

    def renew(self, page: Page) -> None:
        """A revision is in force still."""
        self._resources.renew(page.resources, kept_until(page.playlist, monotonic()))
        self._holder.read()

    def variables(self, resource: Resource | None) -> Mapping[str, str]:
        """What the source's own playlist defines for the others."""
        page = None if resource is None else self.root.page
        return page.playlist.variables if page is not None else {}

    def alive(self, now: float) -> None:
        """Something new was listed, or has come."""
        if not self._attempts.is_pending:
            self._attempts.alive(now)

    # -- what fails -------------------------------------------------------------------------------------

    def failed(self, resource: Resource | None, generation: int, error: ProxyError) -> float | None:
        """A playlist has failed: see `listing.Owner.lost`."""
        log.warning("%s not read: %s", Role.PLAYLIST, error.detail, extra=self._holder.who)
        if resource is None:
            delay = self.lose(error)
            return 0.0 if delay is not None and self.root.page is None else delay
        if generation == self.generation and self._are_all_lost(resource):
            self.lose(error)
        elif isinstance(error, UpstreamError):
            self._tally.upstream_errors[error.reason] += 1
        return None

    def lose(self, error: ProxyError) -> float | None:
        """The source has failed: seconds until an attempt at it or another one, ``None`` if none follows."""
        attempts = self._attempts
        if isinstance(error, FormChanged):
            self._give_up(error)
        if self.lost.done():
            return None
        if attempts.is_pending:
            return attempts.wait(monotonic())
        if isinstance(error, Unavailable) and attempts.failover.has_others:
            error = UpstreamError(error.reason, error.detail)  # another provider may be free
        if not isinstance(error, UpstreamError):
            return None
        if not attempts.failover.has_others:
            attempts.stumbled(error)
            return None
        try:
            return attempts.lost(error)
        except ProxyError as given_up:
            self._give_up(given_up)
            return None

    def end(self, error: ProxyError) -> None:
        """Its own playlist cannot be shown any more: without another source that is the end."""
        if not self._attempts.failover.has_others and not self.lost.done():
            self._attempts.ended(error)
            self._give_up(error)

    def _give_up(self, error: ProxyError) -> None:
        if not self.lost.done():
            self.lost.set_result(error.again())

    def _are_all_lost(self, resource: Resource) -> bool:
        """Whether no variant works that players have wanted lately. A player that can take another one is
        given the time to do so."""
        now = monotonic()
        wanted = [
            listing
            for name, listing in self._children.items()
            if now - listing.asked_at <= ASKED and self._variants.is_variant(name)
        ]
        if not self._variants.is_variant(resource.name) or not all(one.is_failing for one in wanted):
            return False
        is_sure = any(one.failures > 1 or one.is_frozen for one in wanted)
        return is_sure or len(wanted) >= min(2, self._variants.count)


@dataclass(frozen=True)
class _Branch:
    """One playlist of a tree, its own or one that was named: see `listing.Owner`."""

    tree: Tree
    resource: Resource | None
    generation: int

    async def open(self, settled: Settled | None) -> Source:
        return await self.tree.open(self.resource, settled)

    def reading(self) -> AbstractAsyncContextManager[None]:
        return self.tree.reading(self.resource)

    async def index(self, playlist: Playlist, found: Found) -> Mapping[Reference, Resource | None]:
        return await self.tree.index(self.resource, playlist, found)

    def renew(self, page: Page) -> None:
        self.tree.renew(page)

    def variables(self) -> Mapping[str, str]:
        return self.tree.variables(self.resource)

    def alive(self, now: float) -> None:
        self.tree.alive(now)

    def lost(self, error: ProxyError) -> float | None:
        return self.tree.failed(self.resource, self.generation, error)


def _too_deep() -> UpstreamError:
    return UpstreamError("not_media", "The source's playlists are nested too deeply, or in a circle")
