"""Builds synthetic MPEG transport streams, packet by packet, in a known order.

:class:`Mux` writes packets and counts continuity; :func:`programme` makes a whole little channel and says
where its keyframes are. Nothing here is shared with the code under test.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SIZE = 188

PMT_PID = 0x1000
VIDEO_PID = 0x100
AUDIO_PID = 0x101

STREAM_TYPE = {"mpeg2video": 0x02, "h264": 0x1B, "hevc": 0x24, "aac": 0x0F, "mp2": 0x03, "ac3": 0x81}

_NO_ZEROS = bytes(range(1, 256))


def crc32(data: bytes) -> int:
    """CRC_32 of ISO/IEC 13818-1 annex A, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


def _section(
    table_id: int, extension: int, version: int, body: bytes, *, current: bool, number: int
) -> bytes:
    length = len(body) + 9
    head = bytes((table_id, 0xB0 | length >> 8, length & 0xFF))
    head += extension.to_bytes(2, "big") + bytes((0xC0 | version << 1 | current, number, number))
    return head + body + crc32(head + body).to_bytes(4, "big")


def pat(programmes: Mapping[int, int], *, version: int = 0, current: bool = True, number: int = 0) -> bytes:
    """A PAT section: programme number -> PMT PID."""
    body = b"".join(n.to_bytes(2, "big") + (0xE000 | pid).to_bytes(2, "big") for n, pid in programmes.items())
    return _section(0x00, 1, version, body, current=current, number=number)


def pmt(
    streams: Sequence[tuple[int, int, bytes]],
    *,
    number: int = 1,
    pcr_pid: int = VIDEO_PID,
    version: int = 0,
    info: bytes = b"",
    current: bool = True,
) -> bytes:
    """A PMT section; each stream is (stream_type, PID, descriptors)."""
    body = (0xE000 | pcr_pid).to_bytes(2, "big") + (0xF000 | len(info)).to_bytes(2, "big") + info
    for stream_type, pid, descriptors in streams:
        body += bytes((stream_type,)) + (0xE000 | pid).to_bytes(2, "big")
        body += (0xF000 | len(descriptors)).to_bytes(2, "big") + descriptors
    return _section(0x02, number, version, body, current=current, number=0)


def descriptor(tag: int, body: bytes = b"") -> bytes:
    """One descriptor of a PMT loop."""
    return bytes((tag, len(body))) + body


def adaptation(*, random_access: bool = False, discontinuity: bool = False, pcr: int | None = None) -> bytes:
    """The body of an adaptation field, without its length; ``pcr`` in ticks of 90 kHz."""
    flags = discontinuity << 7 | random_access << 6 | (pcr is not None) << 4
    if pcr is None:
        return bytes((flags,))
    return bytes((flags,)) + ((pcr % (1 << 33)) << 15 | 0x7E00).to_bytes(6, "big")


class Mux:
    """Writes packets; each PID has its own continuity counter."""

    def __init__(self, counters: Mapping[int, int] | None = None) -> None:
        self.counters = dict(counters or {})

    def packet(
        self,
        pid: int,
        payload: bytes = b"",
        *,
        start: bool = False,
        field: bytes = b"",
        scrambled: bool = False,
        damaged: bool = False,
    ) -> bytes:
        """One packet; an adaptation field, ``field`` and stuffing, fills what the payload leaves."""
        room = SIZE - 4 - len(payload)
        if field or room:
            length = room - 1
            assert length >= len(field)
            body = (field or b"\0" * bool(length)).ljust(length, b"\xff")
            payload = bytes((length,)) + body + payload
        control = (0x20 if field or room else 0) | (0x10 if room < SIZE - 4 else 0)
        if control & 0x10:
            self.counters[pid] = (self.counters.get(pid, -1) + 1) % 16
        second = damaged << 7 | start << 6 | pid >> 8
        third = scrambled << 7 | control | self.counters.get(pid, 0)
        return bytes((0x47, second, pid & 0xFF, third)) + payload

    def null(self) -> bytes:
        """A null packet (§2.4.1); its counter means nothing."""
        return b"\x47\x1f\xff\x10" + b"\xff" * 184

    def psi(self, pid: int, *sections: bytes, stuffing: int = 0xFF) -> bytes:
        """The packets that carry these sections, one after another."""
        data = b"\0" + b"".join(sections)
        packets: list[bytes] = []
        while data:
            part, data = data[:184], data[184:]
            packets.append(self.packet(pid, part.ljust(184, bytes((stuffing,))), start=not packets))
        return b"".join(packets)

    def pes(
        self,
        pid: int,
        es: bytes,
        *,
        pts: int | None = None,
        stream_id: int = 0xE0,
        random_access: bool = False,
        pcr: int | None = None,
        scrambled: bool = False,
        first: int = SIZE,
    ) -> bytes:
        """The packets of one PES packet; the first one holds at most ``first`` bytes of payload."""
        stamp = b"" if pts is None else _timestamp(pts)
        data = bytes((0, 0, 1, stream_id, 0, 0, 0x80, 0x80 * bool(stamp), len(stamp))) + stamp + es
        flagged = random_access or pcr is not None
        field = adaptation(random_access=random_access, pcr=pcr) if flagged else b""
        packets: list[bytes] = []
        while data:
            room = min(184 - (len(field) + 1 if field else 0), first if not packets else SIZE)
            part, data = data[:room], data[room:]
            packets.append(self.packet(pid, part, start=not packets, field=field, scrambled=scrambled))
            field = b""
        return b"".join(packets)


def _timestamp(pts: int) -> bytes:
    pts %= 1 << 33
    return bytes(
        (
            0x21 | pts >> 29 & 0x0E,
            pts >> 22 & 0xFF,
            pts >> 14 & 0xFE | 1,
            pts >> 7 & 0xFF,
            pts << 1 & 0xFE | 1,
        )
    )


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes without a start code; the same for the same seed."""
    return bytes(random.Random(seed).choices(_NO_ZEROS, k=size))


_START = b"\0\0\0\1"
_UNITS = {
    ("h264", True): (b"\x09\x10", b"\x67\x42\xc0\x1e", b"\x68\xce\x3c\x80", b"\x65\x88"),
    ("h264", False): (b"\x09\x30", b"\x41\x9a"),
    ("hevc", True): (b"\x46\x01\x10", b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc1", b"\x26\x01\xaf"),
    ("hevc", False): (b"\x46\x01\x30", b"\x02\x01\xd0"),
    ("mpeg2video", True): (
        b"\xb3\x2d\x02\x40",
        b"\xb5\x14\x8a",
        b"\xb8\x08\x06",
        b"\x00\x0f\xff",
        b"\x01\x12",
    ),
    ("mpeg2video", False): (b"\x00\x1f\x57", b"\x01\x22"),
}


def picture(codec: str, *, key: bool, size: int = 600, seed: int = 0) -> bytes:
    """One coded picture: access unit delimiter, parameter sets when ``key``, one slice of ``size`` bytes."""
    return b"".join(_START + unit for unit in _UNITS[codec, key]) + noise(size, seed)


class Sample(NamedTuple):
    """A synthetic channel."""

    data: bytes
    keyframes: tuple[int, ...]
    """Offset of the first packet of each keyframe, or of each audio frame when there is no video."""
    psi: tuple[bytes, ...]
    """The PAT and PMT packets in force at each keyframe."""


def programme(
    *,
    codec: str | None = "h264",
    pictures: int = 50,
    gop: int = 10,
    flagged: bool = True,
    audio: bool = True,
    psi: bool = True,
    pts: int = 0,
    nulls: int = 0,
    psi_every: int = 4,
    mux: Mux | None = None,
) -> Sample:
    """A channel of 25 pictures a second; PAT and PMT return every ``psi_every`` of them."""
    mux = mux or Mux()
    streams = [(STREAM_TYPE[codec], VIDEO_PID, b"")] if codec else []
    streams += [(STREAM_TYPE["aac"], AUDIO_PID, b"")] if audio else []
    parts: list[bytes] = []
    size, keyframes, tables, latest = 0, [], [], b""
    for number in range(pictures):
        stamp = pts + number * 3600
        unit: list[bytes] = []
        if psi and number % psi_every == 0:
            latest = mux.psi(0, pat({1: PMT_PID})) + mux.psi(PMT_PID, pmt(streams))
            unit.append(latest)
        if codec is None or number % gop == 0:
            keyframes.append(size + sum(map(len, unit)))
            tables.append(latest)
        if codec:
            key = number % gop == 0
            es = picture(codec, key=key, size=3000 if key else 500, seed=number)
            unit.append(mux.pes(VIDEO_PID, es, pts=stamp, random_access=flagged and key, pcr=stamp))
        if audio:
            es = b"\xff\xf1\x50\x80" + noise(300, number)
            unit.append(mux.pes(AUDIO_PID, es, pts=stamp, stream_id=0xC0))
        unit += [mux.null()] * nulls
        parts.append(b"".join(unit))
        size += len(parts[-1])
    return Sample(b"".join(parts), tuple(keyframes), tuple(tables))
