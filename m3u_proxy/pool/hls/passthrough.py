"""One HLS source for any number of viewers: each playlist, segment, key and map is fetched once for all.

Nothing is fetched that nobody asks for: a playlist when a viewer wants it and the last revision is too old, a
segment when the first viewer asks for it. Everybody else attaches to what is there or on its way.

Where the source fails, another one takes its place behind the same names: see `Tree` and `View`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic

from m3u_proxy.errors import FormChanged, NotFound, ProxyError, Unavailable, UpstreamError
from m3u_proxy.lifecycle import Running
from m3u_proxy.media.particulars import Looks
from m3u_proxy.media.playlist import Playlist, Reference, Role
from m3u_proxy.model import Kind, RunSnapshot, State, StreamKey
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls.downloads import Downloads, OpenChild
from m3u_proxy.pool.hls.listing import REVALIDATE, Listing, Page
from m3u_proxy.pool.hls.resources import Part, Resource, Resources
from m3u_proxy.pool.hls.tree import CHILDREN, OpenRoot, Tree
from m3u_proxy.pool.hls.variants import best_of
from m3u_proxy.pool.hls.view import View, kept_until
from m3u_proxy.pool.rate import Rate
from m3u_proxy.pool.sources.attempts import Attempts
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.source import Source

log = logging.getLogger(__name__)


class Passthrough(Running):
    """Running thing behind an HLS source. ``run()`` is its life; afterwards no task or socket is left.

    What comes after a failure is opened by ``attempts``. With ``prefetch`` the newest segment is fetched as
    soon as it is listed.
    """

    kind = Kind.HLS
    word = "passthrough"

    def __init__(
        self,
        key: StreamKey,
        open_root: OpenRoot,
        open_child: OpenChild,
        *,
        attempts: Attempts,
        resources: Resources,
        budget: Budget,
        tally: Tally,
        prefetch: bool,
    ) -> None:
        super().__init__(key)
        self.bytes_in = 0
        self.on_switch: Callable[[], None] = _nothing
        """Told when viewers are given another source."""
        self.downloads = Downloads(open_child, budget, tally, on_bytes=self._count, on_end=self._ended)
        self._attempts = attempts
        self._resources = resources
        self._tally = tally
        self._prefetch = prefetch
        self._rate = Rate()
        self._looks = Looks()
        self._tree = Tree(open_root, open_child, attempts, resources, tally, self)
        self._views: dict[str | None, View] = {None: View()}

    def __repr__(self) -> str:
        return f"<Passthrough {self.key.digest} {self.state} fetching={len(self.downloads)}>"

    @property
    def is_warm(self) -> bool:
        """Whether a joiner finds a playlist."""
        return self._tree.root.page is not None

    @property
    def target(self) -> float:
        """The longest target duration among its playlists, in seconds."""
        return self._tree.target

    @property
    def playing(self) -> str:
        """URL of the source in use."""
        return self._tree.source

    @property
    def is_live(self) -> bool:
        """Whether more media is to come."""
        return self.state is State.LIVE and self._tree.is_live

    @property
    def has_audio(self) -> bool | None:
        """Playlists need not tell."""
        return None

    async def run(self, source: Source) -> None:
        """Live until cancelled or given up, beginning with the playlist that ``source`` is sending."""
        try:
            await self._tree.root.adopt(source)
            self._enter(State.LIVE)
            raise await self._tree.lost
        except FormChanged as error:
            self.error = error
        except ProxyError as error:
            self._fail(error)
        finally:
            self._close()
            await self._tree.aclose()
            await self.downloads.aclose()

    async def ready(self) -> None:
        """Wait for the source's own playlist; raises why there is none."""
        await self.page()

    async def page(self, name: str | None = None) -> Page:
        """The playlist of that name, the source's own without one, as fresh as can be had."""
        if self.error is not None:
            raise self.error.again()
        resource = None if name is None else self.resource(name)
        if resource is not None and resource.role is not Role.PLAYLIST:
            raise NotFound("Not a playlist")
        view = self._view(name)
        tree = self._tree
        while await self._caught_up(view):
            generation = tree.generation
            try:
                listing, raw = await tree.read(resource, wants_media=view.is_media)
            except ProxyError as error:
                if self.error is not None:
                    raise self.error.again() from None
                if tree.has_moved(generation):
                    continue
                if resource is None:
                    tree.end(error)  # everything hangs on this one
                raise
            if not tree.has_moved(generation):
                return self._shown(view, listing, raw)
        assert view.page is not None
        return view.page

    def _view(self, name: str | None) -> View:
        """What viewers see under a name; those opened longest ago are forgotten, as their listings are."""
        view = self._views.pop(name, None) or View()
        self._views[name] = view
        if len(self._views) > CHILDREN + 1:
            del self._views[next(each for each in self._views if each is not None)]
        return view

    async def _caught_up(self, view: View) -> bool:
        """Read the source that was decided upon, if one was; false where its playlist is late and the last
        page may be shown still. Raises why everything has ended."""
        self._watch_segments()
        while self._attempts.is_due(monotonic()):
            if self.error is not None:
                raise self.error.again()
            is_good = view.page is not None and monotonic() < view.good_until
            await self._tree.root.refreshed(REVALIDATE if is_good else None)
            if is_good and self._tree.root.is_fetching:
                return False
        return True

    def _shown(self, view: View, listing: Listing, raw: Page) -> Page:
        page = view.follow(raw, self._tree.generation)
        view.good_until = listing.good_until
        if page is not raw and view.renewed_at != listing.read_at:
            view.renewed_at = listing.read_at
            self._resources.renew(page.resources, kept_until(page.playlist, monotonic()))
        return page

    def known_page(self, name: str | None) -> Page | None:
        """The newest revision that is here; nobody is asked."""
        view = self._views.get(name)
        page = view.page if view is not None else None
        return self._tree.root.page if page is None and name is None else page

    async def media_page(self) -> Page:
        """The playlist with the segments that FFmpeg reads: of several variants the best that works."""
        page = await self.page()
        while page.playlist.is_multivariant:  # not for ever: see DEPTH
            page = await self._best_variant(page)
        return page

    async def _best_variant(self, page: Page) -> Page:
        """A variant of that playlist; raises why there is none. One that fails is left for another one, as
        a player would do it."""
        tried: set[str] = set()
        while True:
            best = best_of(page, self._tree.is_failing)
            try:
                return await self.page(best.name)
            except UpstreamError:
                tried.add(best.name)
                if best_of(page, self._tree.is_failing).name in tried:
                    raise
                self._tally.failovers["variant"] += 1

    def narrowed(self, page: Page) -> Page:
        """With the one variant that FFmpeg is to read, see `media_page`."""
        return page.narrowed(self._tree.is_failing)

    def resource(self, name: str) -> Resource:
        """What a playlist of this source has named; raises ``NotFound`` when that is forgotten."""
        resource = self._resources.get(name)
        if resource is None:
            raise NotFound("Segment expired")
        return resource

    def named(self, url: str) -> Resource | None:
        """The segment, key or map at that address, if a playlist of this source names it still."""
        return self._resources.at(url)

    # -- what it is told --------------------------------------------------------------------------------

    def _ended(self, resource: Resource, error: ProxyError | None) -> None:
        """A segment, key or map was fetched, or was not."""
        if isinstance(error, UpstreamError):
            self._tally.upstream_errors[error.reason] += 1
        if error is not None:
            log.warning("%s not read: %s", resource.role, error.detail, extra=self.who)
        if resource.role is not Role.SEGMENT or not self._tree.lists(resource):
            return
        if error is None:
            self._tree.alive(monotonic())
            self._look(resource)
        elif error.reason == "http_404" and self.downloads.misses.missed(resource.name):
            self._lack_segments()

    def _look(self, resource: Resource) -> None:
        download = self.downloads.find(resource)
        if download is not None and download.body is not None:
            self._looks.look(download.body)

    def _watch_segments(self) -> None:
        is_fetching = len(self.downloads) > 0
        if self.downloads.misses.is_starved(self.target, monotonic(), is_fetching=is_fetching):
            self._lack_segments()

    def _lack_segments(self) -> None:
        self.downloads.misses.got()
        if self._tree.is_live:
            self._tree.lose(UpstreamError("segments", "The source does not have the segments that it lists"))

    def arrived(self) -> None:
        """See `Holder.arrived`."""
        self.downloads.misses.got()
        self._looks = Looks()
        self.on_switch()

    def read(self) -> None:
        """See `Holder.read`: let go of everything whose time is over."""
        for name in self._resources.expire(monotonic()):
            self._tree.forget(name)
            self._views.pop(name, None)
        self.downloads.expire(self._is_listed)

    def _is_listed(self, name: str, part: Part | None) -> bool:
        resource = self._resources.get(name)
        return resource is not None and (part is None or part in resource.ranges)

    def listed(self, playlist: Playlist, resources: Mapping[Reference, Resource | None]) -> None:
        """See `Holder.listed`: fetch what will be wanted."""
        if not self._prefetch or playlist.is_ended or playlist.is_multivariant:
            return
        segments = playlist.segments()
        newest = resources[segments[-1]] if segments else None
        if newest is not None:
            try:
                self.downloads.fetch(newest, segments[-1].byte_range, is_ahead=True)
            except Unavailable:
                log.debug("not fetched ahead: too much is on its way", extra=self.who)

    def _count(self, size: int) -> None:
        self.bytes_in += size
        self._tally.bytes_in[self.kind] += size
        self._rate.mark(monotonic(), self.bytes_in)

    def snapshot(self) -> RunSnapshot:
        """The passthrough now."""
        return RunSnapshot(
            key=self.key.digest,
            kind=self.kind,
            state=self.state,
            reason=self.error.reason if self.error else None,
            bytes_in=self.bytes_in,
            bitrate=self._rate.read(monotonic(), self.bytes_in),
            media_info=self._looks.info,
            upstream_connections=len(self.downloads) + self._tree.fetching,
        )


def _nothing() -> None:
    """Nobody is to be told."""
