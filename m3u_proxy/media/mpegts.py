"""MPEG transport streams (ISO/IEC 13818-1 §2.4) as a relay needs them.

One :class:`Scanner` per upstream turns arbitrary pieces into whole packets, keeps the PAT and PMT in force
and finds the random-access points. It touches single packets only where a payload unit starts, some hundred
times a second; everything else is done on strided slices, at the speed of memory.

What comes out depends on the bytes alone, never on how they were cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from m3u_proxy.media.psi import PACKET, ElementaryStream, Programme, Psi
from m3u_proxy.media.randomaccess import PointFinder
from m3u_proxy.media.timestamps import decoding_time

__all__ = [
    "ADTS",
    "PACKET",
    "SNIFF",
    "Batch",
    "ElementaryStream",
    "NotMedia",
    "Point",
    "Programme",
    "Scanner",
    "counters_at",
    "discontinuity",
    "has_adts_audio",
]

ADTS: Final = 0x0F
"""Stream type of AAC in ADTS (ISO/IEC 13818-1 table 2-34)."""
SNIFF: Final = 4096
"""Bytes of a new connection within which the first packet must begin."""

_LOST: Final = 64 * 1024  # bytes without sync after which a connection has turned into something else
_TEXT: Final = 192  # bytes: longer than a packet, whose header always holds a control character

_SYNC: Final = re.compile(rb"(?s)\x47(?=.{187}\x47.{187}\x47)")
_SYNC_BYTE: Final = b"\x47"
_HTML: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<[!?A-Za-z][\t\r\n -~]{2}")
_PLAYLIST: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*#EXTM3U")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_STARTS: Final = bytes(byte & 0xC0 == 0x40 for byte in range(256))
"""Second header byte -> 1 where a payload unit starts and no transport_error_indicator is set."""


class Point(NamedTuple):
    """A random-access point: decoding can start here."""

    offset: int
    """Bytes into ``Batch.data``, start of the packet."""
    psi: bytes
    """The PAT and PMT packets in force just before it, as received; ``b""`` if none were seen."""


class Batch(NamedTuple):
    """Whole packets, in order, and the random-access points among them."""

    data: bytes
    points: tuple[Point, ...]


class NotMedia(ValueError):
    """These bytes are no transport stream; the message says what they look like."""


class Scanner:
    """Follows one upstream. Feed it every piece in order; after a reconnect, :meth:`reset` it first."""

    def __init__(self) -> None:
        self._align = _Aligner()
        self._psi = Psi()
        self._points = PointFinder()
        self._held = b""

    @property
    def psi(self) -> bytes:
        """The PAT and PMT packets in force now, as received; ``b""`` if none were seen."""
        return self._psi.packets

    @property
    def programme(self) -> Programme | None:
        """The first programme with video, or else the first; ``None`` until its PMT was seen."""
        return self._psi.programme

    @property
    def leading_pid(self) -> int:
        """PID of the programme's first video, or else its first audio; -1 until a PMT was seen."""
        return self._points.pid

    @property
    def time(self) -> int | None:
        """Decoding timestamp of the newest PES packet of that PID, in ticks of 90 kHz; ``None`` without."""
        return decoding_time(self._points.newest)

    @property
    def resyncs(self) -> int:
        """How often alignment was lost and found again, over all connections."""
        return self._align.resyncs

    @property
    def dropped_bytes(self) -> int:
        """Bytes outside of packets, over all connections."""
        return self._align.dropped_bytes

    def reset(self) -> None:
        """Begin a new connection: forget alignment and PSI, keep the totals."""
        self._align.reset()
        self._psi = Psi()
        self._points = PointFinder()
        self._held = b""

    def feed(self, piece: bytes) -> Batch:
        """Take the next bytes, of any length; give the packets that are ready.

        Raises :class:`NotMedia` when the connection does not begin as a transport stream or has ceased to be
        one; packets before that are still given, and every later call raises until :meth:`reset`. Up to
        16 packets may wait for the next call until it is clear whether a picture is a keyframe.
        """
        data = self._held + self._align.push(piece)
        points, end = self._scan(data)
        self._held = data[end:]
        self._points.passed += end // PACKET
        return Batch(data[:end], tuple(points))

    def _scan(self, data: bytes) -> tuple[list[Point], int]:
        """The points in ``data``, and the offset up to which that is the last word."""
        points: list[Point] = []
        starts = data[1::PACKET].translate(_STARTS)
        number = 0 if self._psi.unfinished else starts.find(1)
        while 0 <= number < len(starts):
            at = number * PACKET
            pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
            if self._psi.carries(pid):
                self._psi.push(data[at : at + PACKET])
                self._points.follow(self._psi.programme)
            elif starts[number] and pid == self._points.pid:
                verdict = self._points.judge(data, at)
                if verdict is None:
                    return points, at
                if verdict:
                    points.append(Point(at, self._psi.packets))
            # The rest of a section that spans packets lies in packets without a payload unit start.
            number = number + 1 if self._psi.unfinished else starts.find(1, number + 1)
        return points, len(data)


class _Aligner:
    """Bytes in, whole packets out."""

    def __init__(self) -> None:
        self.resyncs = 0
        self.dropped_bytes = 0
        self.reset()

    def reset(self) -> None:
        self._rest = b""
        self._synced = False
        self._fresh = True
        self._head = b""
        self._lost = 0
        self._failure: str | None = None

    def push(self, piece: bytes) -> bytes:
        if self._failure is not None:
            raise NotMedia(self._failure)
        if self._fresh:
            self._sniff(piece)
        whole = (len(self._rest) + len(piece)) // PACKET * PACKET
        if whole and self._synced:
            cut = whole - len(self._rest)
            packets = self._rest + piece[:cut]
            if packets[::PACKET].count(_SYNC_BYTE) == whole // PACKET:
                self._rest = piece[cut:]
                return packets
        return self._realign(self._rest + piece)

    def _sniff(self, piece: bytes) -> None:
        """Tell a web page, a playlist or a message from media by its first bytes."""
        self._head += piece[: _TEXT - len(self._head)]
        if _HTML.match(self._head):
            self._failure = "HTML"
        elif _PLAYLIST.match(self._head):
            self._failure = "HLS playlist"
        elif len(self._head) == _TEXT and not _CONTROL.search(self._head):
            self._failure = "text"
        if self._failure is not None:
            raise NotMedia(self._failure)

    def _realign(self, data: bytes) -> bytes:
        runs: list[bytes] = []
        at = 0
        while True:
            if self._synced:
                end = _run_end(data, at)
                runs.append(data[at:end])
                at = end
                if len(data) - at < PACKET:
                    break
                self._synced = False
            at = self._search(data, at)
            if not self._synced:
                break
        self._rest = data[at:]
        packets = b"".join(runs)
        if self._failure is not None and not packets:
            raise NotMedia(self._failure)
        return packets

    def _search(self, data: bytes, at: int) -> int:
        """Look for three sync bytes in their places from ``at`` on; return where to go on."""
        found = _SYNC.search(data, at)
        # The last two packets' length can only be judged together with what comes next.
        end = found.start() if found else max(at, len(data) - 2 * PACKET)
        self._lost += end - at
        self.dropped_bytes += end - at
        if self._lost > (SNIFF - 1 if self._fresh else _LOST):
            self._failure = "no MPEG-TS sync"
        elif found:
            self.resyncs += not self._fresh
            self._synced, self._fresh, self._lost = True, False, 0
        return end


def _run_end(data: bytes, at: int) -> int:
    """Where the run of whole packets ends that begins at ``at``."""
    end = at + (len(data) - at) // PACKET * PACKET
    while at < end:
        syncs = data[at : min(end, at + 64 * PACKET) : PACKET]
        good = len(syncs) - len(syncs.lstrip(_SYNC_BYTE))
        at += good * PACKET
        if good < len(syncs):
            break
    return at


def without(data: bytes, pids: Collection[int]) -> bytes:
    """Whole packets of ``data``, but for those of ``pids``."""
    return b"".join(
        data[at : at + PACKET]
        for at in range(0, len(data), PACKET)
        if ((data[at + 1] & 0x1F) << 8 | data[at + 2]) not in pids
    )


def first_of(data: bytes, pid: int) -> int:
    """Offset of the first packet of ``pid``; the length of ``data`` if there is none."""
    for at in range(0, len(data), PACKET):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == pid:
            return at
    return len(data)


def discontinuity(counters: Mapping[int, int]) -> bytes:
    """One packet per PID that announces a break in its continuity counter and time base (§2.4.3.5).

    ``counters`` maps each PID to the continuity_counter of the packet before the data that follows, as
    :func:`counters_at` gives it. The packets hold an adaptation field only, so players decode nothing new.
    """
    headers = (
        bytes((0x47, pid >> 8 & 0x1F, pid & 0xFF, 0x20 | counter & 0x0F, PACKET - 5, 0x80))
        for pid, counter in counters.items()
    )
    return b"".join(header.ljust(PACKET, b"\xff") for header in headers)


def programme_of(psi: bytes) -> Programme | None:
    """What tables say that were collected from whole packets, as a `Point` has them."""
    tables = Psi()
    for at in range(0, len(psi), PACKET):
        if tables.carries((psi[at + 1] & 0x1F) << 8 | psi[at + 2]):
            tables.push(psi[at : at + PACKET])
    return tables.programme


def counters_at(data: bytes, pids: Collection[int]) -> dict[int, int]:
    """The continuity_counter that comes just before ``data`` (whole packets), for each PID found in it.

    That is one less than the counter of the PID's first packet with payload: packets without payload do
    not count (§2.4.3.3).
    """
    wanted = set(pids)
    counters: dict[int, int] = {}
    for at in range(0, len(data), PACKET):
        if not wanted:
            break
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        if pid in wanted and data[at + 3] & 0x10:
            counters[pid] = (data[at + 3] - 1) & 0x0F
            wanted.remove(pid)
    return counters


def has_adts_audio(prefix: bytes) -> bool:
    """Whether the first audio of a transport stream is AAC in ADTS (ISO/IEC 13818-1 table 2-34).

    Also where that cannot be told from its first bytes: it is the usual thing.
    """
    scanner = Scanner()
    try:
        scanner.feed(prefix)
    except NotMedia:
        return True
    audio = scanner.programme.first("audio") if scanner.programme else None
    return audio is None or audio.stream_type == ADTS
