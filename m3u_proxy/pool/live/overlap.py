"""What a provider repeats of the connection before: found, so that nobody has to see it twice. Pure.

Many providers begin each connection with seconds of what they have sent already. Where the same bytes come
again, the stream goes on behind them as if it had never broken. Where they were muxed anew, timestamps tell
what is old. All of this costs nothing but a few references to bytes until a connection follows another one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from m3u_proxy.media.mpegts import PACKET, Batch, Point, Scanner
from m3u_proxy.media.timestamps import MASK, SECOND, decoding_times

LEAST = 8 * PACKET
"""Bytes that must agree before they are taken for the same."""
LONGEST_TAIL = 2**20
REACH = 60 * SECOND
"""Ticks behind or ahead of the newest picture; what is farther away has another time base."""
REPEATED = SECOND // 2
"""Ticks that may come again, so that a picture that was cut off is whole."""
CATCHING_UP = 2.0
"""Seconds of old media for each second of waiting, at least: a slower source is played as it is."""


@dataclass(frozen=True, slots=True)
class OverlapLimits:
    """Bytes and seconds, from the settings."""

    signature: int = 16 * 1024
    """Bytes received last that are looked for."""
    search: int = 8 * 1024 * 1024
    """Bytes looked through for them, and held back at most."""
    wait: float = 0.5
    """Longest time for which bytes that may be new are held back."""


@dataclass(frozen=True, slots=True)
class Same:
    """The stream goes on with ``rest`` exactly where it broke."""

    rest: bytes


@dataclass(frozen=True, slots=True)
class Other:
    """The stream goes on with ``batch``, behind a seam."""

    batch: Batch


class Tail:
    """The last ``size`` bytes of a stream of pieces, ``LONGEST_TAIL`` at most."""

    def __init__(self, size: int) -> None:
        self._limit = min(size, LONGEST_TAIL)
        self._size = 0
        self._pieces: deque[bytes] = deque()

    def push(self, piece: bytes) -> None:
        """The next bytes."""
        self._pieces.append(piece)
        self._size += len(piece)
        while self._pieces and self._size - len(self._pieces[0]) >= self._limit:
            self._size -= len(self._pieces.popleft())

    def clear(self) -> None:
        """What follows has nothing to do with what was."""
        self._pieces.clear()
        self._size = 0

    def read(self) -> bytes:
        """Those bytes, fewer if there were fewer."""
        return b"".join(self._pieces)[-self._limit :]


class Search:
    """Looks for ``sent`` in what comes, in the first ``limit`` bytes of it.

    What comes may also begin in the middle of ``sent``. Bytes that are all the same packet, as null packets
    are, say nothing about the place.
    """

    def __init__(self, sent: bytes, limit: int) -> None:
        self._sent = sent if _is_telling(sent) else b""
        self._limit = limit
        self._seen = b""
        self._passed = 0

    def push(self, piece: bytes) -> bytes | None:
        """What comes behind ``sent``, once that has been found."""
        if not self._sent or self._passed > self._limit:
            self._seen = b""
            return None
        is_beginning = self._passed < len(self._sent)
        seen = self._seen + piece
        self._passed += len(piece)
        at = seen.find(self._sent)
        end = at + len(self._sent) if at >= 0 else self._end_of_rest(seen) if is_beginning else -1
        self._seen = seen[-len(self._sent) + 1 :]
        return seen[end:] if end >= 0 else None

    def _end_of_rest(self, seen: bytes) -> int:
        """Where ``sent`` ends if ``seen`` begins in the middle of it; -1 if it does not, or not yet."""
        if len(seen) < LEAST:
            return -1
        at = self._sent.find(seen[:LEAST])
        while at >= 0:
            rest = self._sent[at:]
            if seen.startswith(rest) and _is_telling(rest):
                return len(rest)
            at = self._sent.find(seen[:LEAST], at + 1)
        return -1


def _is_telling(data: bytes) -> bool:
    return len(data) >= LEAST and data[PACKET:] != data[:-PACKET]


class Overlap:
    """The beginning of a connection that follows another one to the same source.

    ``sent`` are the last bytes of that, ``time`` is the decoding timestamp of its newest picture. Feed it
    until it says how the stream goes on. Old bytes are dropped for as long as they come faster than they
    would be played; what may be new waits for ``limits.wait`` seconds from the first byte on, no longer.
    """

    def __init__(self, sent: bytes, time: int | None, limits: OverlapLimits) -> None:
        self.scanner = Scanner()
        """Follows this connection; of use only where the answer is ``Other``."""
        self._search = Search(sent, limits.search)
        self._time = time
        self._limits = limits
        self._held: list[Batch] = []
        self._size = 0
        self._is_old = False
        """Whether the newest bytes are to be dropped."""
        self._newest: int | None = None
        """The last timestamp that was old."""
        self._mark: tuple[float, int | None] | None = None
        """When progress was looked at, and the newest timestamp then."""

    def feed(self, piece: bytes, now: float) -> Same | Other | None:
        """The next bytes; ``None`` while it cannot be told. Raises ``NotMedia``."""
        if self._mark is None:
            self._mark = now, None
        rest = self._search.push(piece)
        if rest is not None:
            return Same(rest)
        is_new = self._sift(self.scanner.feed(piece))
        if not is_new and self._may_wait(now):
            return None
        return Other(_joined(self._held))

    def _sift(self, batch: Batch) -> bool:
        """Hold what is not too old; whether that goes on behind the end of the connection before."""
        begin = None if self._is_old else 0
        is_new = False
        for at, time in self._times(batch):
            behind = _signed(self._time - time) if self._time is not None else REACH + 1
            if 0 <= behind <= REACH:
                self._newest = time
            if REPEATED < behind <= REACH:
                self._drop()
                begin = None
            elif begin is None:
                begin = at
            is_new = is_new or -REACH <= behind < 0
        self._is_old = begin is None
        if begin is not None:
            self._held.append(_from(batch, begin))
            self._size += len(batch.data) - begin
        return is_new

    def _drop(self) -> None:
        self._held.clear()
        self._size = 0

    def _times(self, batch: Batch) -> Iterable[tuple[int, int]]:
        pid = self.scanner.leading_pid
        return decoding_times(batch.data, pid) if pid >= 0 else ()

    def _may_wait(self, now: float) -> bool:
        """Whether the old bytes will soon be over, or it is too early to tell."""
        assert self._mark is not None
        if self._size > self._limits.search:
            return False
        since, before = self._mark
        if self._newest is not None and before is None:
            self._mark = since, self._newest
        if now - since < self._limits.wait:
            return True
        gained = _signed(self._newest - before) if self._newest is not None and before is not None else 0
        self._mark = now, self._newest
        return gained >= CATCHING_UP * SECOND * (now - since)


def _signed(ticks: int) -> int:
    """A difference of timestamps, which are modulo 2^33."""
    half = MASK // 2 + 1
    return ((ticks + half) & MASK) - half


def _from(batch: Batch, at: int) -> Batch:
    """``batch`` without what comes before ``at``."""
    points = tuple(Point(point.offset - at, point.psi) for point in batch.points if point.offset >= at)
    return Batch(batch.data[at:], points)


def _joined(batches: list[Batch]) -> Batch:
    points: list[Point] = []
    size = 0
    for batch in batches:
        points += [Point(point.offset + size, point.psi) for point in batch.points]
        size += len(batch.data)
    return Batch(b"".join(batch.data for batch in batches), tuple(points))
