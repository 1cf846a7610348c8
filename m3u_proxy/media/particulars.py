"""What tables of a transport stream do not tell: size of the picture, channels of the sound. Pure.

They stand in the first headers of the elementary streams. Once they are found nothing is looked at any more.
"""

from __future__ import annotations

from typing import Final

from m3u_proxy.media import pictures, sounds
from m3u_proxy.media.psi import PACKET, Programme, payload_start

ENOUGH: Final = 2 * 1024 * 1024
"""Bytes of a stream after which nothing is looked for any more."""
HELD: Final = 4096
"""Bytes from the beginning of a PES packet in which the header is."""


class Particulars:
    """Reads whole packets of one connection until it knows, or has seen enough."""

    def __init__(self) -> None:
        self.size: pictures.Size | None = None
        self.channels: int | None = None
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

    def as_info(self) -> dict[str, object]:
        """As editors show it; what is not known is left out."""
        info: dict[str, object] = {}
        if self.size is not None:
            info["resolution"] = f"{self.size[0]}x{self.size[1]}"
        if self.channels is not None:
            info["audio_channels"] = self.channels
        return info

    def _begin(self, programme: Programme | None) -> None:
        self.size, self.channels, self._programme, self._seen = None, None, programme, 0
        self._held.clear()
        known = {"video": pictures.CODECS, "audio": sounds.CODECS}
        firsts = [programme.first(kind) for kind in ("video", "audio")] if programme else []
        self._codecs = {one.pid: one.codec for one in firsts if one and one.codec in known[one.kind]}

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
        if codec in pictures.CODECS:
            self.size = pictures.size_of(codec, data)
            found = self.size is not None
        else:
            self.channels = sounds.channels_of(codec, data)
            found = self.channels is not None
        if found:
            del self._codecs[pid], self._held[pid]
