"""A source that is fed by hand, a player that reads when told, and waiting without guessing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from m3u_proxy.errors import UpstreamError
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.upstream.source import Head

PATIENCE = 5.0
"""Seconds until a condition that does not come true fails the test."""
TURNS = 30
"""Turns of the loop after which nothing is left to do that needs no time."""


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; fails after ``PATIENCE``."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    while not condition():
        assert loop.time() < deadline, "what was waited for did not happen"
        await asyncio.sleep(0.002)


async def ended(task: asyncio.Task[None]) -> None:
    """Wait for the end of a task; fails after ``PATIENCE``."""
    async with asyncio.timeout(PATIENCE):
        await task


async def turn() -> None:
    """One turn of the loop."""
    await asyncio.sleep(0)


async def settle() -> None:
    """Let everything happen that needs no time."""
    for _ in range(TURNS):
        await turn()


async def paced() -> None:
    """Between two pieces of a source that is a few times faster than real time."""
    await asyncio.sleep(0.05)


class Player:
    """A sink that remembers. While it is ``paused`` it takes no byte out of its queue."""

    def __init__(self) -> None:
        self.paused = False
        self.chunks: list[bytes] = []
        """What was read, in the pieces that were written."""
        self.most = 0
        """Most bytes that were ever waiting."""
        self._waiting: list[bytes] = []

    @property
    def data(self) -> bytes:
        """Everything read."""
        return b"".join(self.chunks)

    def pending(self) -> int:
        return sum(map(len, self._waiting))

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self.most = max(self.most, self.pending())
        if not self.paused:
            self.read()

    def peer(self) -> None:
        return None

    def read(self) -> None:
        """Take everything that waits."""
        self.chunks += self._waiting
        self._waiting.clear()

    def resume(self) -> None:
        """Read again."""
        self.paused = False
        self.read()


class SteppedSource:
    """One attempt. It gives what was put into ``feed`` and ends as ``lose`` says."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._items: asyncio.Queue[bytes | UpstreamError] = asyncio.Queue()
        self.is_open = False

    def feed(self, *pieces: bytes) -> None:
        """The next reads."""
        for piece in pieces:
            self._items.put_nowait(piece)

    def lose(self, reason: str = "eof", **details: int | float) -> None:
        """The read after those fails."""
        status = details.get("status")
        self._items.put_nowait(
            UpstreamError(
                reason,
                f"lost: {reason}",
                status=int(status) if status else None,
                retry_after=details.get("retry_after"),
            )
        )

    async def open(self) -> Head:
        assert not self.is_open
        self.is_open = True
        self._script.opened.append(self)
        self._script.most_open = max(self._script.most_open, self._script.open)
        await self._script.may_open.wait()
        if self._script.refusal is not None:
            raise self._script.refusal.again()
        return Head(200, "video/mp2t", "http://provider.example/")

    async def read(self) -> bytes:
        assert self.is_open
        item = await self._items.get()
        if isinstance(item, UpstreamError):
            raise item
        return item

    async def aclose(self) -> None:
        await self._script.may_close.wait()
        self.is_open = False


class Script:
    """All attempts at one source: pass it as ``open_source``."""

    def __init__(self) -> None:
        self.opened: list[SteppedSource] = []
        self.refusal: UpstreamError | None = None
        """What every attempt to open fails with."""
        self.may_open = asyncio.Event()
        self.may_close = asyncio.Event()
        """Cleared: attempts hang there."""
        self.most_open = 0
        """Most attempts that were ever open at the same time."""
        self.may_open.set()
        self.may_close.set()

    def __call__(self) -> SteppedSource:
        return SteppedSource(self)

    @property
    def open(self) -> int:
        """Attempts that are open now."""
        return sum(source.is_open for source in self.opened)

    @property
    def last(self) -> SteppedSource:
        """The newest attempt."""
        return self.opened[-1]

    async def attempt(self, number: int) -> SteppedSource:
        """The attempt of that number, counted from 1, as soon as it is there."""
        await until(lambda: len(self.opened) >= number)
        return self.opened[number - 1]


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[asyncio.Task[None]]:
    """A relay alive, and ended with the test."""
    task = asyncio.create_task(relay.run())
    try:
        await settle()
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])
