"""MPEG program streams (ISO/IEC 13818-1 §2.5, ISO/IEC 11172-1): packs of PES packets. Pure."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from m3u_proxy.media.bodies.cutter import NOTHING, Cutter, Unit
from m3u_proxy.media.mpegts import NotMedia

_PREFIX: Final = b"\0\0\1"
_END: Final = 0xB9
_PACK: Final = 0xBA
_SYSTEM: Final = 0xBB
_VIDEO: Final = range(0xE0, 0xF0)
_MPEG2_PACK: Final = 14
_MPEG1_PACK: Final = 12

_SEQUENCE: Final = re.compile(rb"\x00\x00\x01\xb3")
_KEYS: Final = {
    # What a picture that can be decoded by itself begins with, by what the first one begins with.
    0xB3: _SEQUENCE,  # sequence_header (ITU-T H.262 table 6-1)
    **dict.fromkeys(
        (0x09, 0x67, 0x27, 0x47), re.compile(rb"\x00\x00\x01[\x27\x47\x67]")
    ),  # SPS (H.264 table 7-1)
    **dict.fromkeys((0x40, 0x46), re.compile(rb"\x00\x00\x01\x40")),  # VPS (H.265 table 7-1)
}
_PICTURES: Final = re.compile(rb"\x00\x00\x01[\x00\xb3\xb8]")
"""picture_start_code, sequence_header_code, group_start_code"""


class Program(Cutter):
    """A unit is a packet, with the pack header in front of it; a point is one that begins with a key picture.

    Writers begin pictures in the midst of packets: such a packet is cut in two. Each point has a pack header
    and the system header, so there is no head, and the stream may be joined with another one.
    """

    name: ClassVar[str] = "MPEG program stream"
    goes_on: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._pack = b""
        self._system = b""
        self._before = b""
        """Headers that have come and were not sent yet."""
        self._keys: re.Pattern[bytes] | None = None
        self._ready: list[Unit] = []
        """Of a packet that was cut: the second part."""

    def _next(self) -> Unit | None:
        if self._ready:
            return self._ready.pop()
        if len(self._held) < 4:
            return None
        code = self._held[3]
        if not self._held.startswith(_PREFIX) or code < _END:
            raise NotMedia("no packet")
        if code == _END:
            self._take(4)
            return NOTHING
        if code == _PACK:
            return self._header(self._pack_size()) if len(self._held) >= _MPEG2_PACK else None
        if not self._pack:
            raise NotMedia("no pack header")
        if len(self._held) < 6:
            return None
        packet = self._take(6 + int.from_bytes(self._held[4:6], "big"))
        return None if packet is None else self._unit(code, packet)

    def _pack_size(self) -> int:
        if self._held[4] & 0xC0 == 0x40:
            return _MPEG2_PACK + (self._held[13] & 0x07)
        if self._held[4] & 0xF0 == 0x20:
            return _MPEG1_PACK
        raise NotMedia("a damaged pack header")

    def _header(self, size: int) -> Unit | None:
        pack = self._take(size)
        if pack is None:
            return None
        self._pack = self._before = pack
        return NOTHING

    def _unit(self, code: int, packet: bytes) -> Unit:
        if code == _SYSTEM:
            self._system = packet
            self._before += packet
            return NOTHING
        before, self._before = self._before, b""
        if code not in _VIDEO:
            return Unit(before + packet, bool(before) and not self._has_video)
        begin = _payload(packet)
        self._keys = self._keys or _keys(packet[begin:])
        key = self._keys.search(packet, begin) if self._keys else None
        if key is None:
            return Unit(before + packet)
        if key.start() == begin:
            return Unit(self._pack + self._system + packet, is_point=True)
        first, second = self._cut(packet, begin, key.start())
        self._ready.append(Unit(self._pack + self._system + second, is_point=True))
        return Unit(before + first)

    @property
    def _has_video(self) -> bool:
        """Whether the system header lists video (§2.5.3.5), after its 12 bytes."""
        return any(stream in _VIDEO for stream in self._system[12::3])

    def _cut(self, packet: bytes, begin: int, key: int) -> tuple[bytes, bytes]:
        """Two packets for one. A timestamp is that of the first picture to begin in one (§2.4.3.7)."""
        pictures = _PICTURES if self._keys is _SEQUENCE else re.compile(_PREFIX)
        plain = _plain_header(packet)
        head = packet[6:begin]
        if pictures.search(packet[begin:key]):
            return _packet(packet, head, packet[begin:key]), _packet(packet, plain, packet[key:])
        return _packet(packet, plain, packet[begin:key]), _packet(packet, head, packet[key:])


def _packet(like: bytes, header: bytes, payload: bytes) -> bytes:
    return like[:4] + (len(header) + len(payload)).to_bytes(2, "big") + header + payload


def _plain_header(packet: bytes) -> bytes:
    """What stands between length and payload where nothing is said."""
    return b"\x80\0\0" if packet[6] & 0xC0 == 0x80 else b"\x0f"


def _payload(packet: bytes) -> int:
    """Bytes in front of the payload (§2.4.3.7, ISO/IEC 11172-1 §2.4.3.3)."""
    if packet[6] & 0xC0 == 0x80:
        return 9 + packet[8]
    at = 6
    while packet[at] == 0xFF:
        at += 1
    if packet[at] & 0xC0 == 0x40:  # STD_buffer_size
        at += 2
    return at + {0x2: 5, 0x3: 10}.get(packet[at] >> 4, 1)


def _keys(payload: bytes) -> re.Pattern[bytes] | None:
    """How key pictures begin, once it can be told which codec this is."""
    at = payload.find(_PREFIX)
    return _KEYS.get(payload[at + 3]) if 0 <= at < len(payload) - 3 else None
