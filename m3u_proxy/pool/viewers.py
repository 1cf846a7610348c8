"""Who is watching what. Pure: it is told the time and does no I/O.

A player of an endless body is here for as long as its socket is open. A player of HLS has no such socket: it
is here until it has asked for nothing for a while.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from secrets import token_hex

from m3u_proxy.model import Client


@dataclass(eq=False)
class Viewer:
    """One consumer of one stream. The REST interface calls it *client*."""

    client: Client
    release: Callable[[], None]
    """Gives back its place at the running thing."""
    seen_at: float
    """Monotonic time of its last request or byte."""
    last_access: datetime
    is_hls: bool
    busy: int = 0
    """Segments on their way to it now; it is not silent meanwhile."""
    segments: int = 0
    base_bytes: int = 0
    live_bytes: Callable[[], int] = field(default=lambda: 0)
    """Bytes its open response has taken so far; added to ``base_bytes``."""
    ended: str | None = None
    """Why it was cut, if it was."""
    name: str = ""
    """Who the player says it is; devices that say the same differ in the id of ``client`` only."""
    answered_at: float | None = None
    """Monotonic time at which its latest response had a head."""
    _cuts: list[Callable[[str], None]] = field(default_factory=list)

    @property
    def bytes_served(self) -> int:
        """Bytes handed to this viewer so far."""
        return self.base_bytes + self.live_bytes()

    def __post_init__(self) -> None:
        self.name = self.name or self.client.id

    def take_over(self, before: Viewer) -> None:
        """Go on as ``before``, the same player at the place that it has left."""
        self.client = before.client
        self.base_bytes += before.bytes_served
        self.segments += before.segments

    def end(self, reason: str) -> None:
        """Cut its open responses, and every one it opens from now on."""
        self.ended = reason
        for cut in list(self._cuts):
            cut(reason)

    @contextmanager
    def cut_by(self, cut: Callable[[str], None]) -> Iterator[None]:
        """While a response is open; ``cut`` is called with the reason when this viewer is, or was, ended."""
        self._cuts.append(cut)
        if self.ended is not None:
            cut(self.ended)
        try:
            yield
        finally:
            self._cuts.remove(cut)


class ViewerTable:
    """Connected viewers, by stream."""

    def __init__(self) -> None:
        self._streams: dict[str, dict[str, Viewer]] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[Viewer]:
        for viewers in self._streams.values():
            yield from viewers.values()

    def of(self, stream_id: str) -> list[Viewer]:
        """Viewers of one stream."""
        return list(self._streams.get(stream_id, {}).values())

    def count(self, stream_id: str) -> int:
        """How many watch one stream."""
        return len(self._streams.get(stream_id, {}))

    def get(self, stream_id: str, client_id: str) -> Viewer | None:
        """The viewer of that id, if it is connected."""
        return self._streams.get(stream_id, {}).get(client_id)

    def named(self, stream_id: str, name: str) -> Viewer | None:
        """The first one that goes by this name."""
        here = self._streams.get(stream_id, {}).values()
        return next((viewer for viewer in here if viewer.name == name), None)

    def free_id(self, stream_id: str, client_id: str) -> str:
        """``client_id``, or with a suffix when a connected viewer has it: nobody ends somebody else."""
        taken = self._streams.get(stream_id, {})
        while client_id in taken:
            client_id = f"{client_id[:119]}_{token_hex(4)}"
        return client_id

    def add(self, viewer: Viewer) -> None:
        """Add a viewer whose id is free."""
        viewers = self._streams.setdefault(viewer.client.stream_id, {})
        assert viewer.client.id not in viewers
        viewers[viewer.client.id] = viewer
        self._total += 1

    def remove(self, viewer: Viewer) -> bool:
        """Take a viewer out; whether it was in. Idempotent."""
        viewers = self._streams.get(viewer.client.stream_id, {})
        if viewers.get(viewer.client.id) is not viewer:
            return False
        del viewers[viewer.client.id]
        if not viewers:
            del self._streams[viewer.client.stream_id]
        self._total -= 1
        return True

    def silent(self, now: float, least: float, limit: Callable[[Viewer], float]) -> list[Viewer]:
        """HLS viewers silent for longer than ``limit`` seconds, which is never less than ``least``."""
        quiet = (one for one in self if one.is_hls and not one.busy and now - one.seen_at > least)
        return [one for one in quiet if now - one.seen_at > limit(one)]
