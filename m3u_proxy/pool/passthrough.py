"""One HLS source for any number of viewers: each playlist, segment, key and map is fetched once for all.

Nothing is fetched that nobody asks for: a playlist when a viewer wants it and the last revision is too old, a
segment when the first viewer asks for it. Everybody else attaches to what is there or on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic

from m3u_proxy.errors import Closed, NotFound, ProxyError, Unavailable, UpstreamError
from m3u_proxy.media.playlist import Playlist, Reference, Role
from m3u_proxy.model import Kind, RunSnapshot, State, StreamKey
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.downloads import AT_ONCE, Downloads, OpenChild
from m3u_proxy.pool.listing import Found, Listing, Page, Settled
from m3u_proxy.pool.rate import Rate
from m3u_proxy.pool.resources import Part, Resource, Resources
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.source import Source

log = logging.getLogger(__name__)

DEPTH = 2
"""Playlists above a media playlist: a multivariant one, and one more."""
CHILDREN = 64
"""Playlists below the source's own that are kept; each may be megabytes."""
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


class Passthrough:
    """Running thing behind an HLS source. ``run()`` is its life; afterwards no task or socket is left.

    ``open_root`` opens the source's own playlist, at the address where redirects led before if it is given
    one. With ``prefetch`` the newest segment is fetched as soon as it is listed.
    """

    kind = Kind.HLS

    def __init__(
        self,
        key: StreamKey,
        url: str,
        open_root: Callable[[Settled | None], Source],
        open_child: OpenChild,
        *,
        resources: Resources,
        budget: Budget,
        tally: Tally,
        prefetch: bool,
    ) -> None:
        self.key = key
        self.state = State.STARTING
        self.error: ProxyError | None = None
        self.bytes_in = 0
        self.downloads = Downloads(open_child, budget, tally, on_bytes=self._count, on_error=self.note)
        self._open_root = open_root
        self._open_child = open_child
        self._resources = resources
        self._tally = tally
        self._prefetch = prefetch
        self._rate = Rate()
        self._root = Listing(url, _Branch(self, None))
        self._children: dict[str, Listing] = {}
        self._lost: asyncio.Future[ProxyError] = asyncio.get_running_loop().create_future()

    def __repr__(self) -> str:
        return f"<Passthrough {self.key.digest} {self.state} fetching={len(self.downloads)}>"

    @property
    def is_warm(self) -> bool:
        """Whether a joiner finds a playlist."""
        return self._root.page is not None

    @property
    def target(self) -> float:
        """The longest target duration among its playlists, in seconds."""
        return max(listing.target for listing in (self._root, *self._children.values()))

    async def run(self, source: Source) -> None:
        """Live until cancelled or given up, beginning with the playlist that ``source`` is sending."""
        try:
            await self._root.adopt(source)
            self._enter(State.LIVE)
            raise await self._lost
        except ProxyError as error:
            self.error = error
            self._enter(State.FAILED)
        finally:
            if self.state is not State.FAILED:
                self.error = _stopped()
                self._enter(State.CLOSED)
            for listing in (self._root, *self._children.values()):
                await listing.aclose()
            await self.downloads.aclose()

    async def ready(self) -> None:
        """Wait for the source's own playlist; raises why there is none."""
        await self.page()

    async def page(self, name: str | None = None) -> Page:
        """The playlist of that name, the source's own without one, as fresh as can be had."""
        if self.error is not None:
            raise self.error.again()
        try:
            return await (self._root if name is None else self._child(name)).current()
        except Closed:  # that is said to everybody who still waits at the end; there is a reason behind it
            raise self.error.again() if self.error is not None else _stopped() from None
        except ProxyError as error:
            if name is None and not self._lost.done():  # everything hangs on this one
                self._lost.set_result(error.again())
            raise

    def _child(self, name: str) -> Listing:
        """A playlist that another one names; of those opened longest ago some are forgotten."""
        resource = self.resource(name)
        if resource.role is not Role.PLAYLIST:
            raise NotFound("Not a playlist")
        listing = self._children.pop(name, None)
        if listing is None:
            if self._fetching() >= AT_ONCE:
                raise Unavailable("Too many playlists of this source are on their way", reason="busy")
            listing = Listing(resource.url, _Branch(self, resource))
        self._children[name] = listing
        if len(self._children) > CHILDREN:
            idle = (each for each, one in self._children.items() if not one.is_fetching and each != name)
            self._children.pop(next(idle, ""), None)
        return listing

    def known_page(self, name: str | None) -> Page | None:
        """The newest revision that is here; nobody is asked."""
        listing = self._root if name is None else self._children.get(name)
        return listing.page if listing is not None else None

    async def media_page(self) -> Page:
        """The playlist with the segments that FFmpeg reads: of several variants the best, see `narrowed`."""
        page = await self.page()
        while page.playlist.is_multivariant:  # not for ever: see DEPTH
            page = page.narrowed()
            best = page.playlist.variants()
            resource = page.resources[best[0]] if best else None
            if resource is None:
                raise UpstreamError("not_media", "None of the source's variants can be read")
            page = await self.page(resource.name)
        return page

    def resource(self, name: str) -> Resource:
        """What a playlist of this source has named; raises ``NotFound`` when that is forgotten."""
        resource = self._resources.get(name)
        if resource is None:
            raise NotFound("Segment expired")
        return resource

    # -- what its playlists tell ------------------------------------------------------------------------

    def open(self, resource: Resource | None, settled: Settled | None) -> Source:
        """The source of a playlist, of its own without ``resource``."""
        self._tally.fetches[Role.PLAYLIST] += 1
        if resource is None:
            return self._open_root(settled)
        return self._open_child(*(settled or (resource.url, resource.named_by)))

    async def index(
        self, parent: Resource | None, playlist: Playlist, found: Found
    ) -> Mapping[Reference, Resource | None]:
        """Names for all that a new revision lists; what none lists any more is let go after a while."""
        depth = parent.depth if parent is not None else 0
        if playlist.is_multivariant and depth >= DEPTH:
            raise _too_deep()
        now = monotonic()
        named = partial(
            self._resources.index,
            playlist,
            found.base.resolve,
            named_by=found.named_by,
            depth=depth + 1,
            keep_until=kept_until(playlist, now),
        )
        resources = named(which=slice(NAMED_AT_ONCE))
        for at in range(NAMED_AT_ONCE, len(playlist.references), NAMED_AT_ONCE):
            await asyncio.sleep(0)
            resources |= named(which=slice(at, at + NAMED_AT_ONCE))
        if playlist.is_multivariant and parent is not None and parent in resources.values():
            raise _too_deep()
        self._tally.dropped_lines += playlist.dropped
        self._expire(now)
        if self._prefetch and not (playlist.is_ended or playlist.is_multivariant):
            self._fetch_ahead(playlist, resources)
        return resources

    def renew(self, page: Page) -> None:
        """A revision is in force still."""
        now = monotonic()
        self._resources.renew(page.resources, kept_until(page.playlist, now))
        self._expire(now)

    def variables(self, resource: Resource | None) -> Mapping[str, str]:
        """What the source's own playlist defines for the others."""
        page = None if resource is None else self._root.page
        return page.playlist.variables if page is not None else {}

    def note(self, what: Role, error: ProxyError) -> None:
        """A fetch has failed."""
        if isinstance(error, UpstreamError):
            self._tally.upstream_errors[error.reason] += 1
        log.warning("%s not read: %s", what, error.detail, extra=self._who)

    def _expire(self, now: float) -> None:
        """Let go of everything whose time is over."""
        for name in self._resources.expire(now):
            listing = self._children.get(name)
            if listing is not None and not listing.is_fetching:
                del self._children[name]
        self.downloads.expire(self._is_listed)

    def _is_listed(self, name: str, part: Part | None) -> bool:
        resource = self._resources.get(name)
        return resource is not None and (part is None or part in resource.ranges)

    def _fetch_ahead(self, playlist: Playlist, resources: Mapping[Reference, Resource | None]) -> None:
        segments = playlist.segments()
        newest = resources[segments[-1]] if segments else None
        if newest is not None:
            try:
                self.downloads.fetch(newest, segments[-1].byte_range)
            except Unavailable:
                log.debug("not fetched ahead: too much is on its way", extra=self._who)

    def _count(self, size: int) -> None:
        self.bytes_in += size
        self._tally.bytes_in[self.kind] += size
        self._rate.mark(monotonic(), self.bytes_in)

    def _enter(self, state: State) -> None:
        if state is self.state:
            return
        self.state = state
        level = logging.WARNING if state is State.FAILED else logging.INFO
        said = f": {self.error.detail}" if self.error else ""
        log.log(level, "passthrough %s%s", state, said, extra=self._who)

    @property
    def _who(self) -> Mapping[str, str]:
        return {"stream": self.key.digest}

    def _fetching(self) -> int:
        return sum(listing.is_fetching for listing in (self._root, *self._children.values()))

    def snapshot(self) -> RunSnapshot:
        """The passthrough now."""
        return RunSnapshot(
            key=self.key.digest,
            kind=self.kind,
            state=self.state,
            reason=self.error.reason if self.error else None,
            bytes_in=self.bytes_in,
            bitrate=self._rate.read(monotonic(), self.bytes_in),
            skips=0,
            media_info={},
            upstream_connections=len(self.downloads) + self._fetching(),
            ffmpeg_pid=None,
        )


@dataclass(frozen=True)
class _Branch:
    """One playlist of a passthrough, its own or one that was named: see `listing.Owner`."""

    passthrough: Passthrough
    resource: Resource | None

    def open(self, settled: Settled | None) -> Source:
        return self.passthrough.open(self.resource, settled)

    async def index(self, playlist: Playlist, found: Found) -> Mapping[Reference, Resource | None]:
        return await self.passthrough.index(self.resource, playlist, found)

    def renew(self, page: Page) -> None:
        self.passthrough.renew(page)

    def variables(self) -> Mapping[str, str]:
        return self.passthrough.variables(self.resource)

    def note(self, error: ProxyError) -> None:
        self.passthrough.note(Role.PLAYLIST, error)


def _too_deep() -> UpstreamError:
    return UpstreamError("not_media", "The source's playlists are nested too deeply, or in a circle")


def _stopped() -> Closed:
    return Closed("The stream was stopped", reason="closed")
