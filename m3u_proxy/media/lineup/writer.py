"""Lineups as they are written, and the keys of channels. Pure; `m3u_proxy.media.lineup.reader` reads them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

KEY = 64
"""Characters of a key before it is numbered."""


def header(attributes: Mapping[str, str], *, guides: Sequence[str]) -> str:
    """The first line of a lineup; ``guides`` are the addresses of those that it names."""
    kept = _kept(attributes)
    if guides:
        listed = ",".join(guides)
        kept = {"url-tvg": listed, "x-tvg-url": listed} | {
            name: value for name, value in kept.items() if name not in ("url-tvg", "x-tvg-url")
        }
    return f"#EXTM3U{_written(kept)}\n"


def entry(name: str, url: str, attributes: Mapping[str, str]) -> str:
    """The lines of one entry; nothing in it can begin a line of its own."""
    return f"#EXTINF:-1{_written(_kept(attributes))},{_one_line(name)}\n{url}\n"


def _kept(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """Without addresses, but for those of pictures: they are the provider's, and hold credentials."""
    if not any("://" in value for name, value in attributes.items() if "logo" not in name):
        return attributes
    return {name: value for name, value in attributes.items() if "logo" in name or "://" not in value}


def _written(attributes: Mapping[str, str]) -> str:
    return "".join([f' {name}="{_quotable(value)}"' for name, value in attributes.items()])


def _quotable(value: str) -> str:
    return _one_line(value).replace('"', "'")


def _one_line(text: str) -> str:
    return (
        text if text.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in text).split())
    )


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
