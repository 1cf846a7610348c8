"""What FFmpeg says on stderr, cut into lines and judged. Pure.

Words decide nothing but one thing: a write error of our own output, which ends a run at once.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

LINES_KEPT = 200
LINE_BYTES = 1024
LINES_PER_FEED = 8
"""Lines taken whole from each end of one read; of those between only the ones that speak of an error."""

Side = Literal["input", "output", "unknown"]

_PATTERNS = (
    ("no_space", "no space left"),
    ("quota", "disk quota exceeded"),
    ("read_only", "read-only file system"),
    ("disk_full", "disk full"),
    ("permission_denied", "permission denied"),
    ("io_error", "i/o error"),
    ("io_error", "input/output error"),
    ("cannot_write", "cannot write"),
    ("error_writing", "error writing"),
    ("failed_to_open", "failed to open"),
)
_WRITERS_ONLY = frozenset({"no_space", "quota", "read_only", "disk_full", "cannot_write", "error_writing"})
_NOT_DELETED = "failed to delete old segment"
_INPUT = re.compile(
    r"segment \d+ of playlist|error opening input|https?://|\[(https?|tcp|tls|crypto|fd) @|"
    r"\[(in|[vasd]?ist|dec)[#:]|\b(pipe|fd):0\b"
)
_OUTPUT = re.compile(
    r"\[(out|[vasd]?ost|enc)[#:]|av_interleaved_write_frame|\b(pipe|fd):1\b|"
    r"\b(index\.m3u8|segment_[\d_]+\.(ts|m4s)|init\.mp4)(\.tmp)?\b"
)
_NEEDLES = tuple(text.encode() for _, text in _PATTERNS)
_LINE_END = re.compile(rb"[\r\n]+")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])?")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What one line means. ``side`` and ``pattern`` are ``None`` for a line that says nothing of writing."""

    side: Side | None
    pattern: str | None
    fatal: bool = False
    """Our own output cannot be written: the run is lost, whatever its progress says."""


def classify(line: str) -> Diagnosis:
    """Judge one line of FFmpeg's stderr, whichever version wrote it.

    The side is settled before the words: a segment that the input misses and one that we cannot create are
    both "failed to open". An unknown side asks for a look at progress and disk, no more.
    """
    lowered = line.lower()
    if _NOT_DELETED in lowered:
        return Diagnosis("output", "not_deleted")
    pattern = next((slug for slug, text in _PATTERNS if text in lowered), None)
    if pattern is None:
        return Diagnosis(None, None)
    if _INPUT.search(lowered):
        return Diagnosis("input", pattern)
    if pattern in _WRITERS_ONLY or _OUTPUT.search(lowered):
        return Diagnosis("output", pattern, fatal=True)
    return Diagnosis("unknown", pattern)


class StderrLines:
    """The last lines of a child's stderr, and the lines as they come.

    Work and memory per read are bounded: in a flood harmless lines are left out, which ``suppressed`` counts,
    but not the first and the last line that speak of an error. ``redact`` masks credentials in a line.
    """

    def __init__(self, redact: Callable[[str], str]) -> None:
        self.suppressed = 0
        self._redact = redact
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._rest = b""
        self._skipping = False
        """Whether the line in the making was too long and has been handed out already."""

    def feed(self, data: bytes) -> list[str]:
        """Take what was read, cut anywhere; returns the lines that ended, redacted, without empty ones."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r"))
        lines: list[bytes] = []
        if end >= 0:
            lines = self._lines_of(self._rest + data[:end])
            if self._skipping:
                del lines[:1]
            self._rest, self._skipping = b"", False
        self._rest += data[end + 1 :][: LINE_BYTES + 1]
        if len(self._rest) > LINE_BYTES:
            if not self._skipping:
                lines.append(self._rest)
            self._rest, self._skipping = b"", True
        found = [text for line in lines if (text := self._clean(line))]
        self._lines.extend(found)
        return found

    def last(self, count: int) -> list[str]:
        """The newest ``count`` lines, oldest first."""
        return list(self._lines)[-count:] if count > 0 else []

    def _lines_of(self, text: bytes) -> list[bytes]:
        lines = _LINE_END.split(text, LINES_PER_FEED)
        if len(lines) <= LINES_PER_FEED:
            return lines
        flood = lines.pop()
        cut = len(flood)
        for _ in range(LINES_PER_FEED):
            cut = max(flood.rfind(b"\n", 0, cut), flood.rfind(b"\r", 0, cut))
            if cut < 0:
                return lines + _LINE_END.split(flood)
        middle = flood[:cut]
        errors = _errors_in(middle)
        self.suppressed += max(middle.count(b"\n"), middle.count(b"\r")) + 1 - len(errors)
        return lines + errors + _LINE_END.split(flood[cut + 1 :])

    def _clean(self, line: bytes) -> str:
        text = line[:LINE_BYTES].decode("utf-8", "replace")
        return self._redact(_CONTROL.sub("", _ESCAPE.sub("", text)).strip())


def _errors_in(text: bytes) -> list[bytes]:
    """For every pattern the first and the last line of ``text`` that holds it, in their order."""
    lowered = text.lower()
    starts = {at for needle in _NEEDLES for at in (lowered.find(needle), lowered.rfind(needle)) if at >= 0}
    lines = {}
    for at in sorted(starts):
        start = max(text.rfind(b"\n", 0, at), text.rfind(b"\r", 0, at)) + 1
        border = _LINE_END.search(text, at)
        lines[start] = text[max(start, at - LINE_BYTES // 2) : border.start() if border else len(text)]
    return list(lines.values())
