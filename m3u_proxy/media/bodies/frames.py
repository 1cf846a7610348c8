"""Audio that consists of frames and nothing else: AAC in ADTS, and MPEG audio. Pure."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Final

from m3u_proxy.media.bodies.cutter import AUDIO_STEP, NOTHING, UNIT_LIMIT, Cutter, Unit
from m3u_proxy.media.mpegts import NotMedia

_LOST: Final = 64 * 1024
"""Bytes without a frame after which this is something else."""
_ID3: Final = 10
_ID3_OLD: Final = 128

_BIT_RATES: Final = {
    # ISO/IEC 11172-3 §2.4.2.3 and 13818-3 §2.4.2.3: (is MPEG-1, layer) -> kbit/s
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SAMPLE_RATES: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Version bits -> samples per second."""


class Frames(Cutter):
    """A unit is a frame, and there is no head. Tags in front of and behind the frames are left out."""

    goes_on = True
    header: ClassVar[int]
    """Bytes that tell how long a frame is."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0
        self._until_point = 0

    @abstractmethod
    def _size(self, header: bytes) -> int:
        """Bytes of the frame that begins so; 0 if none does."""

    def _next(self) -> Unit | None:
        if len(self._held) < max(self.header, _ID3):
            return None
        if self._held.startswith(b"ID3"):
            return self._drop(_ID3 + _syncsafe(self._held[6:10]))
        size = self._size(bytes(self._held[: self.header]))
        if not size:
            return self._drop(_ID3_OLD) if self._held.startswith(b"TAG") else self._resync()
        frame = self._take(size)
        if frame is None:
            return None
        self._lost = 0
        is_point = self._until_point == 0
        self._until_point = (self._until_point or AUDIO_STEP) - 1
        return Unit(frame, is_point)

    def _drop(self, size: int) -> Unit | None:
        if size > UNIT_LIMIT:
            raise NotMedia(f"a tag of {size} bytes")
        return None if self._take(size) is None else NOTHING

    def _resync(self) -> Unit:
        """Go on at what may be the next frame."""
        at = self._held.find(b"\xff", 1)
        gone = at if at > 0 else len(self._held)
        del self._held[:gone]
        self._lost += gone
        if self._lost > _LOST:
            raise NotMedia(f"{_LOST} bytes without a frame")
        return NOTHING


class Adts(Frames):
    """AAC in ADTS (ISO/IEC 14496-3 §1.A.2.2)."""

    name = "ADTS"
    header = 7

    def _size(self, header: bytes) -> int:
        if header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
            return 0
        size = (header[3] & 0x03) << 11 | header[4] << 3 | header[5] >> 5
        return size if size > self.header else 0


class Mp3(Frames):
    """MPEG audio of all layers (ISO/IEC 11172-3 §2.4.1.3)."""

    name = "MP3"
    header = 4

    def _size(self, header: bytes) -> int:
        version, layer = header[1] >> 3 & 0x03, 4 - (header[1] >> 1 & 0x03)
        rate, sampling = header[2] >> 4, header[2] >> 2 & 0x03
        if header[0] != 0xFF or header[1] & 0xE0 != 0xE0 or version == 1 or layer == 4:
            return 0
        if rate in (0, 15) or sampling == 3:
            return 0
        bits = 1000 * _BIT_RATES[version == 3, layer][rate]
        samples_per_second = _SAMPLE_RATES[version][sampling]
        padding = header[2] >> 1 & 0x01
        if layer == 1:
            return (12 * bits // samples_per_second + padding) * 4
        eighths = 72 if layer == 3 and version != 3 else 144
        return eighths * bits // samples_per_second + padding


def _syncsafe(data: bytes | bytearray) -> int:
    """A number of seven bits per byte (ID3v2 §6.2)."""
    return data[0] << 21 | data[1] << 14 | data[2] << 7 | data[3]
