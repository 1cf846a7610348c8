"""What tables of a transport stream do not tell: size of the picture, channels of the sound. Pure.

They stand in the first headers of the elementary streams. Once they are found nothing is looked at any more.
"""

from __future__ import annotations

from typing import Final

from m3u_proxy.media import pictures, sounds
from m3u_proxy.media.mpegts import NotMedia, Scanner
from m3u_proxy.media.psi import PACKET, MediaKind, Programme, payload_start

ENOUGH: Final = 2 * 1024 * 1024
"""Bytes of a stream after which nothing is looked for any more."""
HELD: Final = 4096
"""Bytes from the beginning of a PES packet in which the header is."""
LOOKS: Final = 4
"""Segments of a source that are looked into: sound may be in others than the pictures."""
LOOKED: Final = 256 * 1024
"""Bytes of a segment that are looked at."""
_KINDS: Final[tuple[MediaKind, ...]] = ("video", "audio")


class Particulars:
    """Reads whole packets of one connection until it knows, or has seen enough."""

    def __init__(self) -> None:
        self.info: dict[str, object] = {}
        """With what the tables name, as editors show it; what is not known is left out."""
        self._seen = 0
        self._programme: Programme | None = None
        self._codecs: dict[int, str] = {}
        """By PID, what is still looked for."""
        self._held: dict[int, bytearray] = {}
        """By PID, the beginning of a PES packet."""

    def feed(self, data: bytes, programme: Programme | None) -> None:
        """Whole packets, and the tables that are in force behind them."""
        if programme is not self._programme and programme != self._programme:
            self._begin(programme)
        if not self._codecs:
            return
        self._seen += len(data)
        for at in range(0, len(data), PACKET):
            pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
            if pid in self._codecs:
                self._take(pid, data[at : at + PACKET])
        if self._seen > ENOUGH:
            self._codecs.clear()
            self._held.clear()

    def _begin(self, programme: Programme | None) -> None:
        self._programme, self._seen, self.info = programme, 0, _named(programme)
        self._held.clear()
        firsts = [programme.first(kind) for kind in _KINDS] if programme else []
        known = pictures.CODECS | sounds.CODECS
        self._codecs = {one.pid: one.codec for one in firsts if one and one.codec in known}

    def _take(self, pid: int, packet: bytes) -> None:
        if packet[1] & 0x40:  # payload_unit_start_indicator
            self._held[pid] = bytearray()
        held = self._held.get(pid)
        if held is None or len(held) >= HELD:
            return
        held += packet[payload_start(packet) :]
        if len(held) < 9:
            return
        self._look(pid, bytes(held[9 + held[8] :]))  # behind PES_header_data (ISO/IEC 13818-1 §2.4.3.7)

    def _look(self, pid: int, data: bytes) -> None:
        codec = self._codecs[pid]
        size, channels = pictures.size_of(codec, data), sounds.channels_of(codec, data)
        if size is not None:
            self.info = self.info | {"resolution": f"{size[0]}x{size[1]}"}
        elif channels is not None:
            self.info = self.info | {"audio_channels": channels}
        else:
            return
        del self._codecs[pid], self._held[pid]


def _named(programme: Programme | None) -> dict[str, object]:
    if programme is None:
        return {}
    firsts = (programme.first(kind) for kind in _KINDS)
    return {"container": "mpegts", **{f"{one.kind}_codec": one.codec for one in firsts if one is not None}}


class Looks:
    """What the first segments of a source show together; ``info`` is like that of `Particulars`."""

    def __init__(self) -> None:
        self.info: dict[str, object] = {}
        self._left = LOOKS

    @property
    def is_open(self) -> bool:
        """Whether another one might tell more."""
        return self._left > 0

    def look(self, segment: bytes) -> None:
        """A whole one, which tells nothing where it is no transport stream, or encrypted."""
        if not self._left:
            return
        self._left -= 1
        scanner, found = Scanner(), Particulars()
        try:
            batch = scanner.feed(segment[:LOOKED])
        except NotMedia:
            return
        found.feed(batch.data, scanner.programme)
        self.info = self.info | found.info  # another one: whoever reads it may be in another thread
        if {"resolution", "audio_channels"} <= self.info.keys():
            self._left = 0
