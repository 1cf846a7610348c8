"""The way in of a relay: what it asks of one, and the one for bodies that are no transport stream. Pure."""

from __future__ import annotations

from typing import Protocol

from m3u_proxy.media.bodies import cutter_of
from m3u_proxy.media.mpegts import Batch, Point, Programme

KEYFRAME_PATIENCE = 3.0
"""Seconds a new body may take from its first unit to a point, before it is played without one."""


class WayIn(Protocol):
    """From the bytes of one connection after another to chunks that viewers can follow."""

    @property
    def name(self) -> str:
        """Of the container, as people call it."""

    @property
    def filler(self) -> bytes:
        """What may be sent at any time and says nothing; empty where there is no such thing."""

    @property
    def goes_on(self) -> bool:
        """Whether a body may go on with what the next connection gives."""

    @property
    def has_counters(self) -> bool:
        """Whether jumps must be flagged, and the head may come again: a transport stream."""

    @property
    def programme(self) -> Programme | None:
        """What the tables of a transport stream say; ``None`` until they have come."""

    def connect(self, now: float, source: str) -> None:
        """A new connection follows, to that source; ``now`` is monotonic seconds."""

    def feed(self, piece: bytes, now: float) -> Batch:
        """Whole units that may go on to viewers, possibly none. Raises ``NotMedia``."""

    def tables(self) -> tuple[bytes, tuple[int, ...]]:
        """What a joiner gets first, and the PIDs on which its jumps are flagged."""

    def media_info(self) -> dict[str, object]:
        """Container and codecs, as far as they are known."""


class BodyIntake:
    """For a container with a head that every joiner gets. Times are monotonic seconds."""

    filler = b""
    has_counters = False
    programme = None

    def __init__(self, container: str) -> None:
        self._container = container
        self._make = cutter_of(container)
        self._cutter = self._make()
        self.name = self._make.name
        self.goes_on = self._make.goes_on
        self._is_open = False
        self._deadline: float | None = None

    def connect(self, now: float, source: str = "") -> None:
        """See `WayIn.connect`."""
        self._cutter = self._make()
        self._is_open = False
        self._deadline = None

    def feed(self, piece: bytes, now: float) -> Batch:
        """See `WayIn.feed`; what comes before the first point is dropped."""
        batch = self._cutter.feed(piece)
        return batch if self._is_open or not batch.data else self._first(batch, now)

    def _first(self, batch: Batch, now: float) -> Batch:
        """The head in front of the first point, or of what there is when none comes for too long."""
        if self._deadline is None:
            self._deadline = now + KEYFRAME_PATIENCE
        if not batch.points and now < self._deadline:
            return Batch(b"", ())
        self._is_open = True
        head, cut = self._cutter.head, 0
        if batch.points:
            cut, head = batch.points[0]
        shift = len(head) - cut
        points = tuple(Point(point.offset + shift, point.psi) for point in batch.points)
        return Batch(head + batch.data[cut:], points)

    def tables(self) -> tuple[bytes, tuple[int, ...]]:
        """See `WayIn.tables`."""
        return self._cutter.head, ()

    def media_info(self) -> dict[str, object]:
        """See `WayIn.media_info`."""
        return {"container": self._container}
