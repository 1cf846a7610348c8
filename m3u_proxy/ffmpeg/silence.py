"""What FFmpeg is told to listen for, and what it says that it hears. Pure."""

from __future__ import annotations

import re

from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.model import SilenceCheck

LONGEST = 86_400.0
"""Seconds of silence, and no more, that the filter can be told to wait for."""
_WORDS = re.compile(rb"\bsilence_(start|end): ")
_REST = 256
"""Bytes of an unfinished line that are kept; a line of the filter is shorter."""


def listen_argv(ffmpeg: str, check: SilenceCheck, *, source: Input, progress_fd: int) -> list[str]:
    """The command that decodes the first audio of a source and writes nothing but what it hears."""
    duration = min(check.duration, LONGEST)
    return [
        *(ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "info"),
        *("-progress", f"pipe:{progress_fd}"),
        *("-vn", "-sn", "-dn"),  # of the input: its packets are dropped before anything decodes them
        *source.argv(()),
        *("-map", "0:a:0", "-af", f"silencedetect=noise={check.threshold_db:.3f}dB:d={duration:.3f}"),
        *("-f", "null", "-"),
    ]


class SilenceParser:
    """Follows the filter's lines on standard error, among whatever else is said there."""

    def __init__(self) -> None:
        self.is_silent = False
        """Whether a silence has begun, ``duration`` ago or more, and has not ended."""
        self.ends = 0
        """Silences that a sound has ended."""
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what was read, cut anywhere."""
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        for word in _WORDS.findall(whole + newline):
            self.is_silent = word == b"start"
            self.ends += word == b"end"
        self._rest = rest[-_REST:]
