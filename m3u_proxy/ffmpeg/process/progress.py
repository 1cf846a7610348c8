"""FFmpeg's own live figures, as ``-progress`` reports them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_REPORTED = frozenset({"frame", "fps", "bitrate", "total_size", "out_time_us", "speed"})
_NUMBER = re.compile(r"-?[0-9]{1,18}(?:\.[0-9]{1,9})?")
_LINE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of ``-progress``; what FFmpeg does not know yet is ``None``."""

    frame: int | None
    fps: float | None
    bitrate: float | None
    """Bits per second of the output."""
    total_size: int | None
    """Bytes written."""
    out_time_us: int | None
    """Position in the output, in microseconds."""
    speed: float | None
    """1.0 is real time."""
    progress: str
    """``continue``, or ``end`` for the last report."""

    @property
    def media_info(self) -> dict[str, object]:
        """What editors show of it."""
        shown: dict[str, object] = {"frame": self.frame, "fps": self.fps, "speed": self.speed}
        return {name: value for name, value in shown.items() if value is not None}


class ProgressParser:
    """Reads the pipe given to ``-progress``; ``latest`` is the newest complete report."""

    def __init__(self) -> None:
        self.latest: Progress | None = None
        self._rest = b""
        self._values: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """Take what was read, cut anywhere."""
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-_LINE_BYTES:]
        for line in lines:
            name, _, value = line[:_LINE_BYTES].decode("ascii", "replace").strip().partition("=")
            if name == "progress":
                self.latest = _report(self._values, value)
                self._values = {}
            elif name in _REPORTED:
                self._values[name] = value


def _report(values: dict[str, str], progress: str) -> Progress:
    def number(name: str) -> float | None:
        match = _NUMBER.match(values.get(name, "").strip())
        return float(match[0]) if match else None

    def integer(name: str) -> int | None:
        found = number(name)
        return None if found is None else int(found)

    kilobits = number("bitrate")
    return Progress(
        frame=integer("frame"),
        fps=number("fps"),
        bitrate=None if kilobits is None else round(kilobits * 1000, 1),
        total_size=integer("total_size"),
        out_time_us=integer("out_time_us"),
        speed=number("speed"),
        progress=progress,
    )
