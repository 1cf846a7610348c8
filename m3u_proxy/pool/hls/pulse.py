"""Whether a live playlist still moves. Pure: all times are monotonic seconds."""

from __future__ import annotations

from math import inf

from m3u_proxy.media.playlist import Playlist

FREEZE = 12.0
TARGETS = 3
"""Without anything new for this many target durations, at least ``FREEZE`` seconds, it is frozen."""
ENDED = 10.0
"""Seconds in which a live playlist that says it has ended may go on."""

_Edge = tuple[int, str]
"""Where a playlist stands: the media sequence number to come, and the name listed last."""


def patience_for(playlist: Playlist) -> float:
    """Seconds for which a live playlist is good without a newer revision."""
    return max(TARGETS * playlist.target_duration, FREEZE)


class Pulse:
    """Of one playlist, which is told each revision that is read."""

    def __init__(self) -> None:
        self.was_live = False
        """Whether there was ever a revision of media that had no end."""
        self.is_frozen = False
        self._edges: tuple[_Edge | None, _Edge | None] = (None, None)
        """Of the last two revisions that differed: caches answer with an older one now and then."""
        self._fresh_at = 0.0
        self._read_at = -inf
        self._ended_at: float | None = None

    def restart(self) -> None:
        """It is read elsewhere from now on."""
        self._edges = (None, None)
        self._ended_at = None
        self.is_frozen = False

    def has_ended(self, playlist: Playlist, now: float) -> bool:
        """Whether it says for a while already that nothing will come, though it was live."""
        if playlist.is_multivariant or not (playlist.is_ended and self.was_live):
            self._ended_at = None
            return False
        if self._ended_at is None or _edge(playlist) not in self._edges:
            self._ended_at = now
        return now - self._ended_at >= ENDED

    def feel(self, playlist: Playlist, now: float) -> bool:
        """Whether a revision brings something new. A time in which nobody asked does not count."""
        edge = _edge(playlist)
        is_news = edge not in self._edges or now - self._read_at > patience_for(playlist)
        if edge != self._edges[1]:
            self._edges = self._edges[1], edge
        if is_news:
            self._fresh_at, self.is_frozen = now, False
        self._read_at = now
        self.was_live |= not (playlist.is_ended or playlist.is_multivariant)
        return is_news

    def freezes(self, playlist: Playlist, now: float) -> bool:
        """Whether nothing new has come for too long: true once in that time, while it lasts."""
        is_moving = now - self._fresh_at < patience_for(playlist)
        if playlist.is_multivariant or playlist.is_ended or is_moving:
            return False
        self._fresh_at, self.is_frozen = now, True
        return True


def _edge(playlist: Playlist) -> _Edge:
    newest = playlist.references[-1].uri.partition("?")[0] if playlist.references else ""
    return playlist.media_sequence + playlist.length, newest
