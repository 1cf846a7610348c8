"""Connections that a provider allows an account: who holds one, who waits for one.

A slot is taken before a socket is opened and given back after it was closed, so that a provider never sees
more sockets than are counted here.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from m3u_proxy.errors import Closed, Unavailable
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.pacing import Account, account_of
from m3u_proxy.upstream.source import Head, Source

LONGEST_WAIT = 10.0
"""Seconds in the queue."""
LASTING_WAIT = 1.5
"""Seconds that are waited where only connections are held which do not end by themselves."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Connections of one account: the host, how many are in use, and how many it allows; ``None`` is any."""

    host: str = ""
    held: int = 0
    limit: int | None = None


class Accounts:
    """All slots of the program. ``limits`` are the connections per account, by ``host`` or ``host:port``.

    An account is a host and the credentials in the URL. Where the URLs of segments name no credentials, take
    their slots for the URL of their playlist: it is the same account that pays.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.on_need: Callable[[str], None] = lambda account: None
        """Told the account when somebody begins to wait for a slot: what nobody watches is to be given up.
        It may release slots itself."""
        self._limits = {host.lower(): limit for host, limit in limits.items()}
        self._books: WeakValueDictionary[str, _Book] = WeakValueDictionary()

    def __repr__(self) -> str:
        return f"<Accounts {dict(self.held())}>"

    def account(self, url: str) -> Account:
        """The account that ``url`` belongs to: a key that shows no credentials when printed."""
        whole = account_of(url)
        return whole if whole.label in self._limits else account_of(url, with_port=False)

    def allowance(self, url: str) -> Allowance:
        """What the account of ``url`` may have and has."""
        account = self.account(url)
        book = self._books.get(account)
        return Allowance(account.label, book.held if book else 0, self._limit(account))

    def _limit(self, account: Account) -> int | None:
        return self._limits.get(account.label) or self._limits.get(account.label.strip("[]"))

    def slot(self, url: str, *, lasting: bool) -> Slot:
        """A slot to be acquired. ``lasting`` is a live stream or a file; all else ends by itself soon."""
        account = self.account(url)
        book = self._books.get(account)
        if book is None:
            book = self._books[account] = _Book(account, self._limit(account))
        return Slot(book, lambda: self.on_need(account), is_lasting=lasting)

    def is_wanted(self, account: str) -> bool:
        """Whether somebody waits for a slot: then what is no longer watched is given up without grace."""
        book = self._books.get(account)
        return book is not None and bool(book.queue)

    def held(self) -> Mapping[str, int]:
        """Slots in use, by host; the accounts of one host are added up."""
        held: Counter[str] = Counter()
        for book in self._books.values():
            held[book.account.label] += book.held
        return +held


@dataclass(eq=False)
class _Waiter:
    is_lasting: bool
    granted: asyncio.Future[bool]
    """``False``: it has left the queue."""


@dataclass(eq=False)
class _Book:
    """The slots of one account, and the queue for them: first come, first served."""

    account: Account
    limit: int | None
    lasting: int = 0
    short: int = 0
    queue: deque[_Waiter] = field(default_factory=deque)

    @property
    def held(self) -> int:
        return self.lasting + self.short

    @property
    def is_full(self) -> bool:
        return self.limit is not None and self.held >= self.limit

    @property
    def is_hopeless(self) -> bool:
        """Whether no connection will end by itself."""
        return self.lasting == self.limit

    def join(self, *, is_lasting: bool) -> _Waiter:
        waiter = _Waiter(is_lasting, asyncio.get_running_loop().create_future())
        self.queue.append(waiter)
        self._serve()
        return waiter

    def leave(self, waiter: _Waiter) -> None:
        """Stop waiting; what was handed over in the meantime goes to the next."""
        if not waiter.granted.done():
            self.queue.remove(waiter)
            waiter.granted.set_result(False)
        elif waiter.granted.result():
            self.give_back(is_lasting=waiter.is_lasting)

    def give_back(self, *, is_lasting: bool) -> None:
        self._count(-1, is_lasting=is_lasting)
        self._serve()

    def _serve(self) -> None:
        """Hand free slots to those who wait: they hold them from now on, awake or not."""
        while self.queue and not self.is_full:
            waiter = self.queue.popleft()
            self._count(+1, is_lasting=waiter.is_lasting)
            waiter.granted.set_result(True)

    def _count(self, change: int, *, is_lasting: bool) -> None:
        if is_lasting:
            self.lasting += change
        else:
            self.short += change
        assert self.lasting >= 0
        assert self.short >= 0
        assert self.limit is None or self.held <= self.limit


class Slot:
    """One connection of an account, made by ``Accounts.slot``. After its release it may be acquired again."""

    def __init__(self, book: _Book, need: Callable[[], None], *, is_lasting: bool) -> None:
        self.is_held = False
        self._book = book
        self._need = need
        self._is_lasting = is_lasting
        self._waiter: _Waiter | None = None

    def __repr__(self) -> str:
        return f"<Slot {self._book.account.label} held={self.is_held}>"

    async def acquire(self) -> None:
        """Wait for it; cancelled, nothing is held.

        Raises Unavailable (``account_limit``) when the wait is over, Closed if it is released meanwhile. The
        wait is short where all is held by what does not end by itself.
        """
        assert not self.is_held
        assert self._waiter is None
        waiter = self._waiter = self._book.join(is_lasting=self._is_lasting)
        try:
            if not waiter.granted.done():
                self._need()
            await self._granted(waiter)
        except BaseException:
            self._leave(waiter)
            raise
        if self._waiter is not waiter:
            raise _unwanted()
        self._waiter = None
        self.is_held = True

    def _leave(self, waiter: _Waiter | None) -> None:
        if waiter is not None and self._waiter is waiter:
            self._waiter = None
            self._book.leave(waiter)

    async def _granted(self, waiter: _Waiter) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONGEST_WAIT
        while not waiter.granted.done():
            left = deadline - loop.time()
            if left <= 0:
                raise _refusal(self._book)
            await asyncio.wait([waiter.granted], timeout=min(left, LASTING_WAIT))
            if not waiter.granted.done() and self._is_lasting and self._book.is_hopeless:
                raise _refusal(self._book)

    def release(self) -> None:
        """Give it back, or stop waiting for it. Idempotent."""
        if self.is_held:
            self.is_held = False
            self._book.give_back(is_lasting=self._is_lasting)
        else:
            self._leave(self._waiter)


class LeasedSource:
    """A source that holds a slot from before it is opened until after it was closed."""

    def __init__(self, source: Source, slot: Slot) -> None:
        self._source = source
        self._slot = slot
        self._closing = asyncio.Lock()
        self._is_closed = False

    async def open(self) -> Head:
        """See `Source.open`; raises Unavailable as `Slot.acquire` does, and Closed after ``aclose()``."""
        if self._is_closed:
            raise _unwanted()
        await self._slot.acquire()
        return await self._source.open()

    async def read(self) -> bytes:
        """See `Source.read`."""
        return await self._source.read()

    async def aclose(self) -> None:
        """Idempotent. The socket is closed and the slot free when this returns."""
        self._is_closed = True
        await uncut(self._close())

    async def _close(self) -> None:
        async with self._closing:
            try:
                await self._source.aclose()
            finally:
                self._slot.release()


def _unwanted() -> Closed:
    return Closed("The connection is no longer wanted", reason="closed")


def _refusal(book: _Book) -> Unavailable:
    connections = "1 connection" if book.limit == 1 else f"{book.limit} connections"
    return Unavailable(
        f"The provider allows this account {connections} at a time, and no more can be opened now",
        reason="account_limit",
    )
