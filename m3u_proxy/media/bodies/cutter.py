"""What the cutters of all containers have in common. Pure."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from typing import ClassVar, Final, NamedTuple

from m3u_proxy.media.mpegts import Batch, NotMedia, Point

HEAD_LIMIT: Final = 1 << 20
"""Bytes of a head: every joiner is sent them, and every point refers to them."""
UNIT_LIMIT: Final = 32 << 20
"""Bytes of one unit: a fragment of ten seconds at 25 Mbit/s."""
AUDIO_STEP: Final = 16
"""Frames between two points of audio, where any frame will do: about 0.4 s."""


class Unit(NamedTuple):
    """The least that may be sent or left out: a fragment, a cluster, a frame, a tag, a page, a packet."""

    data: bytes
    is_point: bool = False
    """Decoding can start with it, behind the head."""


NOTHING: Final = Unit(b"")
"""Something was taken that no viewer needs, or that belongs to the head."""


class Cutter(ABC):
    """Cuts one body into units. Feed it every piece in order; a new body needs a new cutter.

    ``head`` is what every joiner gets first; it is complete when the first point comes. What comes out
    depends on the bytes alone, never on how they were cut into pieces.
    """

    name: ClassVar[str]
    goes_on: ClassVar[bool] = False
    """Whether players take the body of another writer as the continuation of this one."""

    def __init__(self) -> None:
        self.head = b""
        self._held = bytearray()

    def feed(self, piece: bytes) -> Batch:
        """The units that are complete now, and the points among them.

        Raises ``NotMedia`` for bytes that are not of this container, or beyond the limits.
        """
        self._held += piece
        parts: list[bytes] = []
        points: list[Point] = []
        size = 0
        try:
            while (unit := self._next()) is not None:
                if unit.is_point:
                    points.append(Point(size, self.head))
                parts.append(unit.data)
                size += len(unit.data)
        except (IndexError, struct.error):
            raise NotMedia("a damaged header") from None
        return Batch(b"".join(parts), tuple(points))

    @abstractmethod
    def _next(self) -> Unit | None:
        """The next unit, or ``None`` while it is not complete. Raises ``NotMedia``."""

    def _take(self, size: int) -> bytes | None:
        """The next bytes, once they are all there; raises ``NotMedia`` for more than a unit may have."""
        if size > UNIT_LIMIT:
            raise NotMedia(f"a unit of {size} bytes")
        if len(self._held) < size:
            return None
        data = bytes(self._held[:size])
        del self._held[:size]
        return data

    def _add_to_head(self, data: bytes) -> Unit:
        self.head += data
        if len(self.head) > HEAD_LIMIT:
            raise NotMedia(f"a head of more than {HEAD_LIMIT} bytes")
        return NOTHING
