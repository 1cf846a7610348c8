"""What keeps addresses and extra lines out of a rewritten playlist. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final
from urllib.parse import unquote

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHORTEST: Final = 3  # characters: what is shorter occurs in any text
_SYNTAX: Final = """
    #EXTM3U #EXTINF #EXT-X-VERSION #EXT-X-TARGETDURATION #EXT-X-MEDIA-SEQUENCE #EXT-X-PLAYLIST-TYPE:VOD
    #EXT-X-I-FRAME-STREAM-INF #EXT-X-SESSION-DATA-ID #EXT-X-SESSION-KEY #EXT-X-PRELOAD-HINT
    #EXT-X-RENDITION-REPORT EVENT #EXT-X-PART-INF #EXT-X-SERVER-CONTROL #EXT-X-PROGRAM-DATE-TIME
    TYPE=AUDIO VIDEO SUBTITLES CLOSED-CAPTIONS
    GROUP-ID LANGUAGE NAME DEFAULT=YES AUTOSELECT=NO FORCED INSTREAM-ID CHARACTERISTICS CHANNELS BANDWIDTH
    AVERAGE-BANDWIDTH CODECS RESOLUTION FRAME-RATE HDCP-LEVEL PROGRAM-ID PATHWAY-ID METHOD=AES-128
    SAMPLE-AES NONE
    KEYFORMATVERSIONS KEYFORMAT=IDENTITY URI IV BYTERANGE-START BYTERANGE-LENGTH DURATION INDEPENDENT GAP
    VALUE LAST-MSN LAST-PART CAN-SKIP-UNTIL HOLD-BACK PART-HOLD-BACK PART-TARGET PART MAP
""".casefold()
"""The words of the format itself: a host that is called like one of them cannot be told from it."""


def is_clean(text: str) -> bool:
    """Holds no control character and nothing that some reader takes for the end of a line."""
    return text.isprintable() or _CONTROL.search(text) is None


class Guard:
    """Knows the names that viewers must not see; compares them ignoring case and percent-encoding."""

    def __init__(self, names: Collection[str]) -> None:
        folded = {name.strip().casefold() for name in names}
        self._names = tuple(sorted(name for name in folded if len(name) >= _SHORTEST and name not in _SYNTAX))

    def names_in(self, text: str) -> bool:
        """One of the names occurs in ``text``."""
        folded = _folded(text)
        return any(name in folded for name in self._names)

    def suspects(self, text: str) -> bool:
        """``text`` holds one of the names, an absolute URL, an attribute for a URI or a control character."""
        if not is_clean(text):
            return True
        folded = _folded(text)
        return "://" in folded or "uri=" in folded or any(name in folded for name in self._names)


def _folded(text: str) -> str:
    folded = text.casefold()
    return f"{folded}\n{unquote(folded).casefold()}" if "%" in folded else folded
