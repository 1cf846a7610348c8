"""One upstream playlist, fetched once per refresh window for everybody who reads it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import NamedTuple
from urllib.parse import parse_qsl

from m3u_proxy.errors import ProxyError, UpstreamError
from m3u_proxy.media.playlist import NotAPlaylist, Playlist, Reference, parse
from m3u_proxy.pool.flight import Flights
from m3u_proxy.pool.resources import Resource
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Head, Source
from m3u_proxy.upstream.text import read_text
from m3u_proxy.upstream.url import Base, Target
from m3u_proxy.upstream.url import parse as parse_url

log = logging.getLogger(__name__)

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
        """With one of several variants only, the best."""
        return replace(self, playlist=self.playlist.narrowed())

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


class Listing:
    """The newest revision, and when the next one is due.

    ``open_source`` is told where redirects led before, if they did; ``index`` turns what a revision names
    into resources.
    """

    def __init__(
        self,
        open_source: Callable[[Settled | None], Source],
        index: Callable[[Playlist, Found], Mapping[Reference, Resource | None]],
        *,
        url: str,
        variables: Callable[[], Mapping[str, str]],
        on_error: Callable[[ProxyError], None],
    ) -> None:
        self.page: Page | None = None
        self.error: ProxyError | None = None
        """Of the last fetch; ``None`` after a good one."""
        self._url = str(parse_url(url))
        self._open_source = open_source
        self._index = index
        self._variables = variables
        self._on_error = on_error
        self._flights: Flights[Page] = Flights()
        self._text = b""
        self._settled: Settled | None = None
        self._due = 0.0
        self._good_until = 0.0
        self._failures = 0

    @property
    def fetching(self) -> int:
        """1 while a fetch is under way."""
        return len(self._flights)

    @property
    def target(self) -> float:
        """Target duration in seconds; 0 before the first revision."""
        return self.page.playlist.target_duration if self.page else 0.0

    async def current(self) -> Page:
        """A revision that is fresh, or as fresh as can be had. Raises why there is none."""
        now = monotonic()
        page = self.page
        if page is not None and now < min(self._due, self._good_until):
            return page
        if self.error is not None and now < self._due:
            raise self._refusal(now)
        if page is None or now >= self._good_until:
            return await self._fly()
        try:
            async with asyncio.timeout(REVALIDATE):
                return await self._fly()
        except (TimeoutError, ProxyError):
            return page

    def _refusal(self, now: float) -> ProxyError:
        assert self.error is not None
        error = self.error.again()
        error.retry_after = max(1.0, self._due - now)
        return error

    async def _fly(self) -> Page:
        return await self._flights.fly("", self._fetch)

    async def adopt(self, source: Source) -> Page:
        """Take the first revision from a source that is open already, and close it."""
        return await self._flights.fly("", lambda: self._take(source))

    async def _fetch(self) -> Page:
        return await self._take(self._open_source(self._settled))

    async def _take(self, source: Source) -> Page:
        """One fetch from open to closed; sets when the next one is due."""
        try:
            try:
                head, text = await read_text(source, limit=LARGEST, patience=PATIENCE)
            finally:
                await source.aclose()
            page = await self._read(head, text)
        except ProxyError as error:
            self._failed(error)
            if self.page is not None and monotonic() < self._good_until:
                return self.page
            raise
        self._succeeded(page)
        return page

    async def _read(self, head: Head, text: bytes) -> Page:
        self._settled = Settled(head.url, head.address_class) if head.url != self._url else None
        if self.page is not None and text == self._text:
            return self.page
        base = Base(parse_url(head.url))
        read = partial(
            parse,
            text,
            hosts=_secrets(base.target),
            variables=self._variables(),
            query=dict(parse_qsl(base.target.url.raw_query_string)),
        )
        try:
            playlist = read() if len(text) <= AT_ONCE else await asyncio.to_thread(read)
        except NotAPlaylist as error:
            reason = "too_large" if error.reason == "too_large" else "not_media"
            raise UpstreamError(reason, f"The source sent no playlist: {error}") from None
        found = Found(base, head.address_class, playlist.variables)
        self._text = text
        return Page(playlist, self._index(playlist, found))

    def _succeeded(self, page: Page) -> None:
        now = monotonic()
        self.page, self.error, self._failures = page, None, 0
        playlist = page.playlist
        if playlist.is_ended or playlist.is_multivariant:
            self._due = self._good_until = float("inf")
            return
        target = playlist.target_duration
        self._due = now + min(max(target / 2, POLL[0]), POLL[1])
        self._good_until = now + max(TARGETS * target, FREEZE)

    def _failed(self, error: ProxyError) -> None:
        self._settled = None
        self.error = error
        self._on_error(error)
        pause = min(FIRST_PAUSE * 2.0 ** min(self._failures, 5), LONGEST_PAUSE)
        self._failures += 1
        self._due = monotonic() + max(pause, self.error.retry_after or 0.0)

    async def aclose(self) -> None:
        """End the fetch under way; no socket of this listing is left."""
        await self._flights.aclose(cancel=True)


def _secrets(target: Target) -> list[str]:
    """Names that must not reach a viewer. A short plain one, as in `http://tv/`, is no secret but a word."""
    names = [target.host, *(target.userinfo or "").split(":")]
    return [name for name in names if "." in name or len(name) >= NAME]
