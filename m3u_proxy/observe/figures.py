"""Where the numbers of ``/metrics`` are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from m3u_proxy.ffmpeg.process.run import Ledger
from m3u_proxy.observe.census import Census
from m3u_proxy.observe.webhooks import Webhooks
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.hls.segments import SegmentCache
from m3u_proxy.storage.disk import DiskGuard


@dataclass
class Housekeeping:
    """What collection and recovery of directories have done so far."""

    collected: Counter[str]
    """Directories the collector removed or skipped, by result."""
    recovered: int = 0


@dataclass(frozen=True)
class Figures:
    """Whoever keeps them; each is read when somebody scrapes."""

    audience: Audience
    ledger: Ledger
    segments: SegmentCache
    webhooks: Webhooks
    disk: DiskGuard
    disk_limits: Mapping[str, int]
    """Bytes of free space below which it is called ``warning`` and ``critical``."""
    housekeeping: Housekeeping
    crashes: Counter[str]
    """Of background tasks, by task."""
    auth_failures: Counter[str]
    responses: Counter[str]
    """Answers by status code."""
    blocked: Mapping[str, int]
    """Targets that the address policy has refused, by class."""
    refused: Counter[str]
    """Connections that were not served, by reason."""
    accept_errors: Callable[[], int]
    census: Callable[[], Census]
    log_dropped: Callable[[], int]
    started_at: float
    """Seconds since the epoch."""
    version: str
