"""One media playlist for viewers, while the sources behind it change (RFC 8216 §4.3.3, §6.2.2). Pure.

Where a source restarts, jumps or is replaced by another, segments of before stay listed for a while, the
seam is marked with one EXT-X-DISCONTINUITY, and the numbers go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from math import ceil
from typing import Final

from m3u_proxy.media.hls.draft import ENTRIES
from m3u_proxy.media.hls.entries import (
    Entry,
    Identity,
    Reading,
    join,
    lasting,
    read,
    with_break,
    with_explicit_ivs,
)
from m3u_proxy.media.hls.model import MAPS, Playlist, Role, Slot, SlotKind, references_of

_KEPT: Final = 3
"""Segments of before that a seam leaves listed, at least: as far behind the live edge players begin."""
_LONGEST: Final = 60.0  # seconds, of a target duration for timing
_IV_VERSION: Final = 2
"""EXT-X-VERSION that the IV attribute needs (§7)."""


class _Turn(Enum):
    """How a revision of a source follows its last one."""

    ON = auto()
    STALE = auto()  # an older one, as caches answer now and then
    RESET = auto()  # the numbers begin anew, or leave out what nobody has seen


@dataclass(frozen=True, slots=True)
class _Listing:
    """What viewers have got, in parts."""

    first: int
    """Media sequence number."""
    discontinuities: int
    """EXT-X-DISCONTINUITY-SEQUENCE."""
    entries: Sequence[Entry]
    reading: Reading
    """Where the rest of the playlist comes from."""
    is_independent: bool

    @property
    def end(self) -> int:
        """Media sequence number of the segment to come."""
        return self.first + len(self.entries)

    def discontinuity(self, length: int) -> int:
        """The discontinuity sequence number behind the first ``length`` segments."""
        return self.discontinuities + sum(entry.breaks for entry in self.entries[:length])


class Splice:
    """One media playlist for viewers over several sources' playlists, one after the other.

    What is listed keeps its media sequence number for life, and its :class:`Reference`, equal from revision
    to revision. EXT-X-TARGETDURATION and EXT-X-VERSION never fall.
    """

    def __init__(self) -> None:
        self.resets = 0
        """How often the numbering of a source fell back or jumped beyond its window."""
        self.source = 0
        """``Reference.source`` of what the last revision brought; rises at every seam."""
        self._revision: Playlist | None = None  # the last one that was taken, as it came
        self._result: Playlist | None = None
        self._listing: _Listing | None = None  # None: the result is to be read
        self._offset = 0  # our number less that of the source
        self._begin = 0  # our number of the first segment of the source
        self._is_marked = False  # a discontinuity of ours stands ahead of that
        self._is_due = False  # a seam, as soon as there is a new segment
        self._is_replaced = False  # that seam leads to another source
        self._was_independent = False  # every segment listed before the seam begins with a picture of its own
        self._target = 0.0
        self._version = 0
        self._before: deque[Identity | None] = deque(maxlen=ENTRIES)
        """What was listed when earlier sources ended: one that comes back must not replay it."""

    def follow(self, playlist: Playlist, *, is_new_source: bool = False, is_final: bool = False) -> Playlist:
        """What viewers get for a revision of the media playlist as fetched: the same object while there is
        nothing to change in it, and the last result again where it brings nothing to list.

        ``is_new_source``: the first revision from another source. ``is_final``: EXT-X-ENDLIST is meant;
        otherwise it is left out.
        """
        is_final = is_final and playlist.is_ended
        if self._result is None or self._revision is None:
            self._revision = self._result = playlist
            self._target = playlist.target_duration
        elif is_new_source:
            self._leave(is_replaced=True)
        if self._result.length and not playlist.length:
            return self._again(is_final)
        turn = _Turn.ON if self._is_due else _turn(self._revision, playlist)
        if turn is _Turn.STALE:
            return self._again(is_final)
        if turn is _Turn.RESET:
            self.resets += 1
            self._leave(is_replaced=False)
        if self._is_due:
            return self._join(playlist, is_final)
        self._revision = playlist
        if self._is_plain(playlist, self._result, is_final):
            self._target = max(self._target, playlist.target_duration)
            self._result, self._listing = playlist, None
            return playlist
        return self._advance(playlist, is_final)

    def _is_plain(self, playlist: Playlist, result: Playlist, is_final: bool) -> bool:
        """Viewers may get it as it is."""
        return (
            self.source == 0
            and playlist.is_ended == is_final
            and playlist.media_sequence >= result.media_sequence
            and playlist.target_duration >= min(self._target, _LONGEST)
        )

    def _leave(self, *, is_replaced: bool) -> None:
        """The source as it was is over: what comes is another, or the same that begins anew."""
        self.source += 1
        self._is_replaced = is_replaced or (self._is_due and self._is_replaced)
        if not self._is_due:
            self._before.extend(entry.identity for entry in self._current().entries)
        self._is_due = True

    def _join(self, playlist: Playlist, is_final: bool) -> Playlist:
        """The seam, if there is anything new behind it."""
        listing = self._current()
        reading = self._read(playlist, self.source)
        known = self._known(reading.entries)
        fresh = reading.entries[known:]
        if not fresh:
            return self._again(is_final)
        old = len(listing.entries)
        fits = not old or (MAPS in listing.entries[-1].behind) == (MAPS in fresh[0].behind)
        is_same = fits and _continues(listing.entries, reading.entries[:known])
        room = max(old, len(reading.entries)) - len(fresh)
        kept = max(min(_KEPT, old), min(old, room)) if fits else 0
        self._is_due = False
        self._is_marked = old > 0 and not is_same
        self._begin = listing.end
        self._offset = listing.end - fresh[0].sequence
        self._was_independent = listing.is_independent
        self._revision = playlist
        return self._list(playlist, reading, fresh, first=listing.end - kept, is_final=is_final)

    def _known(self, entries: Sequence[Entry]) -> int:
        """How many segments at the front of another playlist were listed before, in this order."""
        before = self._before if self._is_replaced else [entry.identity for entry in self._current().entries]
        places = {identity: place for place, identity in enumerate(before) if identity is not None}
        known, last = 0, -1
        for count, entry in enumerate(entries, 1):
            place = None if entry.identity is None else places.get(entry.identity)
            if place is None:
                continue
            if place < last:
                break
            known, last = count, place
        return known

    def _advance(self, playlist: Playlist, is_final: bool) -> Playlist:
        """The next revision of the source. A segment of before leaves for each that comes."""
        listing = self._current()
        reading = self._read(playlist, self.source)
        number = playlist.media_sequence + self._offset
        start = max(number, self._begin, listing.first)
        fresh = reading.entries[start - number :]
        first = start
        if listing.first < self._begin:
            gone = start + len(fresh) - listing.end
            first = min(start, listing.first + gone)
            first = first if first < self._begin else start
        return self._list(playlist, reading, fresh, first=first, is_final=is_final)

    def _list(
        self, playlist: Playlist, reading: Reading, fresh: Sequence[Entry], *, first: int, is_final: bool
    ) -> Playlist:
        """List ``fresh``, behind what was listed from the number ``first`` on."""
        listing = self._current()
        start = reading.rest.sequence + self._offset - len(fresh)
        if self._is_marked and start == self._begin:
            fresh = [with_break(fresh[0]), *fresh[1:]]
        if self._offset and playlist.has_keys:
            *fresh, rest = with_explicit_ivs([*fresh, reading.rest])
            reading = reading._replace(rest=rest)
            self._version = max(self._version, _IV_VERSION)
        kept = [lasting(entry) for entry in listing.entries[first - listing.first : start - listing.first]]
        if kept:
            discontinuities = listing.discontinuity(first - listing.first)
        elif self.source == 0:
            left = reading.entries[: len(reading.entries) - len(fresh)]
            discontinuities = reading.header.discontinuities + sum(entry.breaks for entry in left)
        else:
            discontinuities = listing.discontinuity(start - listing.first + 1)
            discontinuities -= fresh[0].breaks if start < listing.end else 0
            discontinuities = max(discontinuities, listing.discontinuities)
        is_independent = reading.header.is_independent and (first >= self._begin or self._was_independent)
        after = _Listing(first, discontinuities, [*kept, *fresh], reading, is_independent)
        return self._publish(playlist, after, is_final)

    def _again(self, is_final: bool) -> Playlist:
        """The last result, unless it is the end now or is no longer."""
        assert self._result is not None
        if self._result.is_ended == is_final:
            return self._result
        return self._publish(self._result, self._current(), is_final)

    def _current(self) -> _Listing:
        if self._listing is None:
            assert self._result is not None
            reading = self._read(self._result, 0)
            header = reading.header
            self._listing = _Listing(
                self._result.media_sequence,
                header.discontinuities,
                reading.entries,
                reading,
                header.is_independent,
            )
        return self._listing

    def _read(self, playlist: Playlist, source: int) -> Reading:
        reading = read(playlist, source)
        self._version = max(self._version, reading.header.version)
        self._target = max(self._target, reading.header.target, playlist.target_duration)
        return reading

    def _publish(self, playlist: Playlist, listing: _Listing, is_final: bool) -> Playlist:
        rest, trailer = listing.reading.rest, listing.reading.trailer
        if is_final:
            trailer += ("" if trailer.endswith("\n") else "\n") + "#EXT-X-ENDLIST\n"
        slots = join([*listing.entries, rest] if rest.slots else listing.entries)
        header = "\n".join(self._header(listing))
        if slots:
            slots[0] = slots[0]._replace(before=header + slots[0].before)
        else:
            trailer = header + trailer
        self._listing = listing
        self._result = replace(
            playlist,
            is_ended=is_final,
            target_duration=min(float(ceil(self._target)), _LONGEST),
            media_sequence=listing.first,
            references=references_of(slots),
            has_keys=_has_keys(slots),
            has_map=any(slot.scope == MAPS for slot in slots),
            slots=tuple(slots),
            trailer=trailer,
        )
        return self._result

    def _header(self, listing: _Listing) -> list[str]:
        lines = ["#EXTM3U"]
        if self._version:
            lines.append(f"#EXT-X-VERSION:{self._version}")
        lines.append(f"#EXT-X-TARGETDURATION:{ceil(self._target)}")
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{listing.first}")
        if listing.discontinuities:
            lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{listing.discontinuities}")
        if listing.is_independent:
            lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
        return lines + listing.reading.header.others


def _turn(last: Playlist, playlist: Playlist) -> _Turn:
    """Judge a revision by the numbers and, where these fall, by the names of segments."""
    if not last.length:
        return _Turn.RESET if playlist.media_sequence < last.media_sequence else _Turn.ON
    newest, newest_seen = _end(playlist), _end(last)
    if playlist.media_sequence > newest_seen:
        return _Turn.RESET
    if newest >= newest_seen and playlist.media_sequence >= last.media_sequence:
        return _Turn.ON
    if not _agree(last, playlist):
        return _Turn.RESET
    return _Turn.STALE if newest < newest_seen else _Turn.ON


def _end(playlist: Playlist) -> int:
    return playlist.media_sequence + playlist.length


def _agree(one: Playlist, other: Playlist) -> bool:
    """Under some number both list a segment of the same name. Queries do not count: tokens come and go."""
    first = max(one.media_sequence, other.media_sequence)
    names = (_names(playlist)[first - playlist.media_sequence :] for playlist in (one, other))
    return any(mine is not None and mine == theirs for mine, theirs in zip(*names, strict=False))


def _names(playlist: Playlist) -> list[str | None]:
    segments = (slot.reference for slot in playlist.slots if slot.kind is SlotKind.SEGMENT)
    return [None if segment is None else segment.uri.partition("?")[0] for segment in segments]


def _continues(listed: Sequence[Entry], known: Sequence[Entry]) -> bool:
    """The newest listed segment is the last known one of another source, which numbers it alike."""
    if not listed or not known:
        return False
    one, other = listed[-1], known[-1]
    return one.sequence == other.sequence and one.identity is not None and one.identity == other.identity


def _has_keys(slots: Sequence[Slot]) -> bool:
    return any(
        slot.scope.startswith("KEYFORMAT=") or (slot.reference and slot.reference.role is Role.KEY)
        for slot in slots
    )
