"""Integers that the pool adds to and metrics read. They only ever rise. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

FAILOVER_GAPS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
"""Upper bounds in seconds."""


class Distribution:
    """How many values fell up to each of ``bounds``, and beyond the last; and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """Count one value; a bound belongs to what lies below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass
class Tally:
    """One for the whole pool; it outlives every running thing."""

    bytes_in: Counter[str] = field(default_factory=Counter)
    """Received from sources, by kind; of a transcoded one, what FFmpeg gave."""
    bytes_out: Counter[str] = field(default_factory=Counter)
    """Handed to viewers that have left, by kind."""
    skips: int = 0
    """Jumps of viewers that had fallen out of a ring."""
    upstream_errors: Counter[str] = field(default_factory=Counter)
    """Attempts that failed, by reason."""
    reconnects: int = 0
    failovers: Counter[str] = field(default_factory=Counter)
    """Other sources that took over, by the reason why the one before was left."""
    failover_gaps: Distribution = field(default_factory=lambda: Distribution(FAILOVER_GAPS))
    """Seconds from the last media of a source to the first of the one that took over."""
    fetches: Counter[str] = field(default_factory=Counter)
    """Playlists, segments and the like asked of HLS sources, by role."""
    segment_hits: int = 0
    """Requests for such a thing that were answered from memory."""
    dropped_lines: int = 0
    """Lines of playlists that were left out because they could have carried an address."""
    left: Counter[str] = field(default_factory=Counter)
    """Viewers that have left, by reason."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Joiners refused at a limit, by reason."""
