"""Integers that the pool adds to and metrics read. They only ever rise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


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
