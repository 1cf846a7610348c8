"""Program specific information of an MPEG transport stream: sections, PAT and PMT (ISO/IEC 13818-1 §2.4.4).

:class:`Psi` is handed the packets of PID 0 and of every PMT PID, in order, and keeps what is in force now.
Damaged input is ignored, never an error: a section counts only when its CRC_32 is right.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

PACKET: Final = 188
"""Bytes in a transport packet (§2.4.3.2)."""

PAT_PID: Final = 0x0000
NULL_PID: Final = 0x1FFF

_FIRST_FREE_PID: Final = 0x0010  # below it: PAT, CAT, TSDT and reserved PIDs (table 2-3)
_MIN_SECTION: Final = 12  # bytes: header, version, numbers and CRC_32
_MAX_SECTION: Final = 1024  # bytes, header included, for PAT and PMT (§2.4.4.1)
_STUFFING: Final = 0xFF  # a table_id of 0xFF: no more sections in this packet

MediaKind = Literal["video", "audio", "other"]

_STREAM_TYPES: Final[dict[int, tuple[MediaKind, str]]] = {
    0x01: ("video", "mpeg1video"),
    0x02: ("video", "mpeg2video"),
    0x03: ("audio", "mp2"),
    0x04: ("audio", "mp2"),
    0x0F: ("audio", "aac"),
    0x10: ("video", "mpeg4"),
    0x11: ("audio", "aac_latm"),
    0x15: ("other", "timed_id3"),
    0x1B: ("video", "h264"),
    0x1C: ("audio", "aac"),
    0x20: ("video", "h264"),
    0x21: ("video", "jpeg2000"),
    0x24: ("video", "hevc"),
    0x2D: ("audio", "mpegh"),
    0x33: ("video", "vvc"),
    0x42: ("video", "cavs"),
    0x81: ("audio", "ac3"),
    0x83: ("audio", "truehd"),
    0x84: ("audio", "eac3"),
    0x85: ("audio", "dts"),
    0x86: ("other", "scte_35"),
    0x87: ("audio", "eac3"),
    0x8A: ("audio", "dts"),
    0xC1: ("audio", "ac3"),  # 0xC1 to 0xDB: the same codecs under HLS sample encryption
    0xC2: ("audio", "eac3"),
    0xCF: ("audio", "aac"),
    0xD1: ("video", "dirac"),
    0xD2: ("video", "avs2"),
    0xD4: ("video", "avs3"),
    0xDB: ("video", "h264"),
    0xEA: ("video", "vc1"),
}
"""stream_type (table 2-34, ATSC A/53, HLS) -> kind and codec, named as FFmpeg does."""

_DESCRIPTORS: Final[dict[int, tuple[MediaKind, str]]] = {
    0x56: ("other", "dvb_teletext"),
    0x59: ("other", "dvb_subtitle"),
    0x6A: ("audio", "ac3"),
    0x7A: ("audio", "eac3"),
    0x7B: ("audio", "dts"),
    0x7C: ("audio", "aac"),
}
"""What a descriptor_tag says about private data, stream_type 0x06 (ETSI EN 300 468 table 12)."""

_REGISTRATIONS: Final[dict[bytes, tuple[MediaKind, str]]] = {
    b"AC-3": ("audio", "ac3"),
    b"AC-4": ("audio", "ac4"),
    b"AV01": ("video", "av1"),
    b"BSSD": ("audio", "s302m"),
    b"DTS1": ("audio", "dts"),
    b"DTS2": ("audio", "dts"),
    b"DTS3": ("audio", "dts"),
    b"EAC3": ("audio", "eac3"),
    b"HEVC": ("video", "hevc"),
    b"Opus": ("audio", "opus"),
    b"VC-1": ("video", "vc1"),
}
"""format_identifier of a registration_descriptor (§2.6.8) -> kind and codec."""

_REGISTRATION_TAG: Final = 0x05


class ElementaryStream(NamedTuple):
    """One stream of a programme, as its PMT announces it."""

    pid: int
    stream_type: int
    kind: MediaKind
    codec: str
    """FFmpeg's name for the codec, ``"unknown"`` when the PMT does not tell."""


class Programme(NamedTuple):
    """What one PMT section says (§2.4.4.8)."""

    pmt_pid: int
    pcr_pid: int
    """0x1FFF when the programme has no clock of its own."""
    streams: tuple[ElementaryStream, ...]

    def first(self, kind: MediaKind) -> ElementaryStream | None:
        """The first stream of this kind in the order of the PMT."""
        return next((stream for stream in self.streams if stream.kind == kind), None)


def payload_start(packet: bytes) -> int:
    """Offset of the payload inside one packet; ``PACKET`` when it has none or its header is rubbish."""
    control = packet[3] & 0x30  # adaptation_field_control (table 2-5)
    if control == 0x10:
        return 4
    if control == 0x30 and packet[4] < PACKET - 5:
        return 5 + packet[4]
    return PACKET


_BITS_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def crc_ok(section: bytes) -> bool:
    """Whether the decoder model of annex A ends in zero.

    CRC_32 and zlib's checksum share their polynomial and differ in the order of bits; zlib also inverts
    the result, so the zero of annex A reads 0xFFFFFFFF here.
    """
    return zlib.crc32(section.translate(_BITS_REVERSED)) == 0xFFFFFFFF


class Section(NamedTuple):
    """One whole section and the packets that carried it, as received."""

    data: bytes
    packets: bytes


class SectionReader:
    """Puts the sections of one PID together from its packets.

    Continuity counters are not judged here: a section that lost a packet fails its CRC_32, and some
    muxers never count on these PIDs.
    """

    def __init__(self) -> None:
        self._data = b""
        self._packets: list[bytes] = []
        self._last = b""

    @property
    def unfinished(self) -> bool:
        """Whether a section has begun whose end is in packets to come."""
        return bool(self._data)

    def push(self, packet: bytes) -> Iterator[Section]:
        """Yield the sections that this packet completes."""
        start = payload_start(packet)
        if start >= PACKET or packet == self._last:  # a packet may be sent twice (§2.4.3.3)
            return
        self._last = packet
        if not packet[1] & 0x40:  # payload_unit_start_indicator
            if self._data:
                yield from self._append(packet, start, PACKET)
            return
        first = start + 1 + packet[start]  # behind the pointer_field (§2.4.4.2)
        if self._data:
            yield from self._append(packet, start + 1, first)
        self._data, self._packets = b"", []
        yield from self._append(packet, first, PACKET)

    def _append(self, packet: bytes, start: int, end: int) -> Iterator[Section]:
        self._data += packet[start:end]
        self._packets.append(packet)
        while len(self._data) >= 3 and self._data[0] != _STUFFING:
            size = 3 + ((self._data[1] & 0x0F) << 8 | self._data[2])
            if not _MIN_SECTION <= size <= _MAX_SECTION:
                break
            if len(self._data) < size:
                return
            yield Section(self._data[:size], b"".join(self._packets))
            self._data, self._packets = self._data[size:], self._packets[-1:]
        if len(self._data) >= 3 or self._data[:1] == b"\xff":
            self._data, self._packets = b"", []


class _Entry(NamedTuple):
    """One line of the PAT."""

    number: int
    pid: int


class _Pmt(NamedTuple):
    section: Section
    programme: Programme


class Psi:
    """PAT and PMT in force, and the one programme of the stream that matters.

    That is the first in the PAT that has video, or else the first; only programmes count whose PMT was seen.
    """

    def __init__(self) -> None:
        self._pat = Section(b"", b"")
        self._entries: dict[int, list[_Entry]] = {}
        self._pmts: dict[_Entry, _Pmt] = {}
        self._chosen: _Entry | None = None
        self._readers: dict[int, SectionReader] = {PAT_PID: SectionReader()}
        self._unfinished: set[int] = set()
        self.packets = b""
        """The packets of the latest PAT, then those of the programme's latest PMT, as received."""
        self.programme: Programme | None = None

    @property
    def unfinished(self) -> bool:
        """Whether a section has begun whose end is in packets to come."""
        return bool(self._unfinished)

    def carries(self, pid: int) -> bool:
        """Whether packets of this PID must be pushed."""
        return pid in self._readers

    def push(self, packet: bytes) -> None:
        """Take one packet of a PID that this object :meth:`carries`, without transport_error_indicator."""
        pid = (packet[1] & 0x1F) << 8 | packet[2]
        if packet[3] & 0xC0:  # PSI is never scrambled (§2.4.3.3): this is damage
            return
        reader = self._readers[pid]
        for section in reader.push(packet):
            if pid == PAT_PID:
                self._take_pat(section)
            else:
                self._take_pmt(pid, section)
        (self._unfinished.add if reader.unfinished else self._unfinished.discard)(pid)

    def _take_pat(self, section: Section) -> None:
        if section.data != self._pat.data:
            if not _in_force(section.data, table_id=0x00) or section.data[6]:  # section_number
                return
            self._enter(section.data)
        self._pat = section
        self._publish()

    def _take_pmt(self, pid: int, section: Section) -> None:
        number = int.from_bytes(section.data[3:5], "big")
        mine = self._entries.get(pid, [])
        # A wrong program_number is forgiven where the PID leaves no doubt; players forgive it too.
        entry = next((e for e in mine if e.number == number), mine[0] if len(mine) == 1 else None)
        if entry is None:
            return
        known = self._pmts.get(entry)
        if known is not None and known.section.data == section.data:
            self._pmts[entry] = _Pmt(section, known.programme)
        elif _in_force(section.data, table_id=0x02):
            self._pmts[entry] = _Pmt(section, _parse_pmt(pid, section.data))
            self._choose()
        self._publish()

    def _enter(self, pat: bytes) -> None:
        self._entries = {}
        for entry in _pat_entries(pat):
            self._entries.setdefault(entry.pid, []).append(entry)
        listed = [entry for entries in self._entries.values() for entry in entries]
        self._pmts = {entry: self._pmts[entry] for entry in listed if entry in self._pmts}
        self._readers = {pid: SectionReader() for pid in self._entries} | {PAT_PID: self._readers[PAT_PID]}
        self._unfinished.clear()
        self._choose()

    def _choose(self) -> None:
        listed = [entry for entries in self._entries.values() for entry in entries]
        seen = [entry for entry in listed if entry in self._pmts]
        with_video = (entry for entry in seen if self._pmts[entry].programme.first("video"))
        self._chosen = next(with_video, seen[0] if seen else None)

    def _publish(self) -> None:
        pmt = self._pmts[self._chosen] if self._chosen else None
        self.packets = self._pat.packets + (pmt.section.packets if pmt else b"")
        self.programme = pmt.programme if pmt else None


def _in_force(section: bytes, *, table_id: int) -> bool:
    """A whole table of this kind that applies now: syntax, current_next_indicator and CRC_32."""
    return section[0] == table_id and bool(section[1] & 0x80) and bool(section[5] & 0x01) and crc_ok(section)


def _pat_entries(section: bytes) -> Iterator[_Entry]:
    for at in range(8, len(section) - 7, 4):
        number = int.from_bytes(section[at : at + 2], "big")
        pid = (section[at + 2] & 0x1F) << 8 | section[at + 3]
        if number and _FIRST_FREE_PID <= pid < NULL_PID:  # number 0 names the network PID
            yield _Entry(number, pid)


def _parse_pmt(pid: int, section: bytes) -> Programme:
    end = len(section) - 4  # the CRC_32
    at = 12 + ((section[10] & 0x0F) << 8 | section[11])
    streams = []
    while at + 5 <= end:
        size = (section[at + 3] & 0x0F) << 8 | section[at + 4]
        es_pid = (section[at + 1] & 0x1F) << 8 | section[at + 2]
        if _FIRST_FREE_PID <= es_pid < NULL_PID:
            descriptors = section[at + 5 : min(at + 5 + size, end)]
            streams.append(ElementaryStream(es_pid, section[at], *_codec(section[at], descriptors)))
        at += 5 + size
    return Programme(pid, (section[8] & 0x1F) << 8 | section[9], tuple(streams))


def _codec(stream_type: int, descriptors: bytes) -> tuple[MediaKind, str]:
    if stream_type in _STREAM_TYPES:
        return _STREAM_TYPES[stream_type]
    at = 0
    while at + 2 <= len(descriptors):
        tag, size = descriptors[at], descriptors[at + 1]
        body = descriptors[at + 2 : at + 2 + size]
        known = _REGISTRATIONS.get(body[:4]) if tag == _REGISTRATION_TAG else _DESCRIPTORS.get(tag)
        if known is not None:
            return known
        at += 2 + size
    return "other", "unknown"
