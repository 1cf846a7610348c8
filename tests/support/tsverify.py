"""Judges what a viewer received: an MPEG-TS verifier that shares no code with the product.

It reads packet by packet, straight from ISO/IEC 13818-1, and keeps no clever index, so that a fault in the
product's fast path cannot hide in here too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

SIZE = 188
FIRST = 8
"""How many packets :attr:`Report.first_packets` describes."""

_VIDEO_TYPES = {0x01: "mpeg2", 0x02: "mpeg2", 0x1B: "h264", 0x24: "hevc"}
_AUDIO_TYPES = {0x03, 0x04, 0x0F, 0x11, 0x81, 0x87}


@dataclass(slots=True)
class Report:
    """What :func:`verify` saw."""

    packets: int = 0
    sync_errors: int = 0
    """Places where no packet began, and a cut-off packet at the end."""
    continuity_errors: dict[int, int] = field(default_factory=dict)
    """PID -> unflagged breaks of its continuity counter (§2.4.3.3)."""
    first_packets: tuple[str, ...] = ()
    """PAT, PMT, video, audio, null, discontinuity (an announcement without payload) or other."""
    first_video_is_keyframe: bool | None = None
    """``None`` without any video."""
    pids: dict[int, int] = field(default_factory=dict)
    """PID -> packets."""
    flagged_discontinuities: dict[int, int] = field(default_factory=dict)
    """PID -> packets with discontinuity_indicator."""

    @property
    def clean(self) -> bool:
        """Whole packets throughout, and no unannounced break."""
        return self.packets > 0 and self.sync_errors == 0 and not self.continuity_errors


def verify(capture: bytes) -> Report:
    """Read a viewer's capture from its first byte to its last."""
    report = Report()
    tables = _Tables()
    counters: dict[int, tuple[int, bytes, bool]] = {}
    packets = list(_packets(capture, report))
    for packet in packets:
        tables.look(packet)
    for packet in packets:
        _count(packet, counters, report)
    report.packets = len(packets)
    report.first_packets = tuple(tables.kind(packet) for packet in packets[:FIRST])
    report.first_video_is_keyframe = _first_video(packets, tables)
    return report


def setbacks(capture: bytes) -> dict[int, float]:
    """PID -> seconds by which its presentation times ever fell back behind the latest one (§2.4.3.7).

    Pictures that are shown in another order than they are sent in count as well: some tenths of a second.
    """
    latest: dict[int, int] = {}
    longest: dict[int, float] = {}
    for packet in _packets(capture, Report()):
        pes = _payload(packet)
        if not packet[1] & 0x40 or len(pes) < 14 or pes[:3] != b"\0\0\1" or not pes[7] & 0x80:
            continue
        bits = int.from_bytes(pes[9:14], "big")
        pts = bits >> 3 & 0x1C0000000 | bits >> 2 & 0x3FFF8000 | bits >> 1 & 0x7FFF
        pid = _pid(packet)
        ahead = (pts - latest.get(pid, pts)) % 2**33
        if ahead < 2**32:
            latest[pid] = pts
        longest[pid] = max(longest.get(pid, 0.0), (2**33 - ahead) / 90_000 if ahead >= 2**32 else 0.0)
    return longest


def slices_of(capture: bytes, source: bytes) -> list[tuple[int, int]]:
    """Cut a capture into runs that are bytes of the source, in bytes: ``[(offset, length), …]``.

    PAT, PMT and discontinuity packets in front of a run are the relay's preface and belong to none. A run may
    pass the end of the source and go on at its beginning, any number of times. What is nowhere in the source
    is a run with offset -1. A viewer that lost nothing has exactly one run.
    """
    assert source
    assert len(source) % SIZE == 0, "the source must be whole packets"
    places: dict[bytes, list[int]] = {}
    tables = _Tables()
    for at in range(0, len(source), SIZE):
        places.setdefault(source[at : at + SIZE], []).append(at)
        tables.look(source[at : at + SIZE])
    runs: list[tuple[int, int]] = []
    at = 0
    while at < len(capture):
        packet = capture[at : at + SIZE]
        if len(packet) == SIZE and tables.kind(packet) in {"PAT", "PMT", "discontinuity"}:
            at += SIZE
            continue
        candidates = [(_common(capture, at, source, place), -place) for place in places.get(packet, ())]
        length, offset = max(candidates, default=(len(packet), 1))
        if offset > 0 and runs and runs[-1][0] < 0:
            runs[-1] = (-1, runs[-1][1] + length)
        else:
            runs.append((-offset, length))
        at += length
    return runs


def _common(capture: bytes, at: int, source: bytes, place: int) -> int:
    """How many bytes of whole packets agree from here on, the source being a loop."""
    begin, end = at, len(capture) // SIZE * SIZE
    step = SIZE
    while at < end:
        size = min(step, len(source) - place, end - at)
        if capture[at : at + size] == source[place : place + size]:
            at += size
            place = (place + size) % len(source)
            step = min(step * 2, 1024 * SIZE)
        elif size <= SIZE:
            break
        else:
            step = max(SIZE, size // SIZE // 2 * SIZE)
    return at - begin


def _packets(capture: bytes, report: Report) -> Iterator[bytes]:
    at = 0
    while at < len(capture):
        packet = capture[at : at + SIZE]
        if len(packet) == SIZE and packet[0] == 0x47:
            yield packet
            at += SIZE
            continue
        report.sync_errors += 1
        at = next(
            (p for p in range(at + 1, len(capture) - SIZE) if capture[p] == 0x47 == capture[p + SIZE]),
            len(capture),
        )


def _pid(packet: bytes) -> int:
    return int.from_bytes(packet[1:3], "big") & 0x1FFF


def _has_payload(packet: bytes) -> bool:
    return bool(packet[3] & 0x10)


def _flags(packet: bytes) -> int:
    """The byte of flags of the adaptation field, 0 without one."""
    return packet[5] if packet[3] & 0x20 and packet[4] else 0


def _payload(packet: bytes) -> bytes:
    if not _has_payload(packet):
        return b""
    return packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]


def _count(packet: bytes, counters: dict[int, tuple[int, bytes, bool]], report: Report) -> None:
    pid = _pid(packet)
    report.pids[pid] = report.pids.get(pid, 0) + 1
    if pid == 0x1FFF:
        return
    flagged = bool(_flags(packet) & 0x80)
    if flagged:
        report.flagged_discontinuities[pid] = report.flagged_discontinuities.get(pid, 0) + 1
    counter, payload = packet[3] & 0x0F, _payload(packet)
    last = counters.get(pid)
    repeated = False
    if last is not None and not flagged:
        before, old_payload, was_repeated = last
        if not _has_payload(packet):
            good = counter == before
            payload, repeated = old_payload, was_repeated
        elif counter == before:  # the same packet may come twice, not three times
            good = repeated = payload == old_payload and not was_repeated
        else:
            good = counter == (before + 1) % 16
        if not good:
            report.continuity_errors[pid] = report.continuity_errors.get(pid, 0) + 1
    counters[pid] = (counter, payload, repeated)


def _first_video(packets: list[bytes], tables: _Tables) -> bool | None:
    """Whether the first bytes of video are the beginning of a picture that needs no other one."""
    video = [(p, _pid(p)) for p in packets if tables.kind(p) == "video" and _has_payload(p)]
    if not video:
        return None
    packet, pid = video[0]
    if not packet[1] & 0x40:
        return False
    if _flags(packet) & 0x40:
        return True
    picture = _payload(packet)
    for more, its_pid in video[1:]:
        if its_pid == pid:
            if more[1] & 0x40:
                break
            picture += _payload(more)
    return len(picture) > 8 and _decodable(picture[9 + picture[8] :], tables.streams[pid])


def _decodable(picture: bytes, codec: str) -> bool:
    for unit in picture.split(b"\0\0\1")[1:]:
        if not unit:
            continue
        if codec == "mpeg2" and unit[0] in {0xB3, 0x00}:
            return unit[0] == 0xB3
        if codec == "h264" and unit[0] & 0x1F in {1, 5, 7}:
            return unit[0] & 0x1F != 1
        nal_type = unit[0] >> 1
        if codec == "hevc" and (nal_type < 32 or nal_type in {32, 33}):
            return nal_type >= 16
    return False


class _Tables:
    """PAT and PMT of a capture, every version together."""

    def __init__(self) -> None:
        self.pmt_pids: set[int] = set()
        self.streams: dict[int, str] = {}
        """PID -> codec of video, or ``"audio"``."""
        self._partial: dict[int, bytes] = {}

    def kind(self, packet: bytes) -> str:
        pid = _pid(packet)
        if packet[3] & 0x30 == 0x20 and _flags(packet) & 0x80:
            return "discontinuity"
        if pid == 0:
            return "PAT"
        if pid in self.pmt_pids:
            return "PMT"
        if pid == 0x1FFF:
            return "null"
        codec = self.streams.get(pid)
        return "other" if codec is None else "audio" if codec == "audio" else "video"

    def look(self, packet: bytes) -> None:
        pid = _pid(packet)
        if pid != 0 and pid not in self.pmt_pids:
            return
        payload = _payload(packet)
        if packet[1] & 0x40 and payload:
            self._partial[pid] = payload[1 + payload[0] :]
        elif pid in self._partial:
            self._partial[pid] += payload
        section = self._partial.get(pid, b"")
        if len(section) < 3:
            return
        size = 3 + (int.from_bytes(section[1:3], "big") & 0x0FFF)
        if len(section) >= size and size >= 12 and _crc_is_zero(section[:size]):
            del self._partial[pid]
            (self._pat if pid == 0 else self._pmt)(section[: size - 4])

    def _pat(self, section: bytes) -> None:
        for at in range(8, len(section), 4):
            if section[at : at + 2] != b"\0\0":
                self.pmt_pids.add(int.from_bytes(section[at + 2 : at + 4], "big") & 0x1FFF)

    def _pmt(self, section: bytes) -> None:
        if section[0] != 0x02:
            return
        at = 12 + (int.from_bytes(section[10:12], "big") & 0x0FFF)
        while at + 5 <= len(section):
            stream_type, pid = section[at], int.from_bytes(section[at + 1 : at + 3], "big") & 0x1FFF
            if stream_type in _VIDEO_TYPES:
                self.streams[pid] = _VIDEO_TYPES[stream_type]
            elif stream_type in _AUDIO_TYPES:
                self.streams[pid] = "audio"
            at += 5 + (int.from_bytes(section[at + 3 : at + 5], "big") & 0x0FFF)


def _crc_is_zero(section: bytes) -> bool:
    register = 0xFFFFFFFF
    for byte in section:
        for bit in range(7, -1, -1):
            top = register >> 31 ^ byte >> bit & 1
            register = (register << 1 & 0xFFFFFFFF) ^ (0x04C11DB7 if top else 0)
    return register == 0
