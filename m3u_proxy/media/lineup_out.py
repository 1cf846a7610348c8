"""Lineups as they are written, and the keys of channels. Pure; `m3u_proxy.media.lineup` reads them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

KEY = 64
"""Characters of a key before it is numbered."""


def header(attributes: Mapping[str, str]) -> str:
    """The first line of a lineup."""
    return f"#EXTM3U{_written(attributes)}\n"


def entry(name: str, url: str, attributes: Mapping[str, str], options: tuple[str, ...] = ()) -> str:
    """The lines of one entry; nothing in it can begin a line of its own."""
    lines = [f"#EXTINF:-1{_written(attributes)},{_one_line(name)}", *map(_one_line, options), url]
    return "\n".join(lines) + "\n"


def _written(attributes: Mapping[str, str]) -> str:
    return "".join(
        f' {name}="{_one_line(value).replace(chr(34), chr(39))}"' for name, value in attributes.items()
    )


def _one_line(text: str) -> str:
    return " ".join(text.split()) if not text.isprintable() else text


def slug(name: str) -> str:
    """A channel's key: lower-case ASCII, ``_`` between words; ``&pictures`` is ``and_pictures``."""
    spelled = name.replace("&", " and ")
    ascii_only = _ascii(spelled).lower()
    return re.sub(r"[^a-z0-9]+", "_", ascii_only).strip("_")[:64].strip("_") or "channel"


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


class Keys:
    """Keys that are taken; a second ``news`` becomes ``news_2``."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def take(self, name: str) -> str:
        """The key for a channel of that name, taken from now on."""
        base = slug(name)
        key, number = base, self._next.get(base, 2)
        while key in self._taken:
            key = f"{base}_{number}"
            number += 1
        self._next[base] = number
        self._taken.add(key)
        return key

    def hold(self, key: str) -> None:
        """A key that somebody has chosen."""
        self._taken.add(key)

    def __contains__(self, key: str) -> bool:
        return key in self._taken
