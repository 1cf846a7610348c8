"""What one HLS source is asked for: each segment, key and map once, for everybody who wants it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from m3u_proxy.errors import Unavailable, UpstreamError
from m3u_proxy.media.playlist import Role
from m3u_proxy.media.sniff import TEXT, sniff
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.download import Download
from m3u_proxy.pool.resources import Resource
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Head, Source

log = logging.getLogger(__name__)

SEGMENT = 256 * 2**20
LARGEST = {Role.KEY: 64 * 1024, Role.DATA: 2**20}
"""Bytes of a body; of a segment where the role has no entry."""
KEY_SIZE = 16
"""Bytes of an AES-128 key (RFC 8216 §4.3.2.4)."""
PATIENCE = 60.0
KEY_PATIENCE = 10.0
"""Seconds in which a segment and a key have to arrive."""
AT_ONCE = 32
"""Fetches at the same time from one source."""
RETRY = 0.5
"""Seconds before a segment that is not there is asked for once more: it may only be late."""
REFUSED = 2.0
MISSED = 10.0
"""Seconds for which a failed fetch is answered from memory; one that was not there."""

Part = tuple[int, int]
"""First and last byte of a range, both included."""


class OpenChild(Protocol):
    """Opens what a playlist named, or a byte range of it."""

    def __call__(self, url: str, named_by: AddressClass, part: Part | None = None) -> Source: ...


@dataclass(slots=True)
class Flight:
    """A download and the task that is its life."""

    download: Download
    task: asyncio.Task[None]
    refused_until: float = 0.0
    """Monotonic time until which its failure is remembered."""

    @property
    def is_useful(self) -> bool:
        """Whether somebody who comes now can be served by it, if only with its error."""
        download = self.download
        if not self.task.done():
            return download.is_joinable
        return download.body is not None or monotonic() < self.refused_until


class Downloads:
    """Bodies of one source, finished or on their way; ``aclose()`` leaves no task and no socket."""

    def __init__(
        self, open_child: OpenChild, budget: Budget, tally: Tally, *, on_bytes: Callable[[int], None]
    ) -> None:
        self.connections = 0
        """Open to the provider now."""
        self._open_child = open_child
        self._budget = budget
        self._tally = tally
        self._on_bytes = on_bytes
        self._flights: dict[tuple[str, Part | None], Flight] = {}
        self._missed = False
        """Whether the last segment was not there: then the next one is not asked for twice."""

    def __len__(self) -> int:
        """How many are on their way."""
        return sum(not flight.task.done() for flight in self._flights.values())

    def find(self, resource: Resource, part: Part | None = None) -> Download | None:
        """The download that is there or on its way; starts nothing."""
        flight = self._flights.get((resource.name, part))
        return flight.download if flight is not None and flight.is_useful else None

    def fetch(self, resource: Resource, part: Part | None = None) -> Download:
        """The one download, started if there is none. Synchronous from look-up to start.

        ``part`` is a byte range that a playlist has named. Await ``begun()`` of what is returned.
        """
        download = self.find(resource, part)
        if download is None:
            return self._start(resource, part)
        if download.done:
            self._tally.segment_hits += 1
            self._budget.touch(download)
        return download

    def _start(self, resource: Resource, part: Part | None) -> Download:
        if len(self) >= AT_ONCE:
            raise Unavailable("Too many segments of this source are on their way", reason="busy")
        download = Download(
            lambda: self._open(resource, part),
            self._budget,
            largest=LARGEST.get(resource.role, SEGMENT),
            patience=KEY_PATIENCE if resource.role is Role.KEY else PATIENCE,
            on_bytes=self._on_bytes,
        )
        task = asyncio.get_running_loop().create_task(download.run(), name=f"fetch-{resource.name}")
        flight = Flight(download, task)
        task.add_done_callback(lambda _: self._ended(flight, resource.role))
        self._flights[resource.name, part] = flight
        return download

    def _open(self, resource: Resource, part: Part | None) -> Source:
        self._tally.fetches[resource.role] += 1
        source = self._open_child(resource.url, resource.named_by, part)
        if resource.role is not Role.SEGMENT or self._missed:
            return source
        return _SecondTry(source, lambda: self._open_child(resource.url, resource.named_by, part))

    def _ended(self, flight: Flight, role: Role) -> None:
        error = flight.download.error
        is_missing = isinstance(error, UpstreamError) and error.reason == "http_404"
        if role is Role.SEGMENT:
            self._missed = is_missing
        if error is None:
            return
        flight.refused_until = monotonic() + max(error.retry_after or 0, MISSED if is_missing else REFUSED)
        self._tally.upstream_errors[error.reason] += 1
        log.warning("%s not read: %s", role, error.detail)

    def expire(self, is_listed: Callable[[str], bool]) -> None:
        """Let go of finished bodies that no playlist names any more."""
        for key, flight in list(self._flights.items()):
            if flight.task.done() and not flight.download.readers and not is_listed(key[0]):
                del self._flights[key]
                self._budget.drop(flight.download)

    async def aclose(self) -> None:
        """End what is on its way and forget what is there."""
        tasks = [flight.task for flight in self._flights.values()]
        await asyncio.sleep(0)  # a task cancelled before its first step would skip its own clean-up
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for flight in self._flights.values():
            self._budget.drop(flight.download)
        self._flights.clear()


async def checked(resource: Resource, download: Download) -> Head:
    """Wait for the first bytes; raises UpstreamError when they cannot be what the playlist promised."""
    head = await download.begun()
    if resource.role is Role.KEY:
        if len(await download.whole()) != KEY_SIZE:
            raise UpstreamError("not_media", "The key is not 16 bytes long")
    elif resource.role is not Role.DATA and sniff(download.prefix) is TEXT:
        raise UpstreamError("not_media", "The source sent a text instead of a segment")
    return head


class _SecondTry:
    """A source that, not found, is asked for once more after a moment."""

    def __init__(self, first: Source, again: Callable[[], Source]) -> None:
        self._source = first
        self._again = again

    async def open(self) -> Head:
        try:
            return await self._source.open()
        except UpstreamError as error:
            if error.reason != "http_404":
                raise
        await self._source.aclose()
        await asyncio.sleep(RETRY)
        self._source = self._again()
        return await self._source.open()

    async def read(self) -> bytes:
        return await self._source.read()

    async def aclose(self) -> None:
        await self._source.aclose()
