"""The parts of a lineup's lines: attributes, where the name begins, header fields. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from sys import intern
from urllib.parse import unquote

ATTRIBUTES = 64
"""Attributes of one entry."""
HEADER_VALUE = 4096
"""Characters of a header field's value."""

# Only where a word begins: otherwise a long word is looked through once for each of its letters.
_ATTRIBUTE = re.compile(
    r"""(?<![A-Za-z0-9_.-])([A-Za-z0-9_.-]+)[ \t]{0,8}=[ \t]{0,8}(?:"([^"]*)"|'([^']*)'|([^\s,"']*))"""
)
_BEFORE_NAME = re.compile(
    r"""[^\s,"']*+(?>\s+[A-Za-z0-9_.-]+\s{0,8}=\s{0,8}(?:"[^"]*"|'[^']*'|[^\s,"']*)(?=[\s,]))*+\s*+,"""
)
_VLC_HEADERS = {"http-user-agent": "User-Agent", "http-referrer": "Referer", "http-origin": "Origin"}
_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_SHARED = frozenset(
    {"group-title", "catchup", "catchup-days", "tvg-shift", "radio", "tvg-country", "tvg-language"}
)
"""Attributes whose values many entries have in common."""


def attributes_of(text: str) -> dict[str, str]:
    """``name="value"`` pairs in their order, names in lower case; of two with one name the first counts."""
    found: dict[str, str] = {}
    for spelt, double, single, bare in _ATTRIBUTE.findall(text):
        name = intern(spelt.lower())
        if name not in found and len(found) < ATTRIBUTES:
            value = (double or single or bare).strip()
            found[name] = intern(value) if name in _SHARED else value
    return found


def name_at(text: str) -> int:
    """Where the name begins in what follows ``#EXTINF:``; its length where there is none.

    It follows the comma after the last quote of an attribute. Names have quotes, too, and values may have
    some that end nothing: where the attributes do not come one after the other up to a comma, the last quote
    of all counts. Where no comma is there, that belongs to the name, which then follows the comma after the
    last attribute.
    """
    if text.count('"') != 2 * text.count('="') and (before := _BEFORE_NAME.match(text)):
        return before.end()
    comma = text.find(",", text.rfind('"') + 1)
    if (comma < 0 and '"' in text) or ("='" in text and '"' not in text):
        end = 0
        for match in _ATTRIBUTE.finditer(text):
            end = match.end()
            if text[end : end + 1] == ",":
                break
        comma = text.find(",", end)
    return comma + 1 if comma >= 0 else len(text)


def vlc_header(option: str) -> str | None:
    """The header field that an option of VLC stands for, if it stands for one."""
    return _VLC_HEADERS.get(option)


def pairs(text: str) -> dict[str, str]:
    """``User-Agent=x&Referer=y``, as Kodi appends it; a ``!`` marks a name that is no setting of Kodi's."""
    found = {}
    for part in text.strip().split("&"):
        name, equals, value = part.partition("=")
        if equals and name:
            found[_canonical(unquote(name.strip().lstrip("!")))] = unquote(value.strip())
    return found


def json_headers(text: str) -> dict[str, str]:
    """``{"User-Agent": "x"}``, as ``#EXTHTTP`` holds it; nothing if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, Mapping):
        return {}
    return {_canonical(str(name)): value for name, value in found.items() if isinstance(value, str)}


def is_header(name: str, value: str) -> bool:
    """Whether it can be sent: RFC 9110 §5.1 and §5.5."""
    return bool(_FIELD_NAME.fullmatch(name)) and value.isprintable() and 0 < len(value) <= HEADER_VALUE


def _canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-")) if name.islower() else name
