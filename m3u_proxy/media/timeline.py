"""The media playlist that viewers of a writer see, whatever FFmpeg does with its own. Pure.

FFmpeg's playlist is read, never passed on: ours keeps one media sequence over all runs of FFmpeg
(RFC 8216 §4.3.3.2), never shrinks its target duration (§4.3.3.1) and names segments by our URLs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import floor, isfinite
from typing import NamedTuple

MAP = -1
"""Number of the first media initialization section; those of later runs count down from there."""


class BadPlaylist(ValueError):
    """FFmpeg's playlist is cut off or not one."""


class InitSection(NamedTuple):
    """A media initialization section: every run of FFmpeg has its own, under the same file name."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class ListedSegment:
    """One segment of a media playlist."""

    number: int
    """Media sequence number: the same for the whole life of the segment."""
    duration: float
    """Seconds."""
    name: str
    discontinuity: bool = False
    date: str | None = None
    """Value of EXT-X-PROGRAM-DATE-TIME, if the playlist gave one."""
    section: InitSection | None = None
    """The media initialization section it needs (RFC 8216 §4.3.2.5), if it needs one."""


@dataclass(frozen=True, slots=True)
class Written:
    """What FFmpeg's playlist says."""

    entries: tuple[ListedSegment, ...]
    map_name: str | None


def parse(text: str, first: int = 0) -> Written:
    """Read the media playlist that FFmpeg's ``hls`` muxer writes; raises ``BadPlaylist``.

    ``first`` is the number of its first segment of all, from which on they are counted here.
    """
    try:
        return _parse(text.splitlines(), first)
    except BadPlaylist:
        raise
    except ValueError as error:
        raise BadPlaylist(str(error)) from None


def _parse(lines: list[str], first: int) -> Written:
    if not lines or lines[0] != "#EXTM3U":
        raise BadPlaylist("no #EXTM3U")
    number, map_name = 0, None
    duration: float | None = None
    date: str | None = None
    discontinuity = False
    entries: list[ListedSegment] = []
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        match tag:
            case "#EXT-X-MEDIA-SEQUENCE":
                number = int(value) - first
            case "#EXTINF":
                duration = float(value.split(",", 1)[0])
                if not isfinite(duration) or duration < 0:
                    raise BadPlaylist("a duration that is none")
            case "#EXT-X-DISCONTINUITY":
                discontinuity = True
            case "#EXT-X-PROGRAM-DATE-TIME":
                date = value
            case "#EXT-X-MAP":
                map_name = value.partition('URI="')[2].partition('"')[0]
            case _ if line and not line.startswith("#"):
                if duration is None:
                    raise BadPlaylist("a segment without EXTINF")
                entries.append(ListedSegment(number + len(entries), duration, line, discontinuity, date))
                duration, date, discontinuity = None, None, False
    if duration is not None:
        raise BadPlaylist("cut off after EXTINF")
    return Written(tuple(entries), map_name)


def _nearest(seconds: float) -> int:
    """The nearest integer, halves upwards: what RFC 8216 §4.3.3.1 compares the target duration with."""
    return floor(seconds + 0.5)


def _moment(date: str | None) -> datetime | None:
    """A date with its offset from UTC, as FFmpeg writes it; ``None`` for anything else."""
    try:
        moment = datetime.fromisoformat(date or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else None


class Mark(NamedTuple):
    """What a timeline has promised its players, for the one that follows it under the same address."""

    number: int
    """Media sequence number of the segment to come."""
    discontinuities: int
    target: int


class Timeline:
    """Segments in order, the last ``window`` of them listed, ``extra`` more still served.

    ``target`` is the least target duration in seconds; it rises only when a longer segment comes.
    """

    def __init__(self, window: int, extra: int, target: float) -> None:
        self._window = window
        self._extra = extra
        self._target = max(1, _nearest(target))
        self._entries: deque[ListedSegment] = deque()
        self._discontinuities = 0
        self._base = 0
        self._last = -1
        self._break = False
        self._ended = False
        self._due: datetime | None = None
        """End of the last dated segment: no date may lie before it."""
        self._delay: timedelta | None = None
        """Added to this FFmpeg's dates; ``None`` until its first one is known."""
        self.map_name: str | None = None
        """File name of the media initialization section of the segments to come, if they need one."""
        self.map_number = MAP
        """Its number, as ``url`` of ``render`` is given it."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def next(self) -> int:
        """Media sequence number of the segment to come."""
        return self._base + self._last + 1

    @property
    def target(self) -> int:
        """Target duration in seconds."""
        return self._target

    def missing(self, written: Written) -> list[ListedSegment]:
        """Segments of FFmpeg's playlist that are not here yet, numbered as we number them.

        Where FFmpeg has dropped some that never came here, our numbers go on without a gap (RFC 8216 §3) and
        the seam is marked.
        """
        fresh = [entry for entry in written.entries if entry.number > self._last]
        if fresh and self._entries:
            lost = fresh[0].number - self._last - 1
            self._base -= lost
            self._last += lost
            self._break |= lost > 0
        return [replace(entry, number=entry.number + self._base) for entry in fresh]

    def extend(self, entries: Iterable[ListedSegment]) -> None:
        """Append what ``missing`` returned; the oldest segments are no longer served."""
        assert not self._ended
        section = None if self.map_name is None else InitSection(self.map_number, self.map_name)
        for entry in entries:
            self._last = entry.number - self._base
            self._target = max(self._target, _nearest(entry.duration))
            is_seam = entry.discontinuity or self._break
            self._entries.append(
                replace(entry, discontinuity=is_seam, section=section, date=self._date(entry))
            )
            self._break = False
        self.drop(self.unlisted - self._extra)

    @property
    def unlisted(self) -> int:
        """How many are served that have left the playlist."""
        return max(0, len(self._entries) - self._window)

    def drop(self, count: int) -> None:
        """The oldest of those that have left the playlist are no longer served."""
        for _ in range(min(count, self.unlisted)):
            self._discontinuities += self._entries.popleft().discontinuity

    def _date(self, entry: ListedSegment) -> str | None:
        """When the segment was sent, as players are told.

        FFmpeg dates its first segment by its own start, although a source hands it some seconds at once: its
        clock is ahead, and that of its successor would go back.
        """
        date = _moment(entry.date)
        if date is None:
            return entry.date
        if self._delay is None:
            self._delay = max(timedelta(), self._due - date) if self._due else timedelta()
        self._due = date + self._delay + timedelta(seconds=entry.duration)
        return (date + self._delay).isoformat(timespec="milliseconds") if self._delay else entry.date

    def served(self) -> set[int]:
        """Numbers of all that may still be fetched: segments, and the sections they need."""
        sections = {entry.section.number for entry in self._entries if entry.section}
        return sections.union(entry.number for entry in self._entries)

    def mark(self) -> Mark:
        """Where a later timeline has to go on."""
        listed = sum(entry.discontinuity for entry in self._entries)
        return Mark(self.next, self._discontinuities + listed, self._target)

    def follow(self, mark: Mark) -> None:
        """Go on where an earlier timeline ended, before the first segment; the seam is marked."""
        assert not self._entries
        self._base, self._discontinuities = mark.number, mark.discontinuities
        self._target = max(self._target, mark.target)
        self._break = mark.number > 0

    def restart(self) -> None:
        """A new FFmpeg continues this timeline: its numbers begin at 0, ours go on, the seam is marked."""
        self._base, self._last = self.next, -1
        self._break = self._base > 0
        self._delay = None
        self.map_name = None
        self.map_number -= 1

    def end(self) -> None:
        """The last segment is here (RFC 8216 §4.3.3.4). Only a finite input comes to that."""
        self._ended = True

    def listed(self) -> list[ListedSegment]:
        """The segments in the playlist, oldest first."""
        return list(self._entries)[-self._window :]

    def render(self, url: Callable[[int, str], str]) -> str:
        """The playlist (RFC 8216 §4.3); ``url`` makes the address of a segment by its number and name.

        The numbers of media initialization sections (EXT-X-MAP) are those of ``InitSection``, below 0.

        EXT-X-ENDLIST comes with ``end()`` only: a live source that ends is a failure, not an end.
        """
        listed = self.listed()
        passed = sum(entry.discontinuity for entry in list(self._entries)[: -self._window])
        lines = [
            "#EXTM3U",
            f"#EXT-X-VERSION:{7 if any(entry.section for entry in listed) else 3}",
            f"#EXT-X-TARGETDURATION:{self._target}",
            f"#EXT-X-MEDIA-SEQUENCE:{listed[0].number if listed else self.next}",
        ]
        if self._discontinuities + passed:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{self._discontinuities + passed}")
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
        section: InitSection | None = None
        for entry in listed:
            if entry.discontinuity:
                lines.append("#EXT-X-DISCONTINUITY")
            if entry.section is not None and entry.section != section:
                section = entry.section
                lines.append(f'#EXT-X-MAP:URI="{url(*section)}"')
            if entry.date:
                lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{entry.date}")
            lines.append(f"#EXTINF:{entry.duration:.6f},")
            lines.append(url(entry.number, entry.name))
        if self._ended:
            lines.append("#EXT-X-ENDLIST")
        return "\n".join(lines) + "\n"
