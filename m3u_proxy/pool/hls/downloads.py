"""What one HLS source is asked for: each segment, key and map once, for everybody who wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from m3u_proxy.errors import Closed, ProxyError, Unavailable, UpstreamError
from m3u_proxy.media.playlist import Role
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls.download import Download
from m3u_proxy.pool.hls.listed import Listed
from m3u_proxy.pool.hls.misses import Misses
from m3u_proxy.pool.hls.resources import Part, Resource
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Source

SEGMENT = 256 * 2**20
LARGEST = {Role.KEY: 64 * 1024, Role.DATA: 2**20}
"""Bytes of a body; of a segment where the role has no entry."""
PATIENCE = 60.0
KEY_PATIENCE = 10.0
"""Seconds in which a segment and a key have to arrive."""
AT_ONCE = 32
"""Fetches at the same time from one source."""
REFUSED = 2.0
MISSED = 10.0
"""Seconds for which a failed fetch is answered from memory; one that was not there."""
TIDY = 64
"""Bodies that are remembered at least before those that are of no more use are looked for."""


class OpenChild(Protocol):
    """Opens what a playlist named, or a byte range of it."""

    def __call__(self, url: str, named_by: AddressClass, part: Part | None = None) -> Source: ...


@dataclass(slots=True)
class Flight:
    """A download, and what is remembered of it."""

    download: Download
    is_over: bool = False
    refused_until: float = 0.0
    """Monotonic time until which its failure is remembered."""

    @property
    def is_useful(self) -> bool:
        """Whether somebody who comes now can be served by it, if only with its error."""
        download = self.download
        if not self.is_over:
            return download.is_joinable
        return download.body is not None or monotonic() < self.refused_until


class Downloads:
    """Bodies of one source, finished or on their way; ``aclose()`` leaves no task and no socket.

    ``on_end`` is told of each fetch that ended by itself, with the error of one that failed.
    """

    def __init__(
        self,
        open_child: OpenChild,
        budget: Budget,
        tally: Tally,
        *,
        on_bytes: Callable[[int], None],
        on_end: Callable[[Resource, ProxyError | None], None],
    ) -> None:
        self._open_child = open_child
        self._budget = budget
        self._tally = tally
        self._on_bytes = on_bytes
        self._on_end = on_end
        self._flights: dict[tuple[str, Part | None], Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._tidy_at = TIDY
        self._closed = False
        self._missed = False
        """Whether the last segment was not there: then the next one is not asked for twice."""
        self.misses = Misses()

    def __len__(self) -> int:
        """How many are on their way."""
        return len(self._tasks)

    def find(self, resource: Resource, part: Part | None = None) -> Download | None:
        """The download that is there or on its way; starts nothing."""
        flight = self._flights.get((resource.name, part))
        return flight.download if flight is not None and flight.is_useful else None

    def fetch(self, resource: Resource, part: Part | None = None, *, is_ahead: bool = False) -> Download:
        """The one download, started if there is none. Synchronous from look-up to start.

        ``part`` is a byte range that a playlist has named. ``is_ahead``: nobody waits for it. Await
        ``begun()`` of what is returned. Raises Unavailable when too many are on their way, and Closed.
        """
        if resource.role is Role.SEGMENT and not is_ahead:
            self.misses.ask(monotonic())
        download = self.find(resource, part)
        if download is None:
            return self._start(resource, part)
        if download.done:
            self._tally.segment_hits += 1
            self._budget.touch(download)
        return download

    def _start(self, resource: Resource, part: Part | None) -> Download:
        if self._closed:
            raise Closed("The stream was stopped", reason="closed")
        if len(self) >= AT_ONCE:
            raise Unavailable("Too many segments of this source are on their way", reason="busy")
        if len(self._flights) >= self._tidy_at:
            self._tidy()
        download = Download(
            lambda: self._open(resource, part),
            self._budget,
            largest=LARGEST.get(resource.role, SEGMENT),
            patience=KEY_PATIENCE if resource.role is Role.KEY else PATIENCE,
            on_bytes=self._on_bytes,
        )
        flight = self._flights[resource.name, part] = Flight(download)
        live = self._live(flight, resource)
        task = asyncio.get_running_loop().create_task(live, name=f"fetch-{resource.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return download

    def _open(self, resource: Resource, part: Part | None) -> Source:
        def opened() -> Source:
            self._tally.fetches[resource.role] += 1
            return self._open_child(resource.url, resource.named_by, part)

        return Listed(opened, resource.role, is_patient=not self._missed)

    async def _live(self, flight: Flight, resource: Resource) -> None:
        try:
            await flight.download.run()
        finally:  # without a pause after the end, so that nobody fetches anew what has just failed
            flight.is_over = True
            self._note(flight, resource)

    def _note(self, flight: Flight, resource: Resource) -> None:
        error = flight.download.error
        is_missing = isinstance(error, UpstreamError) and error.reason == "http_404"
        if resource.role is Role.SEGMENT:
            self._missed = is_missing
            if not isinstance(error, UpstreamError):
                self.misses.got()
        if isinstance(error, Closed):
            return
        if error is not None:
            pause = MISSED if is_missing else REFUSED
            flight.refused_until = monotonic() + max(error.retry_after or 0, pause)
        self._on_end(resource, error)

    def _tidy(self) -> None:
        """Forget failures that are old, and bodies that had to go."""
        self._flights = {
            key: flight for key, flight in self._flights.items() if flight.is_useful or not flight.is_over
        }
        self._tidy_at = max(TIDY, 2 * len(self._flights))

    def expire(self, is_listed: Callable[[str, Part | None], bool]) -> None:
        """Let go of finished bodies that no playlist names any more and nobody reads."""
        for key, flight in list(self._flights.items()):
            if flight.is_over and not flight.download.readers and not is_listed(*key):
                del self._flights[key]
                self._budget.drop(flight.download)

    async def aclose(self) -> None:
        """End what is on its way and forget what is there; nothing can be fetched afterwards."""
        self._closed = True
        await asyncio.sleep(0)  # a task cancelled before its first step would skip its own clean-up
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for flight in self._flights.values():
            self._budget.drop(flight.download)
        self._flights.clear()
