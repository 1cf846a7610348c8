"""Which streams exist, and until when. Pure: it is told the time.

A definition is *listed* while it is watched and for a while after; it then leaves the lists but can still be
opened for as long as ``retention`` says, so that a player after a long pause simply goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from m3u_proxy.errors import NotFound, Unavailable
from m3u_proxy.model import Stream

NEVER_OPENED = 45.0
"""Least seconds that a stream which nobody opened yet stays listed."""


@dataclass(eq=False)
class Record:
    """A definition and what is remembered about it."""

    stream: Stream
    idle_since: float | None
    """Monotonic time since which nobody watches; ``None`` while somebody does."""
    last_access: datetime
    defined_at: float
    """Monotonic time at which it was made."""
    lasting: bool = True
    """Whether it is to be there again after a restart."""
    renewal: Stream | None = None
    """A newer definition that waits until nobody watches."""
    opened: bool = False
    listed: bool = True
    running: bool = True
    """Whether ``stream_started`` was told and ``stream_stopped`` not yet."""
    failover_at: datetime | None = None
    """When another source took over for the last time."""
    failed: str | None = None
    """Why its run has failed, until somebody comes again."""
    bytes_served: int = 0
    """By viewers that have left."""
    segments_served: int = 0
    errors: int = 0


class Catalog:
    """Definitions by id, at most ``limit`` of them (0: any number); durations in seconds."""

    def __init__(self, *, limit: int, idle: float, retention: float) -> None:
        self._records: dict[str, Record] = {}
        self._limit = limit
        self._idle = idle
        self._retention = retention
        self.on_put: Callable[[Record], None] = lambda _: None
        """Told of what was added or renewed."""
        self.on_remove: Callable[[str], None] = lambda _: None
        """Told the id of what was forgotten for good."""
        self.on_missing: Callable[[str], None] = lambda _: None
        """Told an id that is not known, so that somebody who knows it can ``lend`` the definition."""

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    def listed(self) -> list[Record]:
        """Records that lists and counts show, oldest first."""
        return [record for record in self._records.values() if record.listed]

    def find(self, stream_id: str) -> Record:
        """The record of that id, listed or not, or one that is lent now; raises ``NotFound``."""
        record = self._records.get(stream_id)
        if record is None:
            self.on_missing(stream_id)
            record = self._records.get(stream_id)
        if record is None:
            raise NotFound("Stream not found")
        return record

    def get(self, stream_id: str) -> Record | None:
        """The record of that id, if there is one."""
        return self._records.get(stream_id)

    def put(self, stream: Stream, now: float, *, watched: bool, lasting: bool = True) -> tuple[Record, bool]:
        """Add a definition or renew one nobody watches; the record, and whether a run begins with it.

        While it is watched the run goes on; the metadata stays, and the rest waits in ``renewal``.
        """
        known = self._records.get(stream.id)
        if known is not None and known.stream.permanent:
            stream = replace(stream, permanent=True)  # until it is deleted
        if known is not None and watched:
            known.renewal = replace(stream, metadata=known.stream.metadata)
            self.on_put(known)
            return known, False
        if known is None:
            self._make_room()
        record = Record(stream, now, stream.created_at, now, lasting)
        if known is not None:
            record.bytes_served = known.bytes_served
            record.segments_served = known.segments_served
            record.running = known.running
            del self._records[stream.id]
        self._records[stream.id] = record
        self.on_put(record)
        return record, known is None or not known.running

    def restore(self, stream: Stream, since: float, idle: float) -> bool:
        """Take up a definition of before the restart, idle for so long; false if it is not wanted any more.

        It can be opened, and is listed only if it is permanent: nothing of it runs, and nobody is told.
        """
        if idle > self._retention and not stream.permanent:
            return False
        if self._limit and len(self._records) >= self._limit:
            return False
        record = Record(stream, since, stream.created_at, since)
        record.opened, record.listed, record.running = True, stream.permanent, False
        self._records[stream.id] = record
        return True

    def lend(self, stream: Stream, now: float) -> None:
        """Take up a definition that somebody else keeps; listed once it is watched, and told then.

        Raises ``Unavailable`` where there is no room.
        """
        self._make_room()
        record = Record(stream, now, stream.created_at, now, lasting=False)
        record.opened, record.listed, record.running = True, False, False
        self._records[stream.id] = record

    def _make_room(self) -> None:
        if not self._limit or len(self._records) < self._limit:
            return
        for record in self._records.values():
            if not record.listed:
                self.remove(record.stream.id)
                return
        raise Unavailable(f"Limit of {self._limit} streams reached (MAX_STREAMS)", reason="max_streams")

    def remove(self, stream_id: str) -> None:
        """Forget a definition for good. Idempotent."""
        if self._records.pop(stream_id, None) is not None:
            self.on_remove(stream_id)

    def patience(self, record: Record) -> float:
        """Seconds for which a stream that nobody watches stays listed."""
        return self._idle if record.opened else max(self._idle, NEVER_OPENED)

    def expire(self, now: float) -> list[Record]:
        """Records that leave the lists now; those past their retention are forgotten."""
        leaving = []
        for record in list(self._records.values()):
            if record.idle_since is None or record.stream.permanent:
                continue
            idle = now - record.idle_since
            if record.listed and idle > self.patience(record):
                record.listed = False
                leaving.append(record)
            if not record.listed and idle > self._retention:
                self.remove(record.stream.id)
        return leaving
