"""Ogg (RFC 3533): pages of several logical streams, each of which begins with header packets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from m3u_proxy.media.bodies.cutter import Cutter, Unit
from m3u_proxy.media.mpegts import NotMedia

_PAGE: Final = 27
_CONTINUED: Final = 0x01
_FIRST: Final = 0x02


@dataclass(slots=True)
class _Stream:
    """A logical stream: how many header packets are still to come, and how its keyframes look."""

    headers: int
    key_mask: int = 0
    """Bits of a packet's first byte that are 0 in a keyframe; 0 for sound, where any packet will do."""


class Ogg(Cutter):
    """A unit is a page; a point is one that begins with a keyframe. Granule positions stay as they are."""

    name: ClassVar[str] = "Ogg"

    def __init__(self) -> None:
        super().__init__()
        self._streams: dict[bytes, _Stream] = {}
        self._has_begun = False

    def _next(self) -> Unit | None:
        if len(self._held) < _PAGE:
            return None
        if not self._held.startswith(b"OggS\0"):
            raise NotMedia("no Ogg page")
        body = _PAGE + self._held[26]
        if len(self._held) < body:
            return None
        page = self._take(body + sum(self._held[_PAGE:body]))
        return None if page is None else self._unit(page, page[_PAGE:body], page[body:])

    def _unit(self, page: bytes, lacing: bytes, body: bytes) -> Unit:
        serial = page[14:18]
        if page[5] & _FIRST:
            if self._has_begun:
                raise NotMedia("a second chain")
            self._streams[serial] = _stream(body)
        stream = self._streams.get(serial)
        if stream is None:
            raise NotMedia("a page of no stream")
        if stream.headers > 0:
            stream.headers -= sum(length < 255 for length in lacing)
            return self._add_to_head(page)
        self._has_begun = True
        if page[5] & _CONTINUED or not lacing or not lacing[0]:
            return Unit(page)
        if stream.key_mask:
            return Unit(page, not body[0] & stream.key_mask)
        return Unit(page, not any(one.key_mask for one in self._streams.values()))


def _stream(packet: bytes) -> _Stream:
    """A stream by its first packet; the mappings say how many headers follow that."""
    if packet.startswith(b"\x01vorbis"):
        return _Stream(3)
    if packet.startswith(b"OpusHead"):
        return _Stream(2)
    if packet.startswith(b"\x7fFLAC"):
        return _Stream(1 + max(1, int.from_bytes(packet[7:9], "big")))
    if packet.startswith(b"Speex   "):
        return _Stream(2 + int.from_bytes(packet[68:72], "little"))
    if packet.startswith(b"\x80theora"):
        return _Stream(3, key_mask=0xC0)
    if packet.startswith(b"OVP80"):
        return _Stream(2, key_mask=0x01)
    raise NotMedia("a stream of an unknown codec")
