"""Variables of a playlist: EXT-X-DEFINE and ``{$name}`` (8216bis §4.3, §4.4.2.3). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from m3u_proxy.media.hls.attributes import unquoted
from m3u_proxy.media.hls.guard import is_clean
from m3u_proxy.media.hls.model import NotAPlaylist

_USE: Final = re.compile(r"\{\$([A-Za-z0-9_-]++)\}")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")


class Variables:
    """The variables that a playlist defines, and what replacing them may cost."""

    def __init__(
        self, imported: Mapping[str, str], query: Mapping[str, str], *, line: int, total: int
    ) -> None:
        self.values: dict[str, str] = {}
        self._imported = imported
        self._query = query
        self._line = line
        """Characters of a line after replacing, at most."""
        self._left = total
        """Characters that may still be put in."""

    def define(self, attributes: Mapping[str, str]) -> None:
        """Take one EXT-X-DEFINE. The first definition of a name counts; one without a sound value is none."""
        name, value = "", None
        if "NAME" in attributes:
            name, value = unquoted(attributes["NAME"]), unquoted(attributes.get("VALUE"))
        elif "IMPORT" in attributes:
            name = unquoted(attributes["IMPORT"])
            value = self._imported.get(name)
        elif "QUERYPARAM" in attributes:
            name = unquoted(attributes["QUERYPARAM"])
            value = self._query.get(name)
        if value is not None and _NAME.fullmatch(name) and '"' not in value and is_clean(value):
            self.values.setdefault(name, value)

    def expand(self, text: str) -> str:
        """``text`` with the variables replaced; what is not defined stays. Raises :class:`NotAPlaylist`."""
        if "{$" not in text or not self.values:
            return text
        expanded = _USE.sub(self._value, text)
        if len(expanded) > self._line:
            raise NotAPlaylist("a line of the playlist is too long", reason="too_large")
        return expanded

    def _value(self, use: re.Match[str]) -> str:
        value = self.values.get(use[1], use[0])
        self._left -= len(value)
        if self._left < 0:
            raise NotAPlaylist("the variables of the playlist are too long", reason="too_large")
        return value
