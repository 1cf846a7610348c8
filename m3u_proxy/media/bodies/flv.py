"""Flash video (Adobe FLV 10.1 annex E, Enhanced RTMP): a header, then tags with timestamps. Pure."""

from __future__ import annotations

from typing import ClassVar, Final

from m3u_proxy.media.bodies.cutter import AUDIO_STEP, HEAD_LIMIT, NOTHING, Cutter, Unit
from m3u_proxy.media.mpegts import NotMedia

_AUDIO: Final = 8
_VIDEO: Final = 9
_SCRIPT: Final = 18
_TAG: Final = 11
_BACK_POINTER: Final = 4
_AVC: Final = 7
_AAC: Final = 10
_EX_AUDIO: Final = 9
"""Sound format of a tag with the header of Enhanced RTMP."""
_KEY: Final = 1
_CODED: Final = (1, 3)
"""Packet types of Enhanced RTMP that hold a frame."""
_SEQUENCE_STARTS: Final = (0, 5)


class Flv(Cutter):
    """A unit is a tag; a point is a keyframe.

    The head has the last of each: metadata, and the codecs' parameters.
    """

    name: ClassVar[str] = "FLV"

    def __init__(self) -> None:
        super().__init__()
        self._header = b""
        self._parameters: dict[int, bytes] = {_SCRIPT: b"", _VIDEO: b"", _AUDIO: b""}
        self._has_begun = False
        self._until_point = 0

    def _next(self) -> Unit | None:
        if not self._header:
            return self._begin()
        if len(self._held) < _TAG:
            return None
        size = int.from_bytes(self._held[1:4], "big")
        tag = self._take(_TAG + size + _BACK_POINTER)
        return None if tag is None else self._unit(tag[0] & 0x1F, tag)

    def _begin(self) -> Unit | None:
        if len(self._held) < 9:
            return None
        size = int.from_bytes(self._held[5:9], "big")
        if not self._held.startswith(b"FLV") or not 9 <= size <= HEAD_LIMIT:
            raise NotMedia("no FLV header")
        header = self._take(size + _BACK_POINTER)
        if header is None:
            return None
        self._header = header
        return NOTHING

    def _unit(self, kind: int, tag: bytes) -> Unit:
        data = tag[_TAG:-_BACK_POINTER]
        if kind not in self._parameters:
            raise NotMedia(f"a tag of type {kind}")
        if not data:
            return NOTHING
        if kind == _SCRIPT or _is_parameters(kind, data):
            self._parameters[kind] = tag
            self.head = b""
            self._add_to_head(self._header + b"".join(self._parameters.values()))
            return Unit(tag) if self._has_begun else NOTHING
        self.head = self.head or self._header
        self._has_begun = True
        return Unit(tag, self._is_point(kind, data))

    def _is_point(self, kind: int, data: bytes) -> bool:
        """A keyframe; without video any frame will do."""
        if self._header[4] & 0x01:
            return kind == _VIDEO and _is_key(data)
        is_point = self._until_point == 0
        self._until_point = (self._until_point or AUDIO_STEP) - 1
        return is_point


def _is_parameters(kind: int, data: bytes) -> bool:
    """Whether a tag tells a decoder how to begin, and holds no frame."""
    if kind == _VIDEO:
        if data[0] & 0x80:
            return data[0] & 0x0F in _SEQUENCE_STARTS
        return data[0] & 0x0F == _AVC and data[1] == 0
    if data[0] >> 4 == _EX_AUDIO:
        return data[0] & 0x0F == 0
    return data[0] >> 4 == _AAC and data[1] == 0


def _is_key(data: bytes) -> bool:
    if data[0] >> 4 & 0x07 != _KEY:
        return False
    if data[0] & 0x80:
        return data[0] & 0x0F in _CODED
    return data[0] & 0x0F != _AVC or data[1] == 1
