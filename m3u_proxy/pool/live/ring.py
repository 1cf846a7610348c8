"""The last seconds of a live stream: immutable chunks of whole units, and where a picture can start.

Pure. A chunk is one ``bytes`` object that every viewer is sent as it is; it is never copied per viewer.
Chunks are numbered without gaps, so a viewer's whole position is one integer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from m3u_proxy.media.mpegts import PACKET, Point, counters_at, discontinuity

_LOW_FIVE: Final = bytes(byte & 0x1F for byte in range(256))
"""Second header byte -> the upper bits of the PID."""


class Start(NamedTuple):
    """How a viewer begins, or begins again: send ``preface``, then every chunk from ``number`` on."""

    preface: bytes
    number: int


class _Keyframe(NamedTuple):
    number: int
    point: Point
    counters: Mapping[int, int]
    """PID -> continuity_counter of its last packet before the point."""


class Ring:
    """Bounded by bytes; the oldest chunk leaves when a new one does not fit.

    ``first`` is the number of the oldest chunk held, ``next`` that of the chunk to come. ``has_counters``:
    the chunks are packets of a transport stream, whose tables may come again and whose jumps are flagged.
    """

    def __init__(self, capacity: int, *, has_counters: bool = True) -> None:
        self._capacity = capacity
        self._has_counters = has_counters
        self._chunks: deque[bytes] = deque()
        self._keyframes: deque[_Keyframe] = deque()
        self._counters: dict[int, int] = {}
        self.first = 0
        self.next = 0
        self.size = 0

    def append(self, data: bytes, points: Collection[Point]) -> None:
        """Add one chunk of whole units with the random-access points inside it."""
        passed = 0
        for point in points:
            self._count(data[passed : point.offset])
            self._keyframes.append(_Keyframe(self.next, point, dict(self._counters)))
            passed = point.offset
        self._count(data[passed:])
        self._chunks.append(data)
        self.next += 1
        self.size += len(data)
        while self.size > self._capacity and len(self._chunks) > 1:
            self.size -= len(self._chunks.popleft())
            self.first += 1
        while self._keyframes and self._keyframes[0].number < self.first:
            self._keyframes.popleft()

    def clear(self) -> None:
        """Forget what is held: nobody who joins may see it any more. The numbers go on."""
        self._chunks.clear()
        self._keyframes.clear()
        self.first, self.size = self.next, 0

    def _count(self, data: bytes) -> None:
        if self._has_counters:
            self._counters |= _last_counters(data)

    def __getitem__(self, number: int) -> bytes:
        """The chunk of that number; ``first <= number < next``."""
        return self._chunks[number - self.first]

    def join(self, psi: bytes) -> Start:
        """Where a new viewer starts: PAT and PMT or a head, then the newest random-access point.

        Without a point in the ring it starts at the live edge with ``psi``, the tables in force now.
        """
        psi, rest, number, _ = self._newest(psi)
        return Start(psi + rest, number)

    def resume(self, psi: bytes, pids: Collection[int]) -> Start:
        """Where a viewer that fell out of the ring goes on: as ``join``, with the jump flagged on ``pids``.

        ISO/IEC 13818-1 §2.4.3.5: the discontinuity indicator excuses the break in the continuity counters.
        Other containers go on without another head.
        """
        psi, rest, number, counters = self._newest(psi)
        if not self._has_counters:
            return Start(rest, number)
        before = {pid: counters[pid] for pid in pids if pid in counters} | counters_at(psi, pids)
        return Start(discontinuity(before) + psi + rest, number)

    def _newest(self, psi: bytes) -> tuple[bytes, bytes, int, Mapping[int, int]]:
        if not self._keyframes:
            return psi, b"", self.next, self._counters
        number, point, counters = self._keyframes[-1]
        return point.psi, self[number][point.offset :], number + 1, counters


def _last_counters(data: bytes) -> dict[int, int]:
    """Continuity counter of the last packet of each PID; noted as packets pass, so that jumps are cheap."""
    pids = zip(data[1::PACKET].translate(_LOW_FIVE), data[2::PACKET], strict=False)
    last = dict(zip(pids, data[3::PACKET], strict=False))
    return {high << 8 | low: control & 0x0F for (high, low), control in last.items()}
