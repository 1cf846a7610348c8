"""One viewer's place in a file at a provider: its bytes in order, over one connection at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from m3u_proxy.errors import Closed, UpstreamError
from m3u_proxy.pool.vod.about import About, Reply, Wish, extent, judged, learnt
from m3u_proxy.pool.vod.line import Line, Meter
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.ranges import ContentRange, Single

log = logging.getLogger(__name__)

ENOUGH = 564
"""Bytes after which the form of a file is judged: three packets of a transport stream."""
JUDGE_WITHIN = 2.0
"""Seconds after which it is judged by what is there."""
DOUBLINGS = 4
"""After so many the pause between two attempts grows no longer."""
WELL = 1024 * 1024
"""Bytes from one connection after which the pauses begin anew."""
RETURN_AFTER = 1.0
"""Seconds from the opening of a player's new place to the return to the old one, if that is still wanted."""
_FINAL = frozenset({"blocked", "redirects", "protocol", "not_media", "http_404", "http_416", "http_4xx"})
"""Reasons that another attempt would not change."""


@dataclass(frozen=True)
class VodLimits:
    """Times in seconds."""

    resume: float = 30.0
    """How long a viewer who waits for a byte may wait for a cut download to go on."""
    pace: float = 1.0
    """Pause before the first attempt to go on; doubled before each further one."""


class Got(NamedTuple):
    """An answer of the provider."""

    about: About
    held: ContentRange
    """The bytes of the file that the body holds."""
    is_part: bool
    """A part was asked for and given."""


class Position:
    """The body for one viewer, made by `Vod.open`; ``aclose()`` must follow.

    A download that the provider cuts goes on at the very next byte, or not at all.
    """

    status: int
    """200 or 206."""
    headers: dict[str, str]
    """Header fields of ours, without Content-Length."""
    length: int | None
    """Bytes of this body; ``None`` where unknown."""

    def __init__(
        self,
        line: Line,
        meter: Meter,
        limits: VodLimits,
        on_closed: Callable[[Position], None],
        owner: str | None = None,
    ) -> None:
        self.owner = owner
        """Who the player says it is; ``None`` if that is not known."""
        self.opened = asyncio.Event()
        """Set when the player has its answer, or will have none."""
        self._line = line
        self._meter = meter
        self._limits = limits
        self._on_closed = on_closed
        self._about: About
        self._next = 0
        """Offset in the file of the byte that the viewer gets next."""
        self._last: int | None = None
        """Offset of the last one, where known."""
        self._held = b""
        """Bytes that came but were not given."""
        self._ending: UpstreamError | None = None
        """How the connection has ended behind those."""
        self._is_lost = False
        """It has ended for good."""
        self._ended = False
        self._failures = 0
        self._since = 0
        """Bytes given since the connection was opened."""
        self._closed = False
        self._successor: asyncio.Event | None = None
        """``opened`` of the place for which this one has hung up."""
        self._busy = asyncio.Lock()
        self._scope: asyncio.Timeout | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it holds a connection to the provider."""
        return self._line.is_open

    @property
    def can_hang_up(self) -> bool:
        """Whether it could go on later at the next byte."""
        return self.opened.is_set() and self._is_checkable and self._about.accepts_ranges

    async def hang_up(self, successor: asyncio.Event) -> None:
        """Let the provider's connection go for a place whose ``opened`` this is, and return a while after it.

        FFmpeg holds on to its old place until it has the new one. One that still reads then is no old place
        but another device, and finds its next byte.
        """
        self._successor = successor
        self._break_off()
        async with self._busy:
            await self._line.aclose()

    async def ask(self, wish: Wish, before: About | None, url: str, *, keep: bool = False) -> Got:
        """Open the connection, or ``keep`` the one that was begun. The first bytes of a file are judged.

        Raises UpstreamError or Closed; ``aclose()`` or another ``ask()`` must follow.
        """
        async with self._working():
            head = await self._line.open(wish.fields, keep=keep)
            held = extent(head, wish)
            about = learnt(head, held, wish, before, url)
            self._next, self._last = held.first or 0, held.last
            await self._look()
            if self._next == 0:
                is_whole = held.size == len(self._held) or self._is_all()
                about = judged(about, head, self._held, url, is_whole=is_whole)
            self._about = about
            return Got(about, held, head.status == 206 and wish.part is not None)

    async def _look(self) -> None:
        """Hold the first bytes; as many as the judgement needs if they are the first of the file."""
        try:
            self._ending = None
            self._held = await self._line.read()
        except UpstreamError as error:
            if error.reason == "eof":
                raise UpstreamError("not_media", "The provider sent no byte of the file") from error
            raise
        until = _now() + JUDGE_WITHIN
        end = ENOUGH if self._last is None else min(ENOUGH, self._last + 1)
        while self._next == 0 and len(self._held) < end and _now() < until:
            try:
                self._held += await self._line.read()
            except UpstreamError as error:
                self._ending = error
                return

    def _is_all(self) -> bool:
        """Whether the connection has ended as a body of unknown length does."""
        return self._last is None and self._ending is not None and self._ending.reason == "eof"

    def begin(self, answer: Reply, last: int | None) -> None:
        """Give the bytes up to offset ``last`` under this head."""
        self.status, self.headers, self.length = answer.status, answer.headers, answer.length
        self._last = last

    async def read(self) -> bytes:
        """The next bytes; ``b""`` at the true end.

        Raises UpstreamError when the download is cut and cannot go on, Closed when it was ended here. The
        body must then not be given a valid end.
        """
        while True:
            async with self._working():
                piece = b"" if self._is_over() else await self._piece()
                self._ended = not piece
                self._next += len(piece)
                if self._is_over():  # the account may be wanted elsewhere while this viewer reads on
                    await self._line.aclose()
                return piece

    def _is_over(self) -> bool:
        return self._ended or (self._last is not None and self._next > self._last)

    async def _piece(self) -> bytes:
        """Bytes from ``_next`` on, over as many connections as it takes; ``b""`` at an unannounced end."""
        due = _now() + self._limits.resume
        while not self._held:
            try:
                self._held = await self._received()
            except UpstreamError as error:
                if error.reason == "eof" and self._last is None:
                    return b""
                if self._is_lost:
                    raise
                await self._resume(error, due)
        piece, self._held = self._held, b""
        self._since += len(piece)
        if self._since >= WELL:
            self._failures = 0
        return piece if self._last is None else piece[: self._last + 1 - self._next]

    async def _received(self) -> bytes:
        await self._return()
        if self._ending is not None:
            raise self._ending.again()
        if not self._line.is_open:
            await self._reopen()
        return await self._line.read()

    async def _return(self) -> None:
        """Wait as ``hang_up()`` says."""
        if self._successor is not None:
            await self._successor.wait()
            await asyncio.sleep(RETURN_AFTER)
            self._successor = None

    async def _resume(self, cut: UpstreamError, due: float) -> None:
        """Open a connection for the rest. Raises the reason of ``cut`` if none is had by ``due``."""
        reason = "short" if cut.reason == "eof" else cut.reason
        self._ending = UpstreamError(reason, cut.detail)
        self._meter.on_error(reason)
        failed = cut
        while True:
            await self._line.aclose()
            delay = max(self._pause(), failed.retry_after or 0.0)
            if failed.reason in _FINAL or not self._is_checkable or _now() + delay > due:
                self._is_lost = True
                raise self._ending.again() from failed
            await asyncio.sleep(delay)
            try:
                await self._reopen()
            except UpstreamError as error:
                failed = error
                self._meter.on_error(failed.reason)
            else:
                log.info("a download goes on at byte %d after: %s", self._next, reason)
                self._ending = None
                return

    def _pause(self) -> float:
        """Seconds before the next attempt."""
        self._failures += 1
        return self._limits.pace * 2.0 ** min(self._failures - 1, DOUBLINGS)

    @property
    def _is_checkable(self) -> bool:
        """Whether it can be told that the rest is of the same file."""
        return self._about.validator is not None or self._about.size is not None

    async def _reopen(self) -> None:
        """Ask for the rest. Raises UpstreamError, ``protocol`` if what comes is not the rest of this file."""
        about = self._about
        wish = Wish(Single(self._next, self._last), about.validator)
        self._since = 0
        head = await self._line.open(wish.fields)
        held = extent(head, wish)
        is_other = about.differs(learnt(head, held, wish, None, ""))
        is_unchecked = about.validator is None and held.size is None
        if head.status != 206 or is_other or is_unchecked:
            raise UpstreamError(
                "protocol", "The provider does not send the rest of the same file", status=head.status
            )
        if self._last is None:
            self._last = held.last

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        """Whatever is done to the connection, one thing at a time, until it is broken off."""
        async with self._busy:
            if self._closed:
                raise _stopped()
            try:
                async with asyncio.timeout(None) as self._scope:
                    yield
            except TimeoutError:
                if self._closed:
                    raise _stopped() from None
            finally:
                self._scope = None

    def _break_off(self) -> None:
        if self._scope is not None:
            self._scope.reschedule(_now())

    async def aclose(self) -> None:
        """Hang up, from any task; a read that waits raises Closed. Idempotent."""
        if not self._closed:
            self._break_off()
        self._closed = True
        await uncut(self._end())

    async def _end(self) -> None:
        async with self._busy:
            await self._line.aclose()
        self._held = b""
        self._on_closed(self)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _stopped() -> Closed:
    return Closed("The stream was stopped", reason="closed")
