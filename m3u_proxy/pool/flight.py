"""One call per key: whoever asks while a call is under way gets its result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from m3u_proxy.errors import ProxyError

T = TypeVar("T")


class Flights(Generic[T]):
    """Calls under way, by key. A caller that is cancelled does not cancel the call for the others."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def fly(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """Result of ``call``, made once for everybody who asks for ``key`` meanwhile."""
        task = self._flights.get(key)
        if task is None:
            task = asyncio.ensure_future(self._call(key, call))
            self._flights[key] = task
        try:
            return await asyncio.shield(task)
        except ProxyError as error:
            raise error.again() from None

    async def _call(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await call()
        finally:
            del self._flights[key]

    async def aclose(self, *, cancel: bool = False) -> None:
        """Wait for the calls under way, which are cancelled if ``cancel``."""
        flights = list(self._flights.values())
        if cancel:
            await asyncio.sleep(0)  # a task cancelled before its first step would skip its own clean-up
            for task in flights:
                task.cancel()
        if flights:
            await asyncio.wait(flights)
