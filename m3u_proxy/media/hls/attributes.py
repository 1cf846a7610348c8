"""Attribute lists, byte ranges and variables of HLS tags (RFC 8216 §4.2, §4.3.2.2; 8216bis §4.3). Pure.

Values are kept as written, quotes included: a list that needs no change is written as it was read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_ATTRIBUTE: Final = re.compile(r'(?:^|,)[ \t]*+([A-Za-z0-9_-]++)=("[^"]*+"(?=[ \t]*+(?:,|$))|[^",]*+(?=,|$))')
_BYTE_RANGE: Final = re.compile(r"([0-9]{1,19})(?:@([0-9]{1,19}))?")
_NUMBER: Final = re.compile(
    r'"?-?[0-9]+(?:\.[0-9]+)?"?|[0-9]+x[0-9]+|0[xX][0-9A-Fa-f]+'
    r'|"(?:(?:avc[13]|hvc1|hev1|mp4a|ac-3|ec-3)(?:\.[0-9A-FHLa-f]{1,8})*+(?:, ?|(?=")))+"'  # RFC 6381
)
_MAX: Final = 2**63  # bytes: no resource is longer, and players count in signed 64 bits


def parse_list(text: str) -> dict[str, str]:
    """The attributes of ``text`` by name, in order. The first of a name counts; the rest is left out."""
    found: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(text):
        found.setdefault(match[1], match[2].rstrip(" \t"))
    return found


def write_list(attributes: Mapping[str, str]) -> str:
    """An attribute list, as ``parse_list`` reads it."""
    return ",".join(f"{name}={value}" for name, value in attributes.items())


def words(attributes: Mapping[str, str]) -> str:
    """The attributes that can hold words: neither numbers nor resolutions nor usual codecs."""
    return ",".join(
        f"{name}={value}" for name, value in attributes.items() if _NUMBER.fullmatch(value) is None
    )


def unquoted(value: str | None) -> str:
    """A quoted-string's content; servers that leave the quotes out are understood. ``""`` for no value."""
    return "" if value is None else value.strip('"').strip(" ")


def byte_range(text: str, *, implied: int = 0) -> tuple[int, int] | None:
    """First and last byte of ``length[@offset]``; ``implied`` is the offset where none is given.

    ``None`` where it is no such thing, is empty, or reaches past what 63 bits count.
    """
    match = _BYTE_RANGE.fullmatch(text.strip(" \t"))
    if match is None:
        return None
    length = int(match[1])
    offset = implied if match[2] is None else int(match[2])
    return (offset, offset + length - 1) if length > 0 and offset + length < _MAX else None


def write_byte_range(span: tuple[int, int]) -> str:
    """``length@offset``: the offset is always named, for the range before it may not be in the playlist."""
    first, last = span
    return f"{last - first + 1}@{first}"
