"""A source falls silent, one with fifty viewers breaks off, FFmpeg is killed, viewers go."""

from __future__ import annotations

import os
import signal
import socket
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from benchmarks.clip import GOP
from benchmarks.daemon import Daemon
from benchmarks.failover import longest_gap
from benchmarks.origin import SETTLED, Origin
from benchmarks.report import Figure, Skipped

STALL = 10.0
"""Seconds of silence after which a source has failed, by default (LIVE_CHUNK_TIMEOUT_SECONDS)."""
VIEWERS = 50
KILLS = 5
LEAVES = 20
LOOK = 0.01
"""Seconds between two looks."""
PATIENCE = 30.0


def faults(origin: Origin, _: Path) -> Iterator[Figure | Skipped]:
    """Each fault by itself, with default settings."""
    with Daemon() as daemon:
        yield from _silence(daemon, origin)
        yield from _many(daemon, origin)
        yield from _kills(daemon, origin)
        yield from _leaves(daemon, origin)


def _silence(daemon: Daemon, origin: Origin) -> Iterator[Figure]:
    path = daemon.live(origin.url("silent", quiet=3.0), origin.url("spare"))
    with closing(_ask(daemon.port, path)) as player:
        player.settimeout(1.0)
        last = monotonic()
        try:
            while player.recv(1 << 18):
                last = monotonic()
        except TimeoutError:
            pass
        _until(lambda: daemon.metric("failovers_total") == 1)
        took = monotonic() - last
    yield Figure("silent source", "last byte to the failover decision", took, "s", STALL + 0.5)


def _many(daemon: Daemon, origin: Origin) -> Iterator[Figure]:
    path = daemon.live(origin.url("many", SETTLED, 5.0), origin.url("many-spare"))
    with ThreadPoolExecutor(VIEWERS) as pool:
        gaps = list(pool.map(lambda _: longest_gap(daemon.port, path), range(VIEWERS)))
    name = f"failover, {VIEWERS} viewers"
    yield Figure(name, "connections to the backup", origin.watch("many-spare").connections, "", 1)
    yield Figure(name, "viewers lost", sum(gap == float("inf") for gap in gaps), "", 0)
    yield Figure(name, "longest time without media", max(gaps), "s", 2.5)


def _kills(daemon: Daemon, origin: Origin) -> Iterator[Figure]:
    times = []
    for number in range(KILLS):
        path = daemon.hls(origin.url(f"killed-{number}", SETTLED + number * GOP / KILLS))
        daemon.wait_warm(path)
        newest = _newest(daemon, path)
        (child,) = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        began = monotonic()
        _until(lambda path=path, newest=newest: _newest(daemon, path) != newest)  # type: ignore[misc]
        times.append(monotonic() - began)
        daemon.delete(path)
    yield Figure("FFmpeg killed", f"next new segment, median of {KILLS}", median(times), "s")
    yield Figure("FFmpeg killed", "the same, worst", max(times), "s", 3.0)


def _leaves(daemon: Daemon, origin: Origin) -> Iterator[Figure]:
    path = daemon.live(origin.url("left"))
    times = []
    for _ in range(LEAVES):
        with closing(_ask(daemon.port, path)) as player:
            player.recv(1)
            _until(lambda: daemon.metric("viewers") == 1)
        began = monotonic()
        _until(lambda: daemon.metric("viewers") == 0)
        times.append(monotonic() - began)
    yield Figure("viewer's socket closed", f"not counted any more, worst of {LEAVES}", max(times), "s", 0.5)


def _ask(port: int, path: str) -> socket.socket:
    player = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    player.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    return player


def _newest(daemon: Daemon, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{daemon.port}{path}", timeout=PATIENCE) as answer:
        return str(answer.read().decode().split()[-1])


def _until(true: Callable[[], bool]) -> None:
    until = monotonic() + PATIENCE
    while not true():
        if monotonic() > until:
            raise RuntimeError("what was waited for did not happen")
        sleep(LOOK)
