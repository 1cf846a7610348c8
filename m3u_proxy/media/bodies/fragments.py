"""Fragmented MP4 (ISO/IEC 14496-12): ``ftyp`` and ``moov``, then pairs of ``moof`` and ``mdat``. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, NamedTuple

from m3u_proxy.media.bodies.cutter import NOTHING, UNIT_LIMIT, Cutter, Unit
from m3u_proxy.media.mpegts import NotMedia

_NON_SYNC: Final = 0x00010000
"""``sample_is_non_sync_sample`` (§8.8.3.1)."""
_LARGE: Final = 1
"""Value of ``size`` that says that a 64-bit one follows the type (§4.2)."""


class Box(NamedTuple):
    """One box: its type and its payload."""

    kind: bytes
    data: bytes


class Mp4(Cutter):
    """A unit is a ``moof`` with its ``mdat``; a point is one whose first picture is a sync sample.

    ``sidx`` and ``mfra`` hold positions in the file, which no joiner has: they are left out.
    """

    name: ClassVar[str] = "fragmented MP4"

    def __init__(self) -> None:
        super().__init__()
        self._default_flags: dict[int, int] = {}
        """Of each track: the sample flags that hold where a fragment names none (§8.8.3)."""
        self._pictures: set[int] = set()
        """Ids of the tracks with video."""
        self._moof = b""

    def _next(self) -> Unit | None:
        if len(self._held) < 8:
            return None
        size = int.from_bytes(self._held[:4], "big")
        kind = bytes(self._held[4:8])
        header = 8
        if size == _LARGE:
            if len(self._held) < 16:
                return None
            size, header = int.from_bytes(self._held[8:16], "big"), 16
        if size < header or not kind.isalnum():
            raise NotMedia("a box without a size or a name")
        if size + len(self._moof) > UNIT_LIMIT:
            raise NotMedia(f"a fragment of more than {UNIT_LIMIT} bytes")
        box = self._take(size)
        return None if box is None else self._unit(kind, box, header)

    def _unit(self, kind: bytes, box: bytes, header: int) -> Unit:
        if kind == b"ftyp" and not self.head:
            return self._add_to_head(box)
        if kind == b"moov":
            self._read_moov(box[header:])
            return self._add_to_head(box)
        if kind == b"moof":
            if not self._default_flags:
                raise NotMedia("a fragment before the head")
            self._moof = box
        elif kind == b"mdat":
            if not self._moof:
                raise NotMedia("MP4 without fragments: -movflags +frag_keyframe+empty_moov")
            moof, self._moof = self._moof, b""
            return Unit(moof + box, self._starts_with_sync(moof[8:]))
        return NOTHING

    def _read_moov(self, moov: bytes) -> None:
        if self._default_flags:
            raise NotMedia("a second head")
        for kind, data in boxes(moov):
            if kind == b"trak":
                track, handler = _track(data)
                if handler == b"vide":
                    self._pictures.add(track)
            elif kind == b"mvex":
                for _, trex in (box for box in boxes(data) if box.kind == b"trex"):
                    self._default_flags[_u32(trex, 4)] = _u32(trex, 20)
        if not self._default_flags:
            raise NotMedia("MP4 without fragments: -movflags +frag_keyframe+empty_moov")

    def _starts_with_sync(self, moof: bytes) -> bool:
        """Whether the first picture can be decoded by itself; without video any fragment will do."""
        for kind, data in boxes(moof):
            if kind != b"traf":
                continue
            parts = list(boxes(data))
            tfhd = next((box.data for box in parts if box.kind == b"tfhd"), b"")
            track, flags = self._header(tfhd)
            if self._pictures and track not in self._pictures:
                continue
            for trun in (box.data for box in parts if box.kind == b"trun"):
                if _u32(trun, 4):
                    return not _first_flags(trun, flags) & _NON_SYNC
        return False

    def _header(self, tfhd: bytes) -> tuple[int, int]:
        """Track and sample flags of a track fragment (§8.8.7)."""
        present, track = _u32(tfhd, 0), _u32(tfhd, 4)
        if present & 0x1:
            raise NotMedia("fragments with positions in the file: -movflags +default_base_moof")
        if not present & 0x20:
            return track, self._default_flags.get(track, 0)
        before = sum(4 for flag in (0x2, 0x8, 0x10) if present & flag)
        return track, _u32(tfhd, 8 + before)


def boxes(data: bytes) -> Iterator[Box]:
    """The boxes that ``data`` consists of; raises ``NotMedia`` where they do not fit."""
    at = 0
    while at < len(data):
        size = _u32(data, at)
        if size < 8 or at + size > len(data):
            raise NotMedia("a box larger than the one around it")
        yield Box(data[at + 4 : at + 8], data[at + 8 : at + size])
        at += size


def _track(trak: bytes) -> tuple[int, bytes]:
    """Track id and handler type (§8.3.2, §8.4.3)."""
    track, handler = 0, b""
    for kind, data in boxes(trak):
        if kind == b"tkhd":
            track = _u32(data, 20 if data[0] else 12)
        elif kind == b"mdia":
            handler = next((box.data[8:12] for box in boxes(data) if box.kind == b"hdlr"), b"")
    return track, handler


def _first_flags(trun: bytes, default: int) -> int:
    """Flags of the first sample of a run (§8.8.8)."""
    present = _u32(trun, 0)
    at = 12 if present & 0x1 else 8
    if present & 0x4:
        return _u32(trun, at)
    if present & 0x400:
        return _u32(trun, at + sum(4 for flag in (0x100, 0x200) if present & flag))
    return default


def _u32(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise NotMedia("a box that is too short")
    return int.from_bytes(data[at : at + 4], "big")
