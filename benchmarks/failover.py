"""Sources that break off with a backup ready: how long the viewer goes without media."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median, quantiles
from time import monotonic

from benchmarks.clip import GOP, PACKET
from benchmarks.daemon import Daemon
from benchmarks.origin import SETTLED, Origin
from benchmarks.report import Figure, Skipped

FAULTS = 20
"""Streams of an account each whose source breaks off, at other places between two keyframes of the backup."""
FIRST = 4.0
"""Seconds that the first of them gives before it does."""
STEP = 0.11
WATCH = 10.0
"""Seconds that each is watched."""
NULL = b"\x47\x1f\xff"


def failover(origin: Origin, _: Path) -> Iterator[Figure | Skipped]:
    """Twenty live streams lose their source by a broken connection; each has one backup."""
    with Daemon() as daemon, ThreadPoolExecutor(FAULTS) as pool:
        paths = [
            daemon.live(
                origin.url(f"user-{number}/pass/primary", SETTLED, FIRST + number * STEP),
                origin.url(f"user-{number}/pass/backup", SETTLED + number * GOP * (1 + 1 / FAULTS)),
            )
            for number in range(FAULTS)
        ]
        gaps = list(pool.map(lambda path: longest_gap(daemon.port, path), paths))
        backups = [origin.watch(f"user-{number}/pass/backup").connections for number in range(FAULTS)]
        switches = daemon.metric("failovers_total")
    name = f"failover, {FAULTS} hard faults"
    yield Figure(name, "longest time without media at the viewer, median", median(gaps), "s")
    yield Figure(name, "the same, p95", quantiles(gaps, n=20)[-1], "s", 1.5)
    yield Figure(name, "the same, worst", max(gaps), "s", 2.5)
    yield Figure(name, "most connections to one backup", max(backups), "", 1)
    yield Figure(name, "switches", switches, "", FAULTS)


def longest_gap(port: int, path: str) -> float:
    """Watch a stream and return its longest pause; infinite if it ended. Null packets are no media."""
    longest = 0.0
    with closing(socket.create_connection(("127.0.0.1", port), timeout=WATCH)) as player:
        player.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        last = None
        until = monotonic() + WATCH
        while monotonic() < until:
            data = player.recv(1 << 18)
            if not data:
                return float("inf")
            if data.count(NULL) * PACKET >= len(data):
                continue
            now = monotonic()
            longest = max(longest, now - last) if last is not None else 0.0
            last = now
    return longest
