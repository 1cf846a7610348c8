"""Matroska and WebM (RFC 9559, EBML: RFC 8794): a head of EBML, Info and Tracks, then clusters. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final, NamedTuple

from m3u_proxy.media.bodies.cutter import NOTHING, Cutter, Unit
from m3u_proxy.media.mpegts import NotMedia

_EBML: Final = 0x1A45DFA3
_SEGMENT: Final = 0x18538067
_INFO: Final = 0x1549A966
_TRACKS: Final = 0x1654AE6B
_TAGS: Final = 0x1254C367
_CLUSTER: Final = 0x1F43B675
_TIMESTAMP: Final = 0xE7
_SIMPLE_BLOCK: Final = 0xA3
_BLOCK_GROUP: Final = 0xA0
_BLOCK: Final = 0xA1
_REFERENCE: Final = 0xFB
_TRACK_ENTRY: Final = 0xAE
_TRACK_NUMBER: Final = 0xD7
_TRACK_TYPE: Final = 0x83
_VIDEO: Final = 1

_SEGMENT_BEGIN: Final = b"\x18\x53\x80\x67\x01" + b"\xff" * 7
"""A segment of unknown size: a joiner gets less of it than was announced."""
_LONGEST_HEADER: Final = 12
_OF_CLUSTERS: Final = frozenset(
    {_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, 0xA7, 0xAB, 0x5854, 0xEC, 0xBF, 0xAF}
)
"""What a cluster of unknown size may hold: anything else is its end (RFC 8794 §6.2)."""


class Element(NamedTuple):
    """An element whose header is known; ``size`` is ``None`` where the writer did not know it."""

    number: int
    header: int
    size: int | None


class Matroska(Cutter):
    """A unit is a cluster; a point is one whose first picture is a keyframe.

    Clusters are cut in front of every keyframe, and those of unknown size into blocks, so that each unit has
    its size and its timestamp. Positions in the file, which no joiner has, are left out: SeekHead, Cues.
    """

    name: ClassVar[str] = "Matroska"

    def __init__(self) -> None:
        super().__init__()
        self._pictures: set[int] = set()
        """Numbers of the tracks with video."""
        self._ready: list[Unit] = []
        """Units of a cluster that was cut, the next one last."""
        self._has_begun = False
        self._open_timestamp: bytes | None = None
        """Of the cluster of unknown size that is open."""

    def _next(self) -> Unit | None:
        if self._ready:
            return self._ready.pop()
        element = _element(bytes(self._held[:_LONGEST_HEADER]))
        if element is None:
            return None
        if element.number == _SEGMENT:
            self._take(element.header)
            return self._add_to_head(_SEGMENT_BEGIN)
        if element.size is None:
            if element.number != _CLUSTER:
                raise NotMedia("an element of unknown size")
            self._take(element.header)
            self._open_timestamp, self._has_begun = b"", True
            return NOTHING
        if not self.head and element.number != _EBML:
            raise NotMedia("no EBML header")
        data = self._take(element.header + element.size)
        return None if data is None else self._unit(element, data)

    def _unit(self, element: Element, data: bytes) -> Unit:
        if self._open_timestamp is not None and element.number in _OF_CLUSTERS:
            return self._block(element, data)
        self._open_timestamp = None
        if element.number == _CLUSTER:
            self._has_begun = True
            self._ready = list(self._cut(data[element.header :]))[::-1]
        elif element.number == _TRACKS:
            self._pictures = set(_pictures(data[element.header :]))
        is_head = not self._has_begun and element.number in (_EBML, _INFO, _TRACKS, _TAGS)
        return self._add_to_head(data) if is_head else NOTHING

    def _block(self, element: Element, data: bytes) -> Unit:
        """A block of a cluster of unknown size, as a cluster of its own."""
        if element.number == _TIMESTAMP:
            self._open_timestamp = data
        if element.number not in (_SIMPLE_BLOCK, _BLOCK_GROUP):
            return NOTHING
        is_key = not self._pictures or self._judge(element.number, data[element.header :])
        return _cluster([self._open_timestamp or b"", data], is_point=bool(is_key))

    def _cut(self, cluster: bytes) -> Iterator[Unit]:
        """The cluster, cut in front of each keyframe."""
        timestamp, blocks, is_point = b"", list[bytes](), not self._pictures
        has_picture = False
        for element, data in _children(cluster):
            if element.number == _TIMESTAMP:
                timestamp = data
            if element.number not in (_SIMPLE_BLOCK, _BLOCK_GROUP):
                continue
            verdict = self._judge(element.number, data[element.header :])
            if verdict and has_picture:
                yield _cluster([timestamp, *blocks], is_point=is_point)
                blocks, is_point = [], True
            elif verdict is not None and not has_picture:
                is_point = verdict
            has_picture |= verdict is not None
            blocks.append(data)
        if blocks:
            yield _cluster([timestamp, *blocks], is_point=is_point)

    def _judge(self, number: int, data: bytes) -> bool | None:
        """Whether a block is a keyframe; ``None`` for what is no picture (RFC 9559 §10.2)."""
        is_key = None
        if number == _BLOCK_GROUP:
            children = list(_children(data))
            is_key = all(element.number != _REFERENCE for element, _ in children)
            data = next((one[element.header :] for element, one in children if element.number == _BLOCK), b"")
        track, length = _number(data, keep_marker=False)
        if track not in self._pictures:
            return None
        return bool(data[length + 2] & 0x80) if is_key is None else is_key


def _cluster(parts: list[bytes], *, is_point: bool) -> Unit:
    body = b"".join(parts)
    size = (len(body) | 1 << 56).to_bytes(8, "big")
    return Unit(_CLUSTER.to_bytes(4, "big") + size + body, is_point)


def _number(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length and its bytes (RFC 8794 §4)."""
    if not data[0]:
        raise NotMedia("a number of more than 8 bytes")
    length = 9 - data[0].bit_length()
    if len(data) < length:
        raise IndexError
    value = int.from_bytes(data[:length], "big")
    return value if keep_marker else value & (1 << 7 * length) - 1, length


def _element(data: bytes) -> Element | None:
    """The element that ``data`` begins with, or ``None`` while its header is not complete."""
    if len(data) < _LONGEST_HEADER:
        longest = len(data)
        if not data or longest < 2 or longest < _header_bytes(data):
            return None
    number, begin = _number(data, keep_marker=True)
    if begin > 4:
        raise NotMedia("no Matroska element")
    size, length = _number(data[begin:], keep_marker=False)
    is_unknown = size == (1 << 7 * length) - 1
    return Element(number, begin + length, None if is_unknown else size)


def _header_bytes(data: bytes) -> int:
    """Bytes of the header that ``data`` begins with, as far as that can be told."""
    begin = 9 - data[0].bit_length()
    return begin + 1 if len(data) <= begin else begin + 9 - data[begin].bit_length()


def _children(data: bytes) -> Iterator[tuple[Element, bytes]]:
    """The elements that ``data`` consists of, each whole; raises ``NotMedia`` where they do not fit."""
    at = 0
    while at < len(data):
        element = _element(data[at : at + _LONGEST_HEADER])
        if element is None or element.size is None or at + element.header + element.size > len(data):
            raise NotMedia("an element larger than the one around it")
        end = at + element.header + element.size
        yield element, data[at:end]
        at = end


def _pictures(tracks: bytes) -> Iterator[int]:
    """Numbers of the tracks with video (RFC 9559 §5.1.4.1)."""
    for entry, whole in _children(tracks):
        if entry.number != _TRACK_ENTRY:
            continue
        fields = {
            element.number: int.from_bytes(data[element.header :], "big")
            for element, data in _children(whole[entry.header :])
            if element.number in (_TRACK_NUMBER, _TRACK_TYPE)
        }
        if fields.get(_TRACK_TYPE) == _VIDEO:
            yield fields.get(_TRACK_NUMBER, 0)
