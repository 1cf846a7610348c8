"""One HLS source for any number of viewers: each playlist, segment, key and map is fetched once for all.

Nothing is fetched that nobody asks for: a playlist when a viewer wants it and the last revision is too old, a
segment when the first viewer asks for it. Everybody else attaches to what is there or on its way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import monotonic

from m3u_proxy.errors import Closed, NotFound, ProxyError, Unavailable, UpstreamError
from m3u_proxy.media.playlist import Playlist, Reference, Role
from m3u_proxy.model import Kind, RunSnapshot, State, StreamKey
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.downloads import Downloads, OpenChild
from m3u_proxy.pool.listing import Found, Listing, Page, Settled
from m3u_proxy.pool.rate import Rate
from m3u_proxy.pool.resources import Resource, Resources
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.source import Source

log = logging.getLogger(__name__)

DEPTH = 2
"""Playlists above a media playlist: a multivariant one, and one more."""
KEEP_TARGETS = 3
KEEP = 20.0
"""Target durations, and least seconds, for which a segment is kept after it was listed last."""


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
        self.downloads = Downloads(open_child, budget, tally, on_bytes=self._count)
        self._open_child = open_child
        self._resources = resources
        self._tally = tally
        self._prefetch = prefetch
        self._rate = Rate()
        self._root = self._listing(url, open_root, None)
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
                self.error = Closed("The stream was stopped", reason="closed")
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
        if name is None:
            try:
                return await self._root.current()
            except ProxyError as error:  # everything hangs on this one
                if not self._lost.done():
                    self._lost.set_result(error.again())
                raise
        resource = self.resource(name)
        if resource.role is not Role.PLAYLIST:
            raise NotFound("Not a playlist")
        listing = self._children.get(name)
        if listing is None:
            listing = self._children[name] = self._listing(resource.url, self._opener(resource), resource)
        return await listing.current()

    def known_page(self, name: str | None) -> Page | None:
        """The newest revision that is here; nobody is asked."""
        listing = self._root if name is None else self._children.get(name)
        return listing.page if listing is not None else None

    async def media_page(self) -> Page:
        """The playlist with the segments that FFmpeg reads: of several variants the best."""
        page = await self.page()
        for _ in range(DEPTH):
            variants = page.playlist.narrowed().references if page.playlist.is_multivariant else ()
            resource = page.resources[variants[-1]] if variants else None
            if resource is None:
                break
            page = await self.page(resource.name)
        return page

    def resource(self, name: str) -> Resource:
        """What a playlist of this source has named; raises ``NotFound`` when that is forgotten."""
        resource = self._resources.get(name)
        if resource is None:
            raise NotFound("Segment expired")
        return resource

    def _opener(self, resource: Resource) -> Callable[[Settled | None], Source]:
        def opened(settled: Settled | None) -> Source:
            url, named_by = settled or (resource.url, resource.named_by)
            return self._open_child(url, named_by)

        return opened

    def _listing(
        self, url: str, open_source: Callable[[Settled | None], Source], resource: Resource | None
    ) -> Listing:
        def opened(settled: Settled | None) -> Source:
            self._tally.fetches[Role.PLAYLIST] += 1
            return open_source(settled)

        def index(playlist: Playlist, found: Found) -> Mapping[Reference, Resource | None]:
            return self._index(resource, playlist, found)

        def variables() -> Mapping[str, str]:
            page = None if resource is None else self._root.page
            return page.playlist.variables if page is not None else {}

        return Listing(opened, index, url=url, variables=variables, on_error=self._note)

    def _note(self, error: ProxyError) -> None:
        self._tally.upstream_errors[error.reason] += 1
        log.warning("playlist not read: %s", error.detail, extra=self._who)

    def _index(
        self, parent: Resource | None, playlist: Playlist, found: Found
    ) -> Mapping[Reference, Resource | None]:
        """Names for all that a new revision lists; what no revision lists any more is let go."""
        if playlist.is_multivariant and parent is not None and parent.depth >= DEPTH:
            raise UpstreamError("not_media", "The source's playlists are nested too deeply")
        now = monotonic()
        resources: dict[Reference, Resource | None] = {}
        for reference in playlist.references:
            url = found.base.resolve(reference.uri)
            resources[reference] = (
                self._resources.add(
                    reference, url, named_by=found.named_by, parent=parent, playlist=playlist, now=now
                )
                if url is not None
                else None
            )
        self._tally.dropped_lines += playlist.dropped
        if not (playlist.is_ended or playlist.is_multivariant):
            self._expire(now - max(KEEP, KEEP_TARGETS * playlist.target_duration))
            if self._prefetch:
                self._fetch_ahead(playlist, resources)
        return resources

    def _expire(self, before: float) -> None:
        """Let go of everything that was listed last before that time, but for what has no end."""
        old = {one.name for one in self._resources if one.is_passing and one.listed_at < before}
        self.downloads.expire(lambda name: name not in old)
        for name in old:
            self._resources.forget(name)

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

    def snapshot(self) -> RunSnapshot:
        """The passthrough now."""
        fetching = sum(listing.fetching for listing in (self._root, *self._children.values()))
        return RunSnapshot(
            key=self.key.digest,
            kind=self.kind,
            state=self.state,
            reason=self.error.reason if self.error else None,
            bytes_in=self.bytes_in,
            bitrate=self._rate.read(monotonic(), self.bytes_in),
            skips=0,
            media_info={},
            upstream_connections=len(self.downloads) + fetching,
            ffmpeg_pid=None,
        )
