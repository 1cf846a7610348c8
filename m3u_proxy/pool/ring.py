"""The last seconds of a live stream: immutable chunks of whole packets, and where a picture can start.

Pure. A chunk is one ``bytes`` object that every viewer is sent as it is; it is never copied per viewer.
Chunks are numbered without gaps, so a viewer's whole position is one integer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from itertools import chain
from typing import NamedTuple

from m3u_proxy.media.mpegts import Point, counters_at, discontinuity


class Start(NamedTuple):
    """How a viewer begins, or begins again: send ``preface``, then every chunk from ``number`` on."""

    preface: bytes
    number: int


class _Keyframe(NamedTuple):
    number: int
    point: Point


class Ring:
    """Bounded by bytes; the oldest chunk leaves when a new one does not fit.

    ``first`` is the number of the oldest chunk held, ``next`` that of the chunk to come.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._chunks: deque[bytes] = deque()
        self._keyframes: deque[_Keyframe] = deque()
        self.first = 0
        self.next = 0
        self.size = 0

    def append(self, data: bytes, points: Collection[Point]) -> None:
        """Add one chunk of whole packets with the random-access points inside it."""
        self._keyframes.extend(_Keyframe(self.next, point) for point in points)
        self._chunks.append(data)
        self.next += 1
        self.size += len(data)
        while self.size > self._capacity and len(self._chunks) > 1:
            self.size -= len(self._chunks.popleft())
            self.first += 1
        while self._keyframes and self._keyframes[0].number < self.first:
            self._keyframes.popleft()

    def __getitem__(self, number: int) -> bytes:
        """The chunk of that number; ``first <= number < next``."""
        return self._chunks[number - self.first]

    def join(self, psi: bytes) -> Start:
        """Where a new viewer starts: PAT and PMT, then the newest random-access point and what follows.

        Without a point in the ring it starts at the live edge with ``psi``, the tables in force now.
        """
        psi, rest, number = self._newest(psi)
        return Start(psi + rest, number)

    def resume(self, psi: bytes, pids: Collection[int]) -> Start:
        """Where a viewer that fell out of the ring goes on: as ``join``, with the jump flagged."""
        psi, rest, number = self._newest(psi)
        following = (self[later] for later in range(number, self.next))
        return Start(seam(psi, pids, chain([rest], following)) + rest, number)

    def _newest(self, psi: bytes) -> tuple[bytes, bytes, int]:
        if not self._keyframes:
            return psi, b"", self.next
        number, point = self._keyframes[-1]
        return point.psi, self[number][point.offset :], number + 1


def seam(psi: bytes, pids: Collection[int], following: Iterable[bytes]) -> bytes:
    """What to send before a jump in the stream: the break flagged on every PID, then the tables.

    ISO/IEC 13818-1 §2.4.3.5: the discontinuity indicator excuses the break in the continuity counters. The
    counters come from the first packet of each PID in ``psi`` and ``following``, which is read only as far
    as needed.
    """
    counters: dict[int, int] = {}
    for data in chain([psi], following):
        missing = [pid for pid in pids if pid not in counters]
        if not missing:
            break
        counters |= counters_at(data, missing)
    return discontinuity(counters) + psi
