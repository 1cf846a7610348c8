"""How many channels a sound has: the fields of a frame's header that say so. Pure.

ADTS: ISO/IEC 14496-3 §1.A.2.2; MPEG audio: ISO/IEC 11172-3 §2.4.1.3; (E-)AC-3: ETSI TS 102 366 §4.4, §E.1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

HEADER: Final = 8
"""Bytes of a header that are looked at."""
_BY_ACMOD: Final = (2, 1, 2, 3, 3, 4, 4, 5)
"""Full-range channels for each acmod."""
_LAST_AC3: Final = 10
"""bsid above which the header is that of E-AC-3."""


def channels_of(codec: str, data: bytes) -> int | None:
    """What the first header in ``data``, bytes of an elementary stream, tells; ``None`` if none does."""
    if codec not in _READERS:
        return None
    sync, read = _READERS[codec]
    at = data.find(sync)
    while 0 <= at <= len(data) - HEADER:
        channels = read(data[at : at + HEADER])
        if channels:
            return channels
        at = data.find(sync, at + 1)
    return None


def _adts(head: bytes) -> int | None:
    if head[1] & 0xF6 != 0xF0:
        return None
    configuration = (head[2] & 1) << 2 | head[3] >> 6
    return 8 if configuration == 7 else configuration  # 0: said elsewhere


def _mpeg(head: bytes) -> int | None:
    is_header = head[1] & 0xE0 == 0xE0 and head[1] & 0x06 and head[2] >> 4 not in (0, 15)
    return (1 if head[3] >> 6 == 3 else 2) if is_header else None


def _ac3(head: bytes) -> int | None:
    if head[5] >> 3 > _LAST_AC3:
        return _BY_ACMOD[head[4] >> 1 & 7] + (head[4] & 1)
    acmod = head[6] >> 5
    before = 2 * ((acmod & 1 and acmod != 1) + bool(acmod & 4) + (acmod == 2))  # bits of mix levels
    return _BY_ACMOD[acmod] + (int.from_bytes(head[6:8], "big") >> (12 - before) & 1)


_READERS: Final[Mapping[str, tuple[bytes, Callable[[bytes], int | None]]]] = {
    "aac": (b"\xff", _adts),
    "mp2": (b"\xff", _mpeg),
    "mp3": (b"\xff", _mpeg),
    "ac3": (b"\x0b\x77", _ac3),
    "eac3": (b"\x0b\x77", _ac3),
}
CODECS: Final = frozenset(_READERS)
"""Those of which the channels can be told, named as FFmpeg does."""
