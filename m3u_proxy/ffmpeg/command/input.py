"""Where FFmpeg reads the stream, and how its command line says so. Pure.

There are two places: standard input, fed by a relay, and an address of ours on the loopback. Both are made by
the proxy; nothing a viewer or an editor wrote becomes an input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from m3u_proxy.ffmpeg.command.arguments import Setting
from m3u_proxy.ffmpeg.command.options import flags_set

# Without `nobuffer`: with it FFmpeg forgets what it has read to learn the codecs, the first keyframe with it,
# and a stream of 2 s between keyframes starts 2 s later (measured with 5.1 and 9.0). A smaller probe misses
# the audio of a stream of many Mbit/s.
_FLAGS = ("genpts",)
_ANALYSIS = {"analyzeduration": "500000", "probesize": "2000000"}
_ANALYSED_SHORTLY = frozenset({"mpegts", "hls"})
_OF_MPEGTS = frozenset({"resync_size", "fix_teletext_pts", "scan_all_pmts", "merge_pmt_versions"})
"""Private options of one demuxer: FFmpeg refuses to start when another one is given them."""
_IN_PLAYLISTS = "hls,mpegts,mov,aac,ac3,eac3,mp3,webvtt"
"""What segments may hold. FFmpeg guesses their format, and some formats name further files."""


@dataclass(frozen=True, slots=True)
class Input:
    """Where FFmpeg reads; made by us, never from a viewer's or an editor's string."""

    url: str = "pipe:0"
    demuxer: str = "mpegts"
    """FFmpeg's name for the format: mpegts, hls, mov, matroska, avi, flv, ogg, mp3, aac, mpeg."""
    protocols: str = "pipe"
    """All that FFmpeg may speak: ``http,tcp``, and ``crypto`` only for a playlist with AES keys."""
    is_paced: bool = False
    """Read at its own speed: a file comes faster than that, and a live window would fly past."""
    is_finite: bool = False
    """Its end, with exit code 0, is completion and no failure."""

    @property
    def is_stdin(self) -> bool:
        """Whether the child needs a pipe."""
        return self.url == "pipe:0"

    @property
    def folder(self) -> str:
        """The part of the address that it has in common with those of its segments."""
        return self.url.rpartition("/")[0]

    def argv(self, settings: Iterable[Setting]) -> Iterator[str]:
        """The stream's ``-i`` with everything in front of it; ``settings`` are the template's own."""
        flags = list(_FLAGS)
        analysis = dict(_ANALYSIS) if self.demuxer in _ANALYSED_SHORTLY else {}
        rest: list[Setting] = []
        for one in settings:
            if one.name == "fflags":
                flags += [flag for flag in flags_set(one.value or "") if flag != "nobuffer"]
            elif one.name in _ANALYSIS:
                analysis[one.name] = one.value or ""
            elif one.name == "ss" and not self.is_finite:
                continue  # a live stream begins where it is: FFmpeg would wait for that time to come
            elif one.name not in _OF_MPEGTS or self.demuxer == "mpegts":
                rest.append(one)
        yield from ("-fflags", "+" + "+".join(dict.fromkeys(flags)))
        for name, value in analysis.items():
            yield from (f"-{name}", value)
        for one in rest:
            yield from one.argv
        if self.is_paced:
            yield "-re"
        yield from ("-protocol_whitelist", self.protocols)
        if not self.is_stdin:
            if self.demuxer == "hls":  # no next segment beside this one: accounts allow one request
                yield from ("-http_multiple", "0")
            yield from ("-format_whitelist", _IN_PLAYLISTS if self.demuxer == "hls" else self.demuxer)
        yield from ("-f", self.demuxer, "-i", self.url)
