"""A file at a provider: any number of viewers, each at a position of its own.

Nothing is shared but what is known of the file: a viewer is one connection to the provider, and there is no
other beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic

from m3u_proxy.errors import Closed, Unavailable, UpstreamError
from m3u_proxy.model import Kind, StreamKey
from m3u_proxy.pool.flight import Flights
from m3u_proxy.pool.refusals import Refusals
from m3u_proxy.pool.vod.about import (
    About,
    RangeNotSatisfiable,
    Reply,
    Wish,
    extent,
    foreseen,
    judged,
    learnt,
    reply,
)
from m3u_proxy.pool.vod.line import Line, Meter
from m3u_proxy.pool.vod.position import Got, Position, VodLimits
from m3u_proxy.upstream.begun import Begun
from m3u_proxy.upstream.outcome import Outcome
from m3u_proxy.upstream.ranges import parse_single
from m3u_proxy.upstream.source import RangeRefused, Source

SEEK_WAIT = 0.3
"""Seconds for which a player that asks again may take to hang up where it was."""
LEARN_WAIT = 5.0
"""Seconds that HEAD waits for other connections to tell what the file is, or to end."""
_ALL = "bytes=0-"


class Vod:
    """Running thing behind a file. It has no task: it lives in its positions; ``aclose()`` ends them."""

    kind = Kind.VOD

    def __init__(
        self,
        open_source: Callable[[Mapping[str, str]], Source],
        *,
        limits: VodLimits,
        url: str,
        on_bytes: Callable[[int], None],
        on_error: Callable[[str], None],
    ) -> None:
        """``open_source`` is told header fields to add (Range, If-Range) and makes a source.

        ``url`` only hints at the type. ``on_bytes`` is told the size of each piece received, ``on_error``
        the reason of each attempt that failed.
        """
        self.about: About | None = None
        """What any connection has learnt so far."""
        self._open_source = open_source
        self._limits = limits
        self._url = url
        self._meter = Meter(on_bytes, on_error)
        self._positions: set[Position] = set()
        self._heads: Flights[About] = Flights()
        self._free = asyncio.Event()
        """Cleared while HEAD has a connection."""
        self._free.set()
        self._key = StreamKey.of(url)
        self._refusals = Refusals()
        """A file that is gone is not asked for by every player that tries again."""
        self._closed = False

    @property
    def connections(self) -> int:
        """Connections to the provider that are open now."""
        return self._meter.connections

    @property
    def bytes_in(self) -> int:
        """Received from the provider so far."""
        return self._meter.bytes_in

    def note(self, begun: Begun) -> None:
        """Learn from a source that was begun without a Range. Raises UpstreamError if it holds no file."""
        wish = Wish(None)
        held = extent(begun.head, wish)
        about = learnt(begun.head, held, wish, self.about, self._url)
        is_whole = held.size == len(begun.prefix)
        self.about = judged(about, begun.head, begun.prefix, self._url, is_whole=is_whole)

    async def open(
        self,
        wanted: str | None,
        if_range: str | None = None,
        begun: Source | None = None,
        *,
        owner: str | None = None,
    ) -> Position:
        """A viewer's position. ``wanted`` and ``if_range`` are its Range and If-Range fields.

        ``owner`` is who the player says it is. One that seeks asks again before it has hung up, or shortly
        after: its connection to the provider is closed first, unless it could not be had again.

        ``begun`` is a source that was opened without a Range; its ``open()`` and ``read()`` tell everything
        from the start. It is used if the viewer begins there, else closed before another is opened. Raises
        UpstreamError, RangeNotSatisfiable or Closed, with nothing left open.
        """
        position = self._position(begun, owner)
        try:
            if begun is None:
                await self._free.wait()
                await self._let_go(position)
            await self._begin(position, wanted, if_range, has_begun=begun is not None)
        except BaseException:
            await position.aclose()
            raise
        finally:
            position.opened.set()
        return position

    async def _let_go(self, position: Position) -> None:
        """Have the connections closed that the player of ``position`` has elsewhere in the file."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SEEK_WAIT):
                while others := self._others(position):
                    changed = self._meter.changed
                    for one in others:
                        if one.can_hang_up:
                            await one.hang_up(position.opened)
                    if self._others(position):
                        await changed.wait()

    def _others(self, position: Position) -> list[Position]:
        """Where else its player has a connection."""
        mine = [one for one in self._positions if one.owner == position.owner and one is not position]
        return [one for one in mine if one.is_connected] if position.owner is not None else []

    def _position(self, begun: Source | None = None, owner: str | None = None) -> Position:
        line = Line(self._open_source, self._meter, begun)
        position = Position(line, self._meter, self._limits, self._positions.discard, owner)
        self._positions.add(position)
        return position

    async def _begin(
        self, position: Position, wanted: str | None, if_range: str | None, *, has_begun: bool
    ) -> None:
        part = parse_single(wanted)
        is_from_start = part is None or part.first == 0
        wish = Wish.of(wanted, if_range, self.about)
        keep = has_begun and is_from_start
        got = await self._ask(position, Wish(None) if keep else wish, keep=keep)
        if got.is_part and if_range is not None and got.about.confirms(if_range) is False:
            got = await self._ask(position, Wish(None))  # the provider does not know If-Range
        is_cut = got.is_part or (keep and _may_be_cut(got, if_range))
        held = got.held
        if is_cut and part is not None and part.first is not None and part.last is not None:
            assert held.last is not None
            held = held._replace(last=min(held.last, part.last))
        position.begin(reply(got.about, held, is_part=is_cut and part is not None), held.last)

    async def _ask(self, position: Position, wish: Wish, *, keep: bool = False) -> Got:
        if self._closed:
            raise Closed("The stream was stopped", reason="closed")
        if not keep:
            self._refusals.check(self._key, monotonic(), may_ask=lambda: False)
        try:
            got = await position.ask(wish, self.about, self._url, keep=keep)
        except RangeRefused as refused:
            size = refused.content_range.size if refused.content_range else None
            if self.about is not None and size != self.about.size:
                self.about = None
            raise RangeNotSatisfiable(size) from refused
        except UpstreamError as error:
            self._meter.on_error(error.reason)
            if error.status is not None and (self.about is None or Outcome.of(error).is_final):
                self._refusals.note(self._key, error, began=monotonic(), now=monotonic())
            raise
        self._refusals.forget(self._key)
        self.about = got.about
        self._meter.tell()
        return got

    async def learn(self) -> About:
        """What the file is, for HEAD: from memory, else by one request that is hung up on early.

        That waits for other connections to tell or to end. Raises UpstreamError; Unavailable if they do
        neither within ``LEARN_WAIT``; Closed.
        """
        return self.about or await self._heads.fly("head", self._learn)

    async def head(self, wanted: str | None, if_range: str | None = None) -> Reply:
        """What a GET with these fields would be answered. Raises as ``learn``, and RangeNotSatisfiable."""
        return foreseen(await self.learn(), wanted, if_range)

    async def _learn(self) -> About:
        try:
            async with asyncio.timeout(LEARN_WAIT):
                while self.about is None and self._meter.connections:
                    await self._meter.changed.wait()
        except TimeoutError:
            raise Unavailable("The provider's connection is in use", reason="busy") from None
        if self.about is not None:
            return self.about
        position = self._position()
        self._free.clear()
        try:
            return (await self._ask(position, Wish.of(_ALL, None, None))).about
        except RangeNotSatisfiable as error:
            raise UpstreamError("not_media", "The provider's file is empty", status=416) from error
        finally:
            try:
                await position.aclose()
            finally:
                self._free.set()

    async def aclose(self) -> None:
        """End all positions: whoever reads gets Closed. Idempotent; no socket is left when this returns."""
        self._closed = True
        await asyncio.gather(*(position.aclose() for position in list(self._positions)))
        await self._heads.aclose()


def _may_be_cut(got: Got, if_range: str | None) -> bool:
    """Whether a part from the start may be cut from the whole, as if the provider had been asked for it."""
    is_meant = if_range is None or got.about.confirms(if_range) is True
    return is_meant and got.held.size is not None and got.about.accepts_ranges
