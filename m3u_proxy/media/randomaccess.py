"""Where decoding of a transport stream can start (ISO/IEC 13818-1 §2.4.3.5, random_access_indicator).

Many live sources never set the indicator, so the first bytes of a picture are looked at as well; a programme
without video can start at any frame of audio.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from m3u_proxy.media.psi import PACKET, ElementaryStream, Programme, payload_start
from m3u_proxy.media.timestamps import MASK, SECOND, pts_of

_LOOKAHEAD: Final = 16  # packets in which an unflagged keyframe must show itself
_AUDIO_STEP: Final = 2 * SECOND // 5
_AUDIO_PACKETS: Final = 64  # packets between the points of audio that has no timestamps

_GO_ON, _KEY, _NOT_KEY = range(3)


def _verdicts(key: Collection[int], not_key: Collection[int]) -> bytes:
    return bytes(_KEY if code in key else _NOT_KEY if code in not_key else _GO_ON for code in range(256))


def _hevc(types: Collection[int]) -> list[int]:
    """First bytes of HEVC NAL units of these types (ITU-T H.265 §7.3.1.2)."""
    return [nal_type << 1 | layer for nal_type in types for layer in (0, 1)]


_MPEG_VIDEO: Final = _verdicts(key=[0xB3], not_key=[*range(0xB0), 0xB8])
_VERDICTS: Final[dict[str, bytes]] = {
    # ITU-T H.264 table 7-1: SPS and IDR slice against other slices, whatever nal_ref_idc says
    "h264": _verdicts(
        key=[ref | kind for ref in (0, 0x20, 0x40, 0x60) for kind in (5, 7)],
        not_key=[ref | kind for ref in (0, 0x20, 0x40, 0x60) for kind in (1, 2, 3, 4)],
    ),
    # ITU-T H.265 table 7-1: VPS, SPS and IRAP against other slice segments
    "hevc": _verdicts(key=_hevc([*range(16, 22), 32, 33]), not_key=_hevc(range(10))),
    # ITU-T H.262 table 6-1: sequence_header against picture, slice and group_of_pictures
    "mpeg2video": _MPEG_VIDEO,
    "mpeg1video": _MPEG_VIDEO,
}
"""Byte behind a start code -> what it says about the picture."""


class PointFinder:
    """Says which payload unit starts of the leading stream are random-access points.

    The leading stream is the programme's first video, or else its first audio.
    """

    def __init__(self) -> None:
        self.pid = -1
        self.passed = 0
        """Packets before the data at hand."""
        self.newest = b""
        """The packet that began the newest PES packet of the leading stream."""
        self._programme: Programme | None = None
        self._leading: ElementaryStream | None = None
        self._last_pts: int | None = None
        self._last_packet: int | None = None

    def follow(self, programme: Programme | None) -> None:
        """Go on with this programme; that it is still the same one costs nothing."""
        if programme is self._programme:
            return
        self._programme = programme
        leading = programme and (programme.first("video") or programme.first("audio"))
        if leading != self._leading:
            self._leading = leading
            self.pid = leading.pid if leading else -1
            self.newest = b""
            self._last_pts = self._last_packet = None

    def judge(self, data: bytes, at: int) -> bool | None:
        """Whether the packet at ``at`` is a point; ``None`` when that takes packets still to come."""
        leading = self._leading
        start = payload_start(data[at : at + 5])
        if leading is None or start >= PACKET:
            return False
        self.newest = data[at : at + PACKET]
        if leading.kind == "audio":
            return self._audio_due(data, at, start)
        if start > 5 and data[at + 5] & 0x40:  # random_access_indicator (§2.4.3.5)
            return True
        if data[at + 3] & 0xC0 or leading.codec not in _VERDICTS:  # scrambled, or unknown
            return False
        return _is_keyframe(data, at, _VERDICTS[leading.codec])

    def _audio_due(self, data: bytes, at: int, start: int) -> bool:
        """Any frame of audio will do: take one every 0.4 s."""
        packet = self.passed + at // PACKET
        pts = None if data[at + 3] & 0xC0 else pts_of(data[at + start : at + PACKET])
        if pts is not None and self._last_pts is not None:
            due = (pts - self._last_pts) & MASK >= _AUDIO_STEP
        else:
            due = self._last_packet is None or packet - self._last_packet >= _AUDIO_PACKETS
        if due:
            self._last_pts, self._last_packet = pts, packet
        return due


def _is_keyframe(data: bytes, at: int, verdicts: bytes) -> bool | None:
    """Whether the picture whose PES packet starts at ``at`` can be decoded by itself.

    The answer is in the first packet, except behind a long SEI or PES header; ``None`` asks for more data.
    """
    pid = data[at + 1] & 0x1F, data[at + 2]
    stop = at + _LOOKAHEAD * PACKET
    pes = b""
    for packet in range(at, min(stop, len(data)), PACKET):
        if (data[packet + 1] & 0x1F, data[packet + 2]) != pid:
            continue
        if packet > at and data[packet + 1] & 0xC0:  # the next PES packet, or damage
            return False
        pes += data[packet + payload_start(data[packet : packet + 5]) : packet + PACKET]
        verdict = _first_verdict(pes, verdicts)
        if verdict != _GO_ON:
            return verdict == _KEY
    return None if stop > len(data) else False


def _first_verdict(pes: bytes, verdicts: bytes) -> int:
    if not pes.startswith(b"\0\0\1") and len(pes) >= 3:
        return _NOT_KEY
    if len(pes) < 9:
        return _GO_ON
    code = pes.find(b"\0\0\1", 9 + pes[8])  # behind PES_header_data (§2.4.3.7)
    while 0 <= code < len(pes) - 3:
        verdict = verdicts[pes[code + 3]]
        if verdict != _GO_ON:
            return verdict
        code = pes.find(b"\0\0\1", code + 3)
    return _GO_ON
