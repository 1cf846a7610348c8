"""From the bytes of one connection after another to one stream of chunks a viewer can follow. Pure.

Each connection begins where a picture can start; where it follows an earlier one, the break is flagged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from m3u_proxy.media.mpegts import (
    Batch,
    NotMedia,
    Point,
    Programme,
    Scanner,
    counters_at,
    discontinuity,
    first_of,
    without,
)
from m3u_proxy.media.particulars import Particulars
from m3u_proxy.media.psi import PAT_PID
from m3u_proxy.pool.live.overlap import Overlap, OverlapLimits, Same, Tail

KEYFRAME_PATIENCE = 3.0
"""Seconds a new connection may take to show a random-access point before it is played without one."""
HELD_LIMIT = 8 * 1024 * 1024
"""Bytes held back meanwhile."""
FLAG_PATIENCE = 10.0
"""Seconds after a seam in which the first packet of a PID is still flagged; rare tables come that seldom."""
NULL_PACKETS = b"\x47\x1f\xff\x10".ljust(188, b"\xff")  # ISO/IEC 13818-1 §2.4.3.3: PID 0x1FFF
DVB_PIDS = (0x10, 0x11, 0x12, 0x14)
"""NIT, SDT, EIT and TDT (ETSI EN 300 468 table 1): they may be there although no PMT names them."""

_NOTHING = Batch(b"", ())


class Gate:
    """Holds back a new connection until a picture can start, so that every timeline begins with one.

    What comes before the first random-access point is dropped; behind an earlier connection only its video
    is, so that viewers do not wait for the sound as well. ``video`` gives the PIDs of that, once they are
    known. After ``KEYFRAME_PATIENCE`` seconds or ``HELD_LIMIT`` bytes without a point everything held is let
    through: such a source plays as it is.
    """

    def __init__(self, now: float, video: Callable[[], Collection[int] | None] | None = None) -> None:
        self._deadline = now + KEYFRAME_PATIENCE
        self._held = bytearray()
        self._video = video
        self._tables_out = False
        self.is_open = False

    def pass_(self, batch: Batch, now: float) -> Batch:
        """What may go on to the viewers; nothing while the gate is closed."""
        if self.is_open:
            return batch
        if batch.points:
            self.is_open = True
            cut = batch.points[0].offset
            self._held += batch.data[:cut]
            sound = self._sound()
            points = tuple(Point(point.offset - cut + len(sound), point.psi) for point in batch.points)
            return Batch(sound + batch.data[cut:], points)
        self._held += batch.data
        if now < self._deadline and len(self._held) < HELD_LIMIT:
            return Batch(self._sound(), ())
        self.is_open = True
        return Batch(bytes(self._held), ())

    def _sound(self) -> bytes:
        """What is held without the video, from the first table on; nothing while that cannot be told."""
        video = self._video() if self._video is not None else None
        if video is None:
            return b""
        data = without(bytes(self._held), video)
        if not self._tables_out:
            data = data[first_of(data, PAT_PID) :]
        self._tables_out |= bool(data)
        self._held.clear()
        return data


class Intake:
    """The way in for a transport stream: aligns, gates and joins. Times are monotonic seconds.

    With ``overlap`` a connection is not played twice where it repeats the one before to the same source.
    """

    name = "MPEG-TS"
    filler = NULL_PACKETS
    goes_on = True
    has_counters = True

    def __init__(self, overlap: OverlapLimits | None = None) -> None:
        self._scanner = Scanner()
        self._particulars = Particulars()
        self._overlap_limits = overlap
        self._overlap: Overlap | None = None
        self._tail = Tail(overlap.signature if overlap else 0)
        self._source = ""
        self._gate = Gate(0.0)
        self._began = self._joined = False
        self._unflagged: set[int] = set()
        self._flag_until = 0.0

    @property
    def programme(self) -> Programme | None:
        """What the tables say; ``None`` until they have come."""
        return self._scanner.programme

    def connect(self, now: float, source: str = "") -> None:
        """A new connection follows, to that source."""
        sent = self._tail.read() if source == self._source and self._joined else b""
        self._source = source
        if self._overlap_limits is not None and sent:
            self._overlap = Overlap(sent, self._scanner.time, self._overlap_limits)
        else:
            self._begin(Scanner(), now)

    def _begin(self, scanner: Scanner, now: float) -> None:
        """What comes now does not go on where the last connection ended."""
        self._scanner = scanner
        self._particulars = Particulars()
        self._overlap = None
        self._tail.clear()
        self._gate = Gate(now, self._video if self._began else None)
        self._joined = False

    def feed(self, piece: bytes, now: float) -> Batch:
        """Whole packets that may go on to viewers, possibly none. Raises ``NotMedia``."""
        if self._overlap is not None:
            return self._compare(self._overlap, piece, now)
        try:
            batch = self._scanner.feed(piece)
        except NotMedia:
            self._tail.clear()  # nothing can go on behind that
            raise
        if self._overlap_limits is not None:
            self._tail.push(piece)
        return self._pass(batch, now)

    def _compare(self, overlap: Overlap, piece: bytes, now: float) -> Batch:
        """As ``feed``, while it cannot be told how a connection follows the one before."""
        found = overlap.feed(piece, now)
        if isinstance(found, Same):
            self._overlap = None
            return self.feed(found.rest, now) if found.rest else _NOTHING
        if found is None:
            return _NOTHING
        self._begin(overlap.scanner, now)
        self._tail.push(piece)
        return self._pass(found.batch, now)

    def _pass(self, batch: Batch, now: float) -> Batch:
        batch = self._gate.pass_(batch, now)
        if not batch.data:
            return batch
        self._particulars.feed(batch.data, self._scanner.programme)
        if not self._joined:
            if self._gate.is_open and not batch.points:
                self._check_playable(batch.data)
            batch = self._seam(batch, now)
            self._began = self._joined = True
        elif self._unflagged:
            batch = _prepend(self._flags(batch.data, now), batch)
        return batch

    def _check_playable(self, data: bytes) -> None:
        """There is no picture that can start, so there must be something else that the tables name."""
        programme = self._scanner.programme
        if programme is None or not counters_at(data, [stream.pid for stream in programme.streams]):
            raise NotMedia("nothing in it can be decoded")

    def _video(self) -> Collection[int] | None:
        """PIDs of the video, once the tables have come; ``None`` before, and where there is no video."""
        programme = self._scanner.programme
        pids = [one.pid for one in programme.streams if one.kind == "video"] if programme else []
        return pids or None

    def tables(self) -> tuple[bytes, tuple[int, ...]]:
        """PAT and PMT in force, and the PIDs of the programme."""
        programme = self._scanner.programme
        if programme is None:
            return self._scanner.psi, ()
        streams = [stream.pid for stream in programme.streams]
        return self._scanner.psi, (PAT_PID, programme.pmt_pid, programme.pcr_pid, *streams, *DVB_PIDS)

    def _seam(self, batch: Batch, now: float) -> Batch:
        """Put the tables in front; where an earlier connection was played before, flag the break as well."""
        _, pids = self.tables()
        is_at_point = bool(batch.points) and batch.points[0].offset == 0
        psi = batch.points[0].psi if is_at_point else b""  # otherwise the data holds its own tables
        self._unflagged = set(pids) if self._began else set()
        self._flag_until = now + FLAG_PATIENCE
        return _prepend(self._flags(psi + batch.data, now) + psi, batch)

    def _flags(self, data: bytes, now: float) -> bytes:
        """A flagged discontinuity for each PID that needs one and comes in ``data`` for the first time.

        ISO/IEC 13818-1 §2.4.3.5: the indicator excuses the break in the continuity counters.
        """
        found = counters_at(data, self._unflagged)
        self._unflagged -= found.keys()
        if now > self._flag_until:
            self._unflagged.clear()
        return discontinuity(found)

    def media_info(self) -> dict[str, object]:
        """Container and codecs, as far as the tables name them; size and channels once they have come."""
        return self._particulars.info


def _prepend(head: bytes, batch: Batch) -> Batch:
    """``batch`` with whole packets in front."""
    if not head:
        return batch
    return Batch(head + batch.data, tuple(Point(p.offset + len(head), p.psi) for p in batch.points))
