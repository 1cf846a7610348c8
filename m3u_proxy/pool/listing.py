"""One upstream playlist, fetched once per refresh window for everybody who reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from time import monotonic
from typing import NamedTuple, Protocol
from urllib.parse import parse_qsl

from m3u_proxy.errors import Closed, ProxyError, UpstreamError
from m3u_proxy.ffmpeg.hls import uncut
from m3u_proxy.media.playlist import NotAPlaylist, Playlist, Reference, parse
from m3u_proxy.pool.resources import Resource
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
FREEZE = 12.0
TARGETS = 3
"""An old revision is given for this many target durations, at least ``FREEZE`` seconds."""
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

    def narrowed(self) -> Page:
        """With one of several variants only, the best of those that may be fetched."""
        playlist = self.playlist.narrowed(lambda reference: self.resources[reference] is not None)
        return replace(self, playlist=playlist)

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


class Settled(NamedTuple):
    """Where redirects led, and whom to trust with it. A session stays with one host while that works."""

    url: str
    named_by: AddressClass


class Owner(Protocol):
    """Whoever holds a listing, and is told what it finds."""

    def open(self, settled: Settled | None) -> Source:
        """The playlist's source, at the address where redirects led before if they did."""

    async def index(self, playlist: Playlist, found: Found) -> Mapping[Reference, Resource | None]:
        """Resources for what a new revision names. Raises UpstreamError for one that cannot be used."""

    def renew(self, page: Page) -> None:
        """That revision is in force still."""

    def variables(self) -> Mapping[str, str]:
        """What the playlist may import (EXT-X-DEFINE)."""

    def note(self, error: ProxyError) -> None:
        """A fetch has failed."""


class Listing:
    """The newest revision, and when the next one is due. ``aclose()`` ends the fetch under way.

    One task at most fetches; whoever asks meanwhile waits for it, and gets a revision or a copy of its error.
    """

    def __init__(self, url: str, owner: Owner) -> None:
        self.page: Page | None = None
        self.error: ProxyError | None = None
        """Of the last fetch; ``None`` after a good one."""
        self._url = str(parse_url(url))
        self._owner = owner
        self._fetch: asyncio.Task[None] | None = None
        self._closed = False
        self._text = b""
        self._base: Target | None = None
        """Where ``_text`` was read."""
        self._settled: Settled | None = None
        self._due = 0.0
        self._good_until = 0.0
        self._failures = 0

    @property
    def is_fetching(self) -> bool:
        """Whether a connection to the provider is open, or about to be."""
        return self._fetch is not None

    @property
    def target(self) -> float:
        """Target duration in seconds; 0 before the first revision, and of a playlist without segments."""
        if self.page is None or self.page.playlist.is_multivariant:
            return 0.0
        return self.page.playlist.target_duration

    async def current(self) -> Page:
        """A revision that is fresh, or as fresh as can be had. Raises why there is none, or Closed."""
        now = monotonic()
        is_due = now >= self._due
        if self.page is not None and now < self._good_until:
            if is_due:
                await self._refreshed(REVALIDATE)
            return self.page
        if is_due or self.error is None:
            await self._refreshed(None)
        return self._newest()

    async def adopt(self, source: Source) -> Page:
        """Take the first revision from a source that is open already, and close it."""
        self._start(source)
        await self._refreshed(None)
        return self._newest()

    def _newest(self) -> Page:
        """What the last fetch has left; raises why there is nothing, or nothing that may be shown still."""
        if self._closed:
            raise Closed("The stream was stopped", reason="closed")
        now = monotonic()
        if self.page is not None and (self.error is None or now < self._good_until):
            return self.page
        assert self.error is not None
        error = self.error.again()
        error.retry_after = max(1.0, self._due - now)
        raise error

    async def _refreshed(self, patience: float | None) -> None:
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
        """One fetch from open to closed; sets what is served from now on, and when the next one is due."""
        try:
            source = source or self._owner.open(self._settled)
            try:
                head, text = await read_text(source, limit=LARGEST, patience=PATIENCE)
            finally:
                await uncut(source.aclose())
            self._succeeded(await self._read(head, text))
        except ProxyError as error:
            self._failed(error)
        finally:
            self._fetch = None

    async def _read(self, head: Head, text: bytes) -> Page:
        """The revision that this text is."""
        self._settled = Settled(head.url, head.address_class) if head.url != self._url else None
        base = Base(parse_url(head.url))
        if self.page is not None and text == self._text and self._base == base.target:
            self._owner.renew(self.page)
            return self.page
        read = partial(
            parse,
            text,
            hosts=[*_secrets(base.target), *_secrets(parse_url(self._url))],
            variables=self._owner.variables(),
            query=dict(parse_qsl(base.target.url.raw_query_string)),
        )
        try:
            playlist = read() if len(text) <= AT_ONCE else await asyncio.to_thread(read)
        except NotAPlaylist as error:
            reason = "too_large" if error.reason == "too_large" else "not_media"
            raise UpstreamError(reason, f"The source sent no playlist: {error}") from None
        found = Found(base, head.address_class, playlist.variables)
        page = Page(playlist, await self._owner.index(playlist, found))
        self._text, self._base = text, base.target
        return page

    def _succeeded(self, page: Page) -> None:
        now = monotonic()
        self.page, self.error, self._failures = page, None, 0
        playlist = page.playlist
        if playlist.is_ended or playlist.is_multivariant:
            self._due = self._good_until = inf
            return
        target = playlist.target_duration
        self._due = now + min(max(target / 2, POLL[0]), POLL[1])
        self._good_until = now + max(TARGETS * target, FREEZE)

    def _failed(self, error: ProxyError) -> None:
        self._settled = None
        self.error = error.again()
        self._owner.note(error)
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures, 5), LONGEST_PAUSE)
        self._failures += 1
        self._due = monotonic() + max(pause, error.retry_after or 0.0)

    async def aclose(self) -> None:
        """End the fetch under way: who waits for it gets Closed. No socket of this listing is left."""
        self._closed = True
        if self._fetch is not None:
            task = self._fetch
            await asyncio.sleep(0)  # a task cancelled before its first step would skip its own clean-up
            task.cancel()
            await asyncio.wait([task])


def _secrets(target: Target) -> list[str]:
    """Names that must not reach a viewer. A short plain one, as in `http://tv/`, is no secret but a word."""
    names = [target.host, *(target.userinfo or "").split(":")]
    return [name for name in names if "." in name or len(name) >= NAME]
