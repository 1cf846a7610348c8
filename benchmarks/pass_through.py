"""HLS that somebody else makes, handed on: what it costs against nginx as a cache, and who waits for what."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic, sleep
from urllib.parse import urljoin

from benchmarks import viewers
from benchmarks.clip import GOP
from benchmarks.cpu import Meter
from benchmarks.daemon import Daemon
from benchmarks.hls_origin import WINDOW, Channel, HlsOrigin
from benchmarks.nginx import cache
from benchmarks.origin import Origin
from benchmarks.report import Figure, Skipped
from benchmarks.turns import (
    AUDIENCE,
    ROUNDS,
    TURN,
    Rows,
    against_nginx,
    failures,
    if_installed,
    in_turns,
    keeper,
    noise,
    per_gb,
)
from benchmarks.viewers import Load

DOWNLOADS = 4
"""Segments that two viewers share, on each side."""
HALF_WAY = GOP / 2
"""Seconds into a download that takes as long as its segment plays."""
PATIENCE = 20.0


def pass_through(_: Origin, __: Path) -> Rows:
    """A provider's live HLS for 300 viewers, and nginx as a cache in front of the same provider, in turns."""
    name = f"pass-through, {AUDIENCE} viewers"
    with HlsOrigin() as provider, ExitStack() as stack:
        daemon = stack.enter_context(Daemon())
        nginx = if_installed(stack, cache(provider.port))
        path = daemon.live(provider.url("ours"))
        stack.enter_context(keeper("hls", daemon.port, f"{path}?client_id=keeper"))
        if nginx:
            stack.enter_context(keeper("hls", nginx.port, provider.path("theirs")))
        sleep(GOP)
        loads: list[Load] = []
        floor: list[Load] = []
        cores: list[float] = []

        def ours() -> float:
            with Meter(daemon.pid) as meter:
                load = viewers.run("hls", daemon.port, path + "?client_id={i}", AUDIENCE, seconds=TURN)
            loads.append(load)
            cores.append(meter.foreign(load.cpu))
            return per_gb(meter.own + meter.children, load)

        def theirs(port: int, pid: int) -> float:
            with Meter(pid) as meter:
                load = viewers.run("hls", port, provider.path("theirs"), AUDIENCE, seconds=TURN)
            floor.append(load)
            return per_gb(meter.own + meter.children, load)

        same = (lambda: theirs(nginx.port, nginx.pid)) if nginx else None
        mine, other = in_turns(ours, same, rounds=ROUNDS)
        asked = provider.channel("ours")
        asked_by_nginx = provider.channel("theirs") if nginx else None
    yield from against_nginx(name, mine, other, "a cache")
    yield Figure(name, "CPU per GB, proxy", median(mine), "s")
    yield from _requests(name, asked, "")
    yield from _experience(name, loads, "")
    if asked_by_nginx:
        yield from _requests(name, asked_by_nginx, ", nginx")
        yield from _experience(name, floor, ", nginx")
    yield noise(name, cores)


def _requests(name: str, asked: Channel, whose: str) -> Rows:
    target = None if whose else 1
    yield Figure(name, f"most upstream fetches of one segment{whose}", asked.fetches, "", target)
    rate = asked.playlist_rate
    yield Figure(name, f"upstream playlist fetches per half target duration{whose}", rate, "", target)
    yield Figure(name, f"shortest time between two of them{whose}", asked.playlist_gap, "s")


def _experience(name: str, loads: list[Load], whose: str) -> Rows:
    target = None if whose else 0
    wrong = sum(failures(load) + load.rebuffers for load in loads)
    yield Figure(name, f"errors and rebuffers{whose}", wrong, "", target)
    yield Figure(name, f"longest stall of a player{whose}", max(load.gap_max for load in loads), "s", target)
    yield Figure(name, f"first whole segment, p99{whose}", max(load.join_p99 for load in loads), "s")


@dataclass(frozen=True)
class _Download:
    """One viewer's segment. Times are monotonic seconds."""

    asked: float
    first_byte: float
    ended: float
    body: bytes

    @property
    def wait(self) -> float:
        return self.first_byte - self.asked


def mid_download(_: Origin, __: Path) -> Rows:
    """A segment that takes the provider 2 s to send, and a second viewer who comes after one."""
    with HlsOrigin() as provider, ExitStack() as stack:
        daemon = stack.enter_context(Daemon())
        nginx = if_installed(stack, cache(provider.port))
        path = daemon.live(provider.url("ours", "drip"))
        pairs = _pairs(daemon.port, path + "?client_id=first")
        asked = provider.channel("ours", "drip")
        cached = _pairs(nginx.port, provider.path("theirs", "drip")) if nginx else []
    name = f"mid-download, median of {DOWNLOADS}"
    late = [second.first_byte >= first.ended for first, second in pairs]
    waits = [second.wait for _, second in pairs]
    yield Figure(name, "second viewer's first byte", median(waits), "s")
    yield Figure(name, "the same, worst", max(waits), "s")
    yield Figure(name, "first byte only after the end of the download", sum(late), "", 0)
    yield Figure(name, "first viewer's first byte", median(first.wait for first, _ in pairs), "s")
    yield Figure(name, "most upstream fetches of one segment", asked.fetches, "", 1)
    yield Figure(name, "bodies that differ", sum(first.body != second.body for first, second in pairs), "", 0)
    if cached:
        yield Figure(name, "second viewer's first byte, nginx", median(two.wait for _, two in cached), "s")
    else:
        yield Skipped(name, "nginx is not installed")


def _pairs(port: int, path: str) -> list[tuple[_Download, _Download]]:
    """Segments that nobody has asked for yet, by two viewers each, one half-way after the other."""
    seen: set[str] = set()
    pairs = []
    with ThreadPoolExecutor(2) as both:
        for _ in range(DOWNLOADS):
            url = next(one for one in _listed(f"http://127.0.0.1:{port}{path}") if one not in seen)
            seen.add(url)
            first = both.submit(_download, url)
            sleep(HALF_WAY)
            second = both.submit(_download, url.replace("client_id=first", "client_id=second"))
            pairs.append((first.result(), second.result()))
    return pairs


def _listed(playlist: str) -> list[str]:
    """Addresses of the segments, the oldest first: far from what anybody would fetch in advance."""
    with urllib.request.urlopen(playlist, timeout=PATIENCE) as answer:
        lines = answer.read().decode().splitlines()
    urls = [urljoin(playlist, line) for line in lines if line and not line.startswith("#")]
    if len(urls) != WINDOW:
        raise RuntimeError(f"{len(urls)} segments of {WINDOW} are listed")
    return urls


def _download(url: str) -> _Download:
    asked = monotonic()
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        start = answer.read(1)
        first_byte = monotonic()
        body = start + answer.read()
    return _Download(asked, first_byte, monotonic(), body)
