"""A running thing, who holds it, and the one task that is its life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from m3u_proxy.errors import ProxyError, Unavailable
from m3u_proxy.model import Kind, RunSnapshot, State, StreamKey

log = logging.getLogger(__name__)


class Thing(Protocol):
    """What a supply, a relay and a writer have in common, as the pool sees it."""

    key: StreamKey

    @property
    def state(self) -> State:
        """Where in its life it is."""

    @property
    def error(self) -> ProxyError | None:
        """Why it has ended, or is about to; ``None`` while it serves."""

    @property
    def kind(self) -> Kind:
        """What it yields."""

    @property
    def is_warm(self) -> bool:
        """Whether a joiner is served at once."""

    async def run(self, after: asyncio.Task[None] | None) -> None:
        """The whole life; begins when ``after`` has ended, ends by cancellation or failure."""

    async def ready(self) -> None:
        """Wait for something to serve; raises the failure."""

    def snapshot(self) -> RunSnapshot:
        """State and counters now."""


class Entry:
    """Counts who holds a running thing. ``idle_since`` is the monotonic time since which nobody does."""

    def __init__(self, thing: Thing, upstream: Entry | None) -> None:
        self.thing = thing
        self.upstream = upstream
        self.leases = 0
        self.idle_since = self.started_at = monotonic()
        self.streams: set[str] = set()
        """Ids of the definitions that have used it."""
        self._task: asyncio.Task[None] | None = None
        self._crash: ProxyError | None = None

    def __repr__(self) -> str:
        return f"<Entry {self.thing!r} leases={self.leases}>"

    @property
    def failure(self) -> ProxyError | None:
        """Why its life ended by itself; ``None`` while it lives, or when it was ended."""
        return self.thing.error if self.thing.state is State.FAILED else self._crash

    def start(self, after: asyncio.Task[None] | None, on_end: Callable[[Entry], None]) -> None:
        """Begin its life and hold what it reads; ``on_end`` is called once it is over, whatever the end."""
        name = f"{self.thing.kind}-{self.thing.key.digest}"
        self._task = asyncio.get_running_loop().create_task(self._live(after), name=name)
        self._task.add_done_callback(lambda _: on_end(self))
        if self.upstream is not None:
            self.upstream.hold()

    async def _live(self, after: asyncio.Task[None] | None) -> None:
        try:
            await self.thing.run(after)
        except Exception:
            log.exception("%r crashed", self.thing)
            self._crash = Unavailable("Internal error", reason="crash")

    def hold(self) -> None:
        """One more holder."""
        self.leases += 1

    def release(self, idle_for: float = 0.0) -> None:
        """One holder less; ``idle_for`` seconds of its grace are used up already if it was the last."""
        self.leases -= 1
        assert self.leases >= 0
        if not self.leases:
            self.idle_since = monotonic() - idle_for

    async def aclose(self) -> None:
        """End it; nothing of it is left afterwards."""
        assert self._task is not None
        await asyncio.sleep(0)  # a task cancelled before its first step would skip its own clean-up
        self._task.cancel()
        await asyncio.wait([self._task])
