"""Bodies that FFmpeg writes to a pipe, cut where a viewer can join, skip and be left behind. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from m3u_proxy.media.bodies.cutter import Cutter
from m3u_proxy.media.bodies.flv import Flv
from m3u_proxy.media.bodies.fragments import Mp4
from m3u_proxy.media.bodies.frames import Adts, Mp3
from m3u_proxy.media.bodies.matroska import Matroska
from m3u_proxy.media.bodies.ogg import Ogg
from m3u_proxy.media.bodies.program import Program

_CUTTERS: Final[Mapping[str, type[Cutter]]] = {
    "mp4": Mp4,
    "mov": Mp4,
    "matroska": Matroska,
    "mkv": Matroska,
    "webm": Matroska,
    "adts": Adts,
    "mp3": Mp3,
    "flv": Flv,
    "ogg": Ogg,
    "mpeg": Program,
}

CONTAINERS: Final = frozenset({"mpegts", *_CUTTERS})
"""Containers that a viewer can join in the middle."""


def cutter_of(container: str) -> type[Cutter]:
    """What cuts a container, by the name that a template gives it."""
    return _CUTTERS[container]
