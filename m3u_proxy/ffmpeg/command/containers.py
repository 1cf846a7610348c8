"""Containers that FFmpeg writes for us, by the names that callers give them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Piped(NamedTuple):
    """A container in one body, on standard output."""

    muxer: str
    """FFmpeg's name for it."""
    content_type: str


PIPED: Final[Mapping[str, Piped]] = {
    "mpegts": Piped("mpegts", "video/mp2t"),
    "mp4": Piped("mp4", "video/mp4"),
    "mov": Piped("mov", "video/mp4"),
    "matroska": Piped("matroska", "video/x-matroska"),
    "mkv": Piped("matroska", "video/x-matroska"),
    "webm": Piped("webm", "video/webm"),
    "mpeg": Piped("mpeg", "video/mpeg"),
    "flv": Piped("flv", "video/x-flv"),
    "ogg": Piped("ogg", "video/ogg"),
    "mp3": Piped("mp3", "audio/mpeg"),
    "adts": Piped("adts", "audio/aac"),
}
FORMATS: Final = frozenset({"hls", *PIPED})
"""Values of ``output_format`` and of the variable ``format``."""
