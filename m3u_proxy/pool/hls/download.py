"""One body, downloaded once for everybody who asks while it arrives, and held for those who ask later."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from io import BytesIO

from m3u_proxy.errors import Closed, ProxyError, Unavailable, UpstreamError
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls.chunks import Chunks, Cursor
from m3u_proxy.pool.hls.pieces import Pieces
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.source import Head, Source

PREFIX = 4096
"""Bytes kept for judging what a body is."""
UNREAD = 5.0
"""Seconds a download that nobody reads waits for memory."""
SHARES = 8
"""A piece is at most this part of the budget, so that several downloads can go on in a small one."""
JOINED_AT_ONCE = 4 * 2**20
"""Bytes copied in one go when a body is complete: a few milliseconds of the loop."""


class Download:
    """A body on its way into memory, and afterwards the body itself.

    Its owner runs `run` as one task. No reader's speed drives the download while there is memory. Every byte
    kept is granted by the budget first; outside of it are only the piece that waits for the grant, what the
    connection has buffered, ``prefix``, and what readers still refer to of a body that was evicted.

    When memory is short, what every attached reader has passed is dropped. From then on the download is
    headless: a window that moves with its slowest reader, which nobody can join and which is not held.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        budget: Budget,
        *,
        largest: int,
        patience: float,
        on_bytes: Callable[[int], None],
    ) -> None:
        """``largest`` in bytes, ``patience`` in seconds from the start of `run` to the last byte;
        ``on_bytes`` is told the size of each piece as it is received."""
        self._open_source = open_source
        self._budget = budget
        self._largest = largest
        self._patience = patience
        self._on_bytes = on_bytes
        self._pieces = Pieces()
        self._cursors: set[Cursor] = set()
        self._granted = 0
        """Bytes to be given back by us."""
        self._body: bytes | None = None
        self._short = False
        """Whether it waits for memory now."""
        self._headless = False
        self._is_joining = False
        self._news = asyncio.Event()
        self.error: ProxyError | None = None
        self.head: Head | None = None
        self.prefix = b""
        """The first bytes received, up to `PREFIX`."""
        self.length: int | None = None
        """As announced, or as counted at the end."""
        self.received = 0
        self.done = False
        """Complete and without an error."""

    @property
    def readers(self) -> int:
        """Iterators that are open."""
        return len(self._cursors)

    @property
    def is_joinable(self) -> bool:
        """Whether a new reader finds the first byte, now or later."""
        if self.done:
            return self._body is not None
        return self.error is None and not self._headless

    @property
    def body(self) -> bytes | None:
        """All of it, once done, while it is held."""
        return self._body

    @property
    def size(self) -> int:
        """See `Held.size`."""
        return len(self._body) if self._body is not None else 0

    def forget(self) -> None:
        """See `Held.forget`; to free the memory too, use `Budget.drop`. Readers go on with what they hold."""
        self._body = None

    async def run(self) -> None:
        """Open, read to the end, close. Afterwards ``done`` or ``error`` is set and no socket is left.

        Only a cancellation is raised; readers then get ``Closed``, provided the task has made its first step:
        cancelled before it, nothing of this runs. ``error`` has the reasons of `HttpSource`,
        ``too_large``, ``not_media`` for an empty body, ``stall`` when patience is over, and ``memory``.
        """
        try:
            source = self._open_source()
            try:
                async with asyncio.timeout(self._patience):
                    await self._receive(source)
                await self._finish()
            finally:
                await uncut(source.aclose())
        except TimeoutError:
            self._fail(UpstreamError("stall", f"The segment was not complete after {self._patience:g} s"))
        except ProxyError as error:
            self._fail(error)
        finally:
            if not self.done and self.error is None:
                self._fail(Closed("The download was stopped", reason="closed"))

    async def begun(self) -> Head:
        """Wait for the head and a first byte; raises the error of a download that failed."""
        while self.error is None and not self.received:
            await self._news.wait()
        if self.error is not None:
            raise self.error.again()
        assert self.head is not None
        return self.head

    def chunks(self, first: int = 0, last: int | None = None) -> Chunks:
        """The bytes from ``first`` to ``last``, that one included, as they arrive; fewer of a shorter body.

        The reader is attached by this call, and holds its place until the iterator is closed: use
        `contextlib.aclosing`. Iterating raises the error of a download that fails on the way.
        """
        return Chunks(self, self._attach(first, sys.maxsize if last is None else last))

    async def whole(self) -> bytes:
        """The whole body, when it is complete; raises the error of a download that failed."""
        cursor = self._attach(0, sys.maxsize)
        try:
            while cursor.body is None:
                self._check(cursor)
                await self._news.wait()
            return cursor.body
        finally:
            self.detach(cursor)

    def _attach(self, first: int, last: int) -> Cursor:
        cursor = Cursor(first, last, self._body)
        self._cursors.add(cursor)
        self._budget.touch(self)
        return cursor

    async def next_piece(self, cursor: Cursor) -> bytes | memoryview | None:
        """See `Shared.next_piece`."""
        cursor.position += cursor.lent
        cursor.lent = 0
        self._trim()
        while True:
            self._check(cursor)
            piece = self._available(cursor)
            if piece:
                cursor.lent = len(piece)
                return piece
            if self.done or cursor.position > cursor.last:
                return None
            await self._news.wait()

    def detach(self, cursor: Cursor) -> None:
        """See `Shared.detach`."""
        self._cursors.discard(cursor)
        self._trim()

    def _check(self, cursor: Cursor) -> None:
        """Raise what keeps this reader from going on, if anything does."""
        if cursor.body is not None or cursor.position > cursor.last:
            return
        if self.error is not None:
            raise self.error.again()
        if cursor.position < self._pieces.start and not self._is_joining:
            raise Unavailable("The segment is no longer in memory", reason="memory")

    def _available(self, cursor: Cursor) -> bytes | memoryview:
        """What is here for this reader, without waiting and without copying."""
        if cursor.body is not None:
            return cursor.cut(cursor.body, 0)
        if not self._pieces.start <= cursor.position < self._pieces.end:
            return b""
        return cursor.cut(*self._pieces.at(cursor.position))

    async def _receive(self, source: Source) -> None:
        head = await source.open()
        self.length = _announced(head.headers)
        self._check_size(self.length or 0)
        self.head = head
        while data := await _read(source):
            self._on_bytes(len(data))
            self._check_size(self.received + len(data))
            if len(self.prefix) < PREFIX:
                self.prefix += data[: PREFIX - len(self.prefix)]
            step = max(1, self._budget.limit // SHARES)
            for at in range(0, len(data), step):
                await self._store(data[at : at + step])
        if not self.received:
            raise UpstreamError("not_media", "The segment is empty")
        if self.length is not None and self.received < self.length:
            raise UpstreamError("short", "The body ended before its announced end")

    def _check_size(self, size: int) -> None:
        if size > self._largest:
            raise UpstreamError("too_large", f"The segment is larger than {self._largest} bytes")

    async def _store(self, data: bytes) -> None:
        if self._headless and not self._cursors:
            raise _no_memory()
        if not self._budget.grant(len(data)):
            await self._room(len(data))
        self._granted += len(data)
        self._pieces.append(data)
        self.received += len(data)
        self._tell()

    async def _room(self, size: int) -> None:
        """Wait for ``size`` bytes of memory. Raises Unavailable where nobody waits for them."""
        self._short = True
        try:
            while True:
                self._trim()
                if size > self._budget.limit:
                    raise _no_memory()
                try:
                    async with asyncio.timeout(UNREAD):
                        await self._budget.granted(size)
                    return
                except TimeoutError:
                    if not self._cursors:
                        raise _no_memory() from None
        finally:
            self._short = False

    def _trim(self) -> None:
        """While memory is or was short: drop what every reader has passed."""
        if not self._headless and not (self._short and self._cursors):
            return
        low = min((cursor.position for cursor in self._cursors), default=self._pieces.end)
        freed = self._pieces.drop_before(low)
        if freed:
            self._headless = True
            self._granted -= freed
            self._budget.give_back(freed)

    async def _finish(self) -> None:
        """Everything is here: readers go on with the body, those of a headless download with the pieces."""
        if self._headless:
            self._trim()
        else:
            self._body = await self._joined()
            self._granted = 0
            for cursor in self._cursors:
                cursor.body = self._body
            self._budget.keep(self)
        self.done = True
        self.length = self.received
        self._tell()

    async def _joined(self) -> bytes:
        """The pieces as one object. They go as it grows, so that no second body is ever in memory; readers
        of what is gone wait for the whole."""
        self._is_joining, whole = True, BytesIO()
        while True:
            if not self._pieces.move(whole, JOINED_AT_ONCE):
                self._is_joining = False
                return whole.getvalue()
            await asyncio.sleep(0)

    def _fail(self, error: ProxyError) -> None:
        self.error = error.again()
        self._pieces.drop_before(self._pieces.end)
        granted, self._granted = self._granted, 0
        self._budget.give_back(granted)
        self._tell()

    def _tell(self) -> None:
        """Wake all readers."""
        self._news.set()
        self._news = asyncio.Event()


async def _read(source: Source) -> bytes:
    """The next bytes; ``b""`` at an orderly end."""
    try:
        return await source.read()
    except UpstreamError as error:
        if error.reason == "eof":
            return b""
        raise


def _announced(headers: Mapping[str, str]) -> int | None:
    """Content-Length, where it says how much comes (RFC 9112 §6.3) and how much that is once decoded."""
    value = headers.get("Content-Length", "")
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if "Transfer-Encoding" in headers or encoding != "identity":
        return None
    return int(value) if value.isascii() and value.isdecimal() else None


def _no_memory() -> Unavailable:
    return Unavailable("No memory is free for this segment", reason="memory")
