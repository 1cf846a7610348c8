"""What a writer has on disk, as far as it may be shown: complete segments only, each held open.

A segment that is held open stays readable after its file was deleted, by FFmpeg or together with the whole
directory, so that a slow player never meets a missing one. Every method here but ``begin`` does file I/O;
``look`` is called off the loop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from m3u_proxy.media.particulars import LOOKED, Looks
from m3u_proxy.media.timeline import ListedSegment, Timeline, parse
from m3u_proxy.storage.directories import Claim

PLAYLIST = "index.m3u8"
PLAYLIST_LIMIT = 256 * 1024


@dataclass(eq=False)
class Segment:
    """One finished file. ``data`` is filled by whoever keeps segments in memory, and dropped on close."""

    name: str
    size: int
    fd: int
    folder: str = ""
    """Name of the directory under ``HLS_TEMP_DIR`` in which it lies."""
    data: bytes | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """The whole file; blocking."""
        return os.pread(self.fd, self.size, 0)

    def has_name(self) -> bool:
        """Whether others can still open it by its name; FFmpeg deletes what is open here. Blocking."""
        try:
            return self.fd >= 0 and os.fstat(self.fd).st_nlink > 0
        except OSError:
            return False

    def close(self) -> None:
        """Let go of file and memory. Idempotent."""
        self.data = None
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


@dataclass(frozen=True)
class Delivery:
    """What one look found: new entries, and their files by number, with that of the map they need."""

    entries: list[ListedSegment]
    files: dict[int, Segment]
    map_name: str | None
    media_info: Mapping[str, object]
    """See `Looks.info`."""


class Shelf:
    """Looks at one claimed directory after the other, and keeps what it found in them until ``close``."""

    def __init__(self, timeline: Timeline) -> None:
        self._claim: Claim | None = None
        self._timeline = timeline
        self._known_map: str | None = None
        self._looks = Looks()
        self._opened: list[Segment] = []
        self._first = 0
        self._here: list[Segment] = []
        """What was found in the directory in use and not removed from it by ``trim``."""
        self.hollow = False
        """Whether the last look met an empty playlist or an empty segment where one with content is due."""

    def begin(self, claim: Claim, first: int = 0) -> None:
        """From now on another FFmpeg writes, into another directory; its first segment has that number."""
        self._claim = claim
        self._first = first
        self._here = []
        self._looks = Looks()
        self._known_map = None
        self.hollow = False

    def look(self) -> Delivery | None:
        """New finished segments since the last look, or ``None``. Blocking.

        A playlist that is empty, cut off or names a segment of 0 bytes is left for the next look: on a full
        disk FFmpeg goes on and says nothing.
        """
        assert self._claim is not None
        raw = self._claim.read(PLAYLIST, PLAYLIST_LIMIT)
        self.hollow = raw == b""
        if not raw:
            return None
        try:
            written = parse(raw.decode(), self._first)
        except ValueError:
            return None
        files: dict[int, Segment] = {}
        if written.map_name and written.map_name != self._known_map:
            init = self._open(written.map_name)
            if init is None:
                return None
            files[self._timeline.map_number] = init
        entries: list[ListedSegment] = []
        for entry in self._timeline.missing(written):
            segment = self._open(entry.name)
            if segment is None:
                break
            files[entry.number] = segment
            entries.append(entry)
            if self._looks.is_open:
                self._looks.look(os.pread(segment.fd, LOOKED, 0))
            self._here.append(segment)
        if not entries:
            return None
        self._known_map = written.map_name
        return Delivery(entries, files, written.map_name, self._looks.info)

    def _open(self, name: str) -> Segment | None:
        assert self._claim is not None
        try:
            fd = self._claim.open(name)
        except OSError:
            return None
        size = os.fstat(fd).st_size
        if size == 0:
            os.close(fd)
            self.hollow = True
            return None
        segment = Segment(name, size, fd, self._claim.name)
        self._opened = [one for one in self._opened if one.fd >= 0]
        self._opened.append(segment)
        return segment

    def trim(self) -> None:
        """Remove the files of segments that were closed, and what was finished before them. Blocking.

        For an FFmpeg that deletes none itself.
        """
        assert self._claim is not None
        closed = [one for one in self._here if one.fd < 0]
        if closed:
            self._claim.trim(closed[-1].name)
            self._here = [one for one in self._here if one.fd >= 0]

    def close(self) -> None:
        """Close every segment that is still open, also those of a look whose result was never taken."""
        for segment in self._opened:
            segment.close()
        self._opened.clear()
