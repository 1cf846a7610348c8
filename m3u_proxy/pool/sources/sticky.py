"""A live stream stays with the host that a redirect led to, for as long as that works.

Some providers send each request to another host, or to one with a token of its own. Where
``use_sticky_session`` is on, a stream that breaks is asked for again where it was found; if that fails, at
its own URL within the same attempt. What is remembered ends with the running thing. Playlists need no such
order: every HLS session keeps to one host, or its media sequence would jump (see `hls.listing`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from m3u_proxy.errors import UpstreamError
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Head, Source
from m3u_proxy.upstream.url import parse as parse_url

ENOUGH = 64 * 1024
"""Bytes of a body after which a host works: no page that says why not is that long."""
PLACES = 16
"""URLs whose place is remembered; those that were found longest ago are forgotten first."""
SLOW = frozenset({"connect_timeout", "first_byte_timeout", "stall"})
"""Reasons after which there is no time left to ask elsewhere in the same attempt."""


class Settled(NamedTuple):
    """Where redirects led, and whom to trust with it. A session stays with one host while that works."""

    url: str
    named_by: AddressClass


class Session:
    """Where the sources of one running thing were found, by their own URLs."""

    def __init__(self) -> None:
        self._places: dict[str, Settled] = {}

    def open(
        self, url: str, entry: Callable[[], Source], elsewhere: Callable[[Settled], Source]
    ) -> StickySource:
        """One attempt at ``url``: where it was found before, or else at ``entry``."""
        place = self._places.pop(url, None)
        sources = [entry()] if place is None else [elsewhere(place), entry()]
        return StickySource(sources, partial(self._settle, url), url)

    def _settle(self, url: str, found: Settled) -> None:
        self._places.pop(url, None)
        self._places[url] = found
        if len(self._places) > PLACES:
            del self._places[next(iter(self._places))]


class StickySource:
    """The first of ``sources`` that opens; ``settle`` is told where that was once it has proved to work."""

    def __init__(self, sources: list[Source], settle: Callable[[Settled], None], url: str) -> None:
        self._sources = sources
        self._settle = settle
        self._url = str(parse_url(url))
        self._found: Settled | None = None
        """Not settled yet."""
        self._size = 0

    async def open(self) -> Head:
        """See `Source.open`."""
        while True:
            try:
                head = await self._sources[0].open()
                break
            except UpstreamError as error:
                if len(self._sources) == 1 or error.reason in SLOW:
                    raise
                await uncut(self._sources[0].aclose())
                del self._sources[0]
        if head.url != self._url:
            self._found = Settled(head.url, head.address_class)
        return head

    async def read(self) -> bytes:
        """See `Source.read`."""
        data = await self._sources[0].read()
        if self._found is not None:
            self._size += len(data)
            if self._size >= ENOUGH:
                self._settle(self._found)
                self._found = None
        return data

    async def aclose(self) -> None:
        """Idempotent. No socket of any of them is left when this returns."""
        for source in self._sources:
            await uncut(source.aclose())
