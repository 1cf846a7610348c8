"""What is measured. Each scenario starts a proxy of its own and yields its figures."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from benchmarks import viewers
from benchmarks.clip import GOP, Missing
from benchmarks.cpu import Meter
from benchmarks.daemon import Daemon
from benchmarks.nginx import Nginx
from benchmarks.origin import SETTLED, Origin
from benchmarks.players import EDGE
from benchmarks.report import Figure, Skipped
from benchmarks.viewers import Load

AUDIENCE = 300
CROWD = 2000
ROUNDS = 5
"""Turns of each side in the comparison of HLS, the noisiest figure."""
TURN = 8.0
"""Seconds of watching in one turn of a comparison."""
RING_SECONDS = 18.0
"""Until the proxy's buffer of a live stream is full at 8 Mbit/s (16 MiB)."""
COLD_STARTS = 10
SPARE_FILES = 256
"""Open files a process needs beside one per viewer."""
TRANSCODE = (
    "-i {input_url} -c:v libx264 -preset ultrafast -s 640x360 -b:v 1200k -g 50 -sc_threshold 0 "
    "-c:a copy -f hls index.m3u8"
)

Rows = Iterator[Figure | Skipped]
Scenario = Callable[[Origin, Path], Rows]


def fan_out(origin: Origin, clip: Path) -> Rows:
    """One live TS source for 300 viewers, and nginx sending a file at the same rate to as many."""
    with Daemon() as daemon, ExitStack() as stack:
        path = daemon.live(origin.url("fan-out"))
        daemon.wait_warm(path)
        stack.enter_context(_keeper("ts", daemon.port, path))
        nginx = _nginx(stack, clip.parent, clip)

        def ours() -> float:
            with Meter(daemon.pid) as meter:
                load = viewers.run("ts", daemon.port, path, AUDIENCE, seconds=TURN)
            loads.append(load)
            noise.append(meter.foreign(load.cpu))
            return _per_gb(meter.own, load)

        def theirs(port: int, pid: int) -> float:
            with Meter(pid) as meter:
                load = viewers.run("ts", port, "/paced.ts", AUDIENCE, seconds=TURN)
            return _per_gb(meter.own + meter.children, load)

        loads: list[Load] = []
        noise: list[float] = []
        floor = (lambda: theirs(nginx.port, nginx.pid)) if nginx else None
        mine, other = _in_turns(ours, floor, rounds=2)
        name = f"fan-out, {AUDIENCE} viewers"
        yield Figure(name, "CPU per GB, proxy", median(mine), "s", 0.40)
        if other:
            yield Figure(name, "CPU per GB, nginx, a file at the same rate", median(other), "s")
        else:
            yield Skipped(name, "nginx is not installed")
        yield Figure(name, "errors", sum(_failures(load) for load in loads), "", 0)
        yield Figure(name, "longest gap", max(load.gap_max for load in loads), "s")
        yield _noise(name, noise)
        joins = [load.join_p99 for load in loads]
        yield Figure(
            "warm join", f"first keyframe, p99 of {AUDIENCE} within 1 s", max(joins) * 1e3, "ms", 100
        )
        rush = viewers.run("ts", daemon.port, path, AUDIENCE, seconds=2, ramp=0)
        yield Figure("warm join", f"first keyframe, p99 of {AUDIENCE} at once", rush.join_p99 * 1e3, "ms")


def crowd(origin: Origin, _: Path) -> Rows:
    """The same for 2,000 viewers, 16 Gbit/s from one process, and what a viewer costs in memory."""
    name = f"crowd, {CROWD} viewers"
    if (files := viewers.raise_file_limit()) < CROWD + SPARE_FILES:
        raise Missing(f"only {files} open files are allowed (ulimit -Hn)")
    with Daemon() as daemon:
        path = daemon.live(origin.url("crowd"))
        daemon.wait_warm(path)
        with _keeper("ts", daemon.port, path):
            sleep(RING_SECONDS)
            with Meter(daemon.pid) as meter:
                load = viewers.run("ts", daemon.port, path, CROWD, seconds=12, ramp=4)
    yield Figure(name, "CPU per GB", _per_gb(meter.own, load), "s", 0.32)
    yield Figure(name, "delivered", load.mbit_per_second / 1e3, "Gbit/s")
    yield Figure(name, "longest gap", load.gap_max, "s", 0.5)
    yield Figure(name, "errors", _failures(load), "", 0)
    yield Figure(name, "first keyframe, p99", load.join_p99 * 1e3, "ms")
    yield Figure(name, "CPU seconds of the load itself, per GB", _per_gb(load.cpu, load), "s")
    yield _noise(name, [meter.foreign(load.cpu)])
    yield Figure("memory", f"resident with {CROWD} viewers", meter.rss_peak / 1e6, "MB", 130)
    yield Figure("memory", "resident with 1 viewer, buffer full", meter.rss_before / 1e6, "MB")
    yield Figure("memory", "per viewer", (meter.rss_peak - meter.rss_before) / (CROWD - 1) / 1e3, "kB")


def shared_hls(origin: Origin, clip: Path) -> Rows:
    """One HLS writer for 300 viewers, and nginx serving the same files to as many, in turns."""
    name = f"shared HLS, {AUDIENCE} viewers"
    with Daemon() as daemon, ExitStack() as stack:
        path = daemon.hls(origin.url("shared"))
        daemon.wait_warm(path)
        stack.enter_context(_keeper("hls", daemon.port, f"{path}?client_id=keeper"))
        sleep(EDGE * GOP)
        files = daemon.newest_directory()
        nginx = _nginx(stack, files, clip)
        with_ffmpeg: list[float] = []
        loads: list[Load] = []
        noise: list[float] = []

        def ours() -> float:
            with Meter(daemon.pid) as meter:
                load = viewers.run("hls", daemon.port, path + "?client_id={i}", AUDIENCE, seconds=TURN)
            loads.append(load)
            noise.append(meter.foreign(load.cpu))
            with_ffmpeg.append(_per_gb(meter.own + meter.children, load))
            return _per_gb(meter.own, load)

        def theirs(port: int, pid: int) -> float:
            with Meter(pid) as meter:
                load = viewers.run("hls", port, "/files/index.m3u8", AUDIENCE, seconds=TURN)
            loads.append(load)
            return _per_gb(meter.own + meter.children, load)

        same = (lambda: theirs(nginx.port, nginx.pid)) if nginx else None
        mine, other = _in_turns(ours, same, rounds=ROUNDS)
    if other:
        ratios = [a / b for a, b in zip(mine, other, strict=True)]
        yield Figure(name, "CPU, proxy against nginx", median(ratios), "x", 2.5)
        yield Figure(name, "the same, lowest round", min(ratios), "x")
        yield Figure(name, "the same, highest round", max(ratios), "x")
        yield Figure(name, "CPU per GB, nginx, the same files", median(other), "s")
    else:
        yield Skipped(name, "nginx is not installed")
    yield Figure(name, "CPU per GB, proxy", median(mine), "s")
    yield Figure(name, "CPU per GB, proxy and its FFmpeg", median(with_ffmpeg), "s")
    yield Figure(name, "errors and rebuffers", sum(_failures(load) + load.rebuffers for load in loads), "", 0)
    yield _noise(name, noise)


def storm(origin: Origin, _: Path) -> Rows:
    """300 viewers open a transcoded HLS stream that nothing runs for, all at once."""
    name = f"cold join storm, {AUDIENCE} at once"
    with Daemon() as daemon:
        path = daemon.hls(origin.url("storm"), TRANSCODE)
        with Meter(daemon.pid) as meter:
            load = viewers.run("hls", daemon.port, path + "?client_id={i}", AUDIENCE, seconds=14, ramp=0)
        started = daemon.metric("ffmpeg_starts_total")
    yield Figure(name, "FFmpeg processes", max(started, meter.born), "", 1)
    yield Figure(name, "upstream connections", origin.watch("storm").connections, "", 1)
    yield Figure(name, "errors", _failures(load), "", 0)
    yield Figure(name, "playlist, p99", load.playlist_p99, "s")
    yield Figure(name, "first whole segment, p99", load.join_p99, "s")


def cold_start(origin: Origin, _: Path) -> Rows:
    """From the first request to a playlist whose segment can be fetched, beyond what nobody can shorten."""
    totals, beyond = [], []
    with Daemon() as daemon:
        for number in range(COLD_STARTS):
            # each at another place between two keyframes
            channel, at = f"cold-{number}", SETTLED + number * GOP * (1 + 1 / COLD_STARTS)
            path = daemon.hls(origin.url(channel, at))
            began = monotonic()
            daemon.wait_warm(path)
            ready = monotonic()
            totals.append(ready - began)
            beyond.append(ready - origin.watch(channel).keyframe_at - GOP)
            daemon.delete(path)
    name = f"cold start, median of {COLD_STARTS}"
    yield Figure(name, "playlist, beyond keyframe wait and one 2 s segment", median(beyond), "s", 0.5)
    yield Figure(name, "the same, worst", max(beyond), "s")
    yield Figure(name, "playlist, in all", median(totals), "s")


ALL: dict[str, Scenario] = {
    "fan-out": fan_out,
    "crowd": crowd,
    "shared-hls": shared_hls,
    "storm": storm,
    "cold-start": cold_start,
}


def _per_gb(seconds: float, load: Load) -> float:
    return seconds / (load.bytes / 1e9)


def _noise(name: str, cores: list[float]) -> Figure:
    """The source, the keeper and strangers: from about half a core on, distrust gaps and joins."""
    return Figure(name, "cores busy with something else", max(cores), "")


def _failures(load: Load) -> int:
    """Everything that went wrong for a viewer; one that never got anything to play counts too."""
    return max(sum(load.errors.values()), load.viewers - load.joined)


def _in_turns(
    ours: Callable[[], float], theirs: Callable[[], float] | None, *, rounds: int
) -> tuple[list[float], list[float]]:
    """Measure both alternately, each first in every other round, so that noise meets both alike."""
    mine, other = [], []
    for number in range(rounds):
        if theirs is not None and number % 2:
            other.append(theirs())
        mine.append(ours())
        if theirs is not None and not number % 2:
            other.append(theirs())
    return mine, other


def _nginx(stack: ExitStack, files: Path, clip: Path) -> Nginx | None:
    try:
        return stack.enter_context(Nginx(files, clip))
    except Missing:
        return None


@contextmanager
def _keeper(kind: str, port: int, path: str) -> Iterator[None]:
    """One viewer who stays, so that nothing is closed between two turns."""
    command = [sys.executable, "-m", "benchmarks.viewers", kind, str(port), path, "1", "3600", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
