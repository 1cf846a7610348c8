"""One upstream playlist, fetched once per refresh window for everybody who reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from time import monotonic
from typing import Protocol
from urllib.parse import parse_qsl

from m3u_proxy.errors import Closed, ProxyError, UpstreamError
from m3u_proxy.media.playlist import NotAPlaylist, Playlist, Reference, parse
from m3u_proxy.pool.hls.pulse import Pulse, patience_for
from m3u_proxy.pool.hls.resources import Resource
from m3u_proxy.pool.sources.attempts import Switched
from m3u_proxy.pool.sources.sticky import SLOW, Settled
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Head, Source
from m3u_proxy.upstream.text import read_text
from m3u_proxy.upstream.url import Base, Target
from m3u_proxy.upstream.url import parse as parse_url

LARGEST = 2 * 2**20
"""Bytes of a playlist, as sent and as decoded."""
PATIENCE = 12.0
"""Seconds in which a playlist has to arrive."""
POLL = (0.5, 30.0)
"""Least and most seconds between two fetches."""
REVALIDATE = 0.5
"""Seconds a viewer waits for a newer revision when there is an older one to give."""
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds between failed fetches, doubled each time."""
AT_ONCE = 128 * 1024
"""Bytes of a playlist that are read in the loop; more take some dozen milliseconds, and go to a thread."""
NAME = 8
"""Characters from which a host without a dot is taken for a name."""


@dataclass(frozen=True, eq=False)
class Page:
    """One revision of a playlist, with everything it names."""

    playlist: Playlist
    resources: Mapping[Reference, Resource | None]
    """``None`` for what nobody may fetch."""

    def narrowed(self, is_failing: Callable[[Resource], bool] = lambda _: False) -> Page:
        """With one of several variants only, the best of those that may be fetched; one that fails only
        where all do."""

        def is_usable(reference: Reference) -> bool:
            return self.resources[reference] is not None

        def is_good(reference: Reference) -> bool:
            resource = self.resources[reference]
            return resource is not None and not is_failing(resource)

        playlist = self.playlist.narrowed(is_good)
        return replace(self, playlist=playlist if playlist.variants() else self.playlist.narrowed(is_usable))

    def render(self, url_of: Callable[[Resource], str]) -> str:
        """The playlist for viewers; ``url_of`` says where they find each resource."""

        def rewritten(reference: Reference) -> str | None:
            resource = self.resources[reference]
            return None if resource is None else url_of(resource)

        return self.playlist.render(rewritten)


@dataclass(frozen=True)
class Found:
    """Where a playlist was found, for resolving what it names."""

    base: Base
    named_by: AddressClass
    variables: Mapping[str, str]


class Owner(Protocol):
    """Whoever holds a listing, and is told what it finds."""

    async def open(self, settled: Settled | None) -> Source:
        """The playlist's source, at the address where redirects led before if they did."""

    def reading(self) -> AbstractAsyncContextManager[None]:
        """Context in which it is read; raises ``Switched`` where another source is to be read instead."""

    async def index(self, playlist: Playlist, found: Found) -> Mapping[Reference, Resource | None]:
        """Resources for what a new revision names. Raises UpstreamError for one that cannot be used."""

    def renew(self, page: Page) -> None:
        """That revision is in force still."""

    def variables(self) -> Mapping[str, str]:
        """What the playlist may import (EXT-X-DEFINE)."""

    def alive(self, now: float) -> None:
        """Something new was listed."""

    def lost(self, error: ProxyError) -> float | None:
        """A fetch has failed, or what it brings is of no use any more: seconds until the next one.

        0: at once, for those who wait for this one. ``None``: paced by the listing itself.
        """


class Listing:
    """The newest revision, and when the next one is due. ``aclose()`` ends the fetch under way.

    One task at most fetches; whoever asks meanwhile waits for it, and gets a revision or a copy of its error.
    A live playlist that stays the same for too long (``playlist_freeze``), or ends (``eof``), has failed.
    """

    def __init__(self, url: str, owner: Owner) -> None:
        self.page: Page | None = None
        self.error: ProxyError | None = None
        """Of the last fetch; ``None`` after a good one."""
        self.url = str(parse_url(url))
        self.asked_at = -inf
        """Monotonic time at which somebody wanted it last."""
        self.read_at = -inf
        """Of the last good fetch."""
        self.good_until = 0.0
        """How long the newest revision may be shown without a newer one."""
        self.failures = 0
        """In a row."""
        self._owner = owner
        self._fetch: asyncio.Task[None] | None = None
        self._closed = False
        self._text = b""
        self._base: Target | None = None
        """Where ``_text`` was read."""
        self._settled: Settled | None = None
        self._due = 0.0
        self._pulse = Pulse()

    @property
    def is_fetching(self) -> bool:
        """Whether a connection to the provider is open, or about to be."""
        return self._fetch is not None

    @property
    def is_failing(self) -> bool:
        """Whether it is of no use now, but for what is left of an older revision."""
        return self.error is not None or self.is_frozen

    @property
    def is_frozen(self) -> bool:
        """Whether it is read well enough, but has not brought anything new for too long."""
        return self._pulse.is_frozen

    @property
    def target(self) -> float:
        """Target duration in seconds; 0 before the first revision, and of a playlist without segments."""
        if self.page is None or self.page.playlist.is_multivariant:
            return 0.0
        return self.page.playlist.target_duration

    async def current(self) -> Page:
        """A revision that is fresh, or as fresh as can be had. Raises why there is none, or Closed."""
        now = self.asked_at = monotonic()
        is_due = now >= self._due
        if self.page is not None and now < self.good_until:
            if is_due:
                await self.refreshed(REVALIDATE)
            return self.page
        if is_due or self.error is None:
            await self.refreshed(None)
        return self._newest()

    async def adopt(self, source: Source) -> Page:
        """Take the first revision from a source that is open already, and close it."""
        self._start(source)
        await self.refreshed(None)
        return self._newest()

    def move(self, url: str) -> None:
        """From the next fetch on it is read at another source. The newest revision is given meanwhile."""
        self.url = str(parse_url(url))
        self._settled = self._base = None
        self._pulse.restart()

    def _newest(self) -> Page:
        """What the last fetch has left; raises why there is nothing, or nothing that may be shown still."""
        if self._closed:
            raise Closed("The stream was stopped", reason="closed")
        now = monotonic()
        if self.page is not None and (self.error is None or now < self.good_until):
            return self.page
        assert self.error is not None
        error = self.error.again()
        error.retry_after = max(1.0, self._due - now)
        raise error

    async def refreshed(self, patience: float | None) -> None:
        """Wait for the fetch under way, started if there is none, at most ``patience`` seconds."""
        if self._closed:
            return
        task = self._fetch or self._start(None)
        await asyncio.wait([task], timeout=patience)
        if task.done() and not task.cancelled():
            task.result()

    def _start(self, source: Source | None) -> asyncio.Task[None]:
        self._fetch = asyncio.get_running_loop().create_task(self._take(source), name="fetch-playlist")
        return self._fetch

    async def _take(self, source: Source | None) -> None:
        """Fetch until there is a revision, or a reason to wait."""
        try:
            while not await self._attempt(source):
                source = None
        finally:
            self._fetch = None

    async def _attempt(self, source: Source | None) -> bool:
        """One fetch from open to closed; sets what is served from now on, and when the next one is due.

        False: another one is to follow at once.
        """
        settled = self._settled if source is None else None
        try:
            source = source or await self._owner.open(settled)
            try:
                async with self._owner.reading():
                    head, text = await read_text(source, limit=LARGEST, patience=PATIENCE)
            finally:
                await uncut(source.aclose())
            page = await self._read(head, text)
            if self._pulse.has_ended(page.playlist, monotonic()):
                raise UpstreamError("eof", "The source's live playlist has ended")
        except Switched:
            return False
        except ProxyError as error:
            if settled is not None and isinstance(error, UpstreamError) and error.reason not in SLOW:
                self._settled = None  # it no longer works there: ask at its own address before all else
                return False
            return self._failed(error)
        self._succeeded(page)
        return not self._pulse.freezes(page.playlist, monotonic()) or self._owner.lost(_frozen()) != 0

    async def _read(self, head: Head, text: bytes) -> Page:
        """The revision that this text is."""
        self._settled = Settled(head.url, head.address_class) if head.url != self.url else None
        base = Base(parse_url(head.url))
        if self.page is not None and text == self._text and self._base == base.target:
            self._owner.renew(self.page)
            return self.page
        read = partial(
            parse,
            text,
            hosts=[*_secrets(base.target), *_secrets(parse_url(self.url))],
            variables=self._owner.variables(),
            query=dict(parse_qsl(base.target.url.raw_query_string)),
        )
        try:
            playlist = read() if len(text) <= AT_ONCE else await asyncio.to_thread(read)
        except NotAPlaylist as error:
            reason = "too_large" if error.reason == "too_large" else "not_media"
            detail = f"The source sent no playlist: {error}"
            raise UpstreamError(reason, detail, size=len(text)) from None
        found = Found(base, head.address_class, playlist.variables)
        page = Page(playlist, await self._owner.index(playlist, found))
        self._text, self._base = text, base.target
        return page

    def _succeeded(self, page: Page) -> None:
        now = monotonic()
        playlist = page.playlist
        if self._pulse.feel(playlist, now):
            self._owner.alive(now)
        self.page, self.error, self.failures, self.read_at = page, None, 0, now
        if playlist.is_multivariant or (playlist.is_ended and not self._pulse.was_live):
            self._due = self.good_until = inf
            return
        self._due = now + min(max(playlist.target_duration / 2, POLL[0]), POLL[1])
        self.good_until = now + patience_for(playlist)

    def _failed(self, error: ProxyError) -> bool:
        """Whether that was all for now."""
        self._settled = None
        self.error = error.again()
        self.failures += 1
        delay = self._owner.lost(error)
        if delay is None:
            pause = min(FIRST_PAUSE * 2.0 ** min(self.failures - 1, 5), LONGEST_PAUSE)
            delay = max(pause, error.retry_after or 0.0)
        self._due = monotonic() + delay
        return delay > 0

    async def aclose(self) -> None:
        """End the fetch under way: who waits for it gets Closed. No socket of this listing is left."""
        self._closed = True
        if self._fetch is not None:
            task = self._fetch
            await asyncio.sleep(0)  # a task cancelled before its first step would skip its own clean-up
            task.cancel()
            await asyncio.wait([task])


def _frozen() -> UpstreamError:
    return UpstreamError("playlist_freeze", "The source's live playlist does not change any more")


def _secrets(target: Target) -> list[str]:
    """Names that must not reach a viewer. A short plain one, as in `http://tv/`, is no secret but a word."""
    names = [target.host, *(target.userinfo or "").split(":")]
    return [name for name in names if "." in name or len(name) >= NAME]
