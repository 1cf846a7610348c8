"""Players that open their next place in a file before they have left the old one. Pure: told the time.

FFmpeg asks for another part, and hangs up where it was once that is answered; so do the players made of it,
and VLC. Until it shows whether that is a seek, the newcomer is no viewer of its own: it takes the place of
whoever of the same name leaves first, and is another device if nobody does.
"""

from __future__ import annotations

from collections.abc import Iterator

from m3u_proxy.pool.viewers import Viewer

SETTLED = 2.0
"""Seconds after its answer for which a newcomer may still turn out to have moved."""


class Moves:
    """Newcomers, by stream and by the name that they and the viewers they may come from go by."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], list[Viewer]] = {}

    def __iter__(self) -> Iterator[Viewer]:
        for newcomers in list(self._open.values()):
            yield from list(newcomers)

    def add(self, viewer: Viewer) -> None:
        """A newcomer whose name a viewer has."""
        self._open.setdefault(_key(viewer), []).append(viewer)

    def discard(self, viewer: Viewer) -> bool:
        """It has left, or become a viewer; whether it was here. Idempotent."""
        newcomers = self._open.get(_key(viewer), [])
        if viewer not in newcomers:
            return False
        newcomers.remove(viewer)
        if not newcomers:
            del self._open[_key(viewer)]
        return True

    def of(self, viewer: Viewer) -> list[Viewer]:
        """Newcomers of the name of ``viewer``, in the order of their coming."""
        return list(self._open.get(_key(viewer), ()))

    def settled(self, now: float) -> list[Viewer]:
        """Those whose old place would have been left by now: each is a viewer beside the others."""
        return [one for one in self if one.answered_at is not None and now - one.answered_at >= SETTLED]


def _key(viewer: Viewer) -> tuple[str, str]:
    return viewer.client.stream_id, viewer.name
