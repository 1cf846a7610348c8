"""What is measured. Each scenario starts a proxy of its own and yields its figures."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import monotonic, sleep

from benchmarks import viewers
from benchmarks.api import api
from benchmarks.clip import GOP, Missing
from benchmarks.cpu import Meter
from benchmarks.daemon import Daemon
from benchmarks.failover import failover
from benchmarks.faults import faults
from benchmarks.lineup import lineup
from benchmarks.nginx import files, paced
from benchmarks.origin import SETTLED, Origin
from benchmarks.pass_through import mid_download, pass_through
from benchmarks.players import EDGE
from benchmarks.report import Figure, Skipped
from benchmarks.rewrite import rewrite
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

CROWD = 2000
RING_SECONDS = 18.0
"""Until the proxy's buffer of a live stream is full at 8 Mbit/s (16 MiB)."""
COLD_STARTS = 10
SPARE_FILES = 256
"""Open files a process needs beside one per viewer."""
TRANSCODE = (
    "-i {input_url} -c:v libx264 -preset ultrafast -s 640x360 -b:v 1200k -g 50 -sc_threshold 0 "
    "-c:a copy -f hls index.m3u8"
)

Scenario = Callable[[Origin, Path], Rows]


def fan_out(origin: Origin, clip: Path) -> Rows:
    """One live TS source for 300 viewers, and nginx sending a file at the same rate to as many."""
    with Daemon() as daemon, ExitStack() as stack:
        path = daemon.live(origin.url("fan-out"))
        daemon.wait_warm(path)
        stack.enter_context(keeper("ts", daemon.port, path))
        nginx = if_installed(stack, paced(clip))

        def ours() -> float:
            with Meter(daemon.pid) as meter:
                load = viewers.run("ts", daemon.port, path, AUDIENCE, seconds=TURN)
            loads.append(load)
            cores.append(meter.foreign(load.cpu))
            return per_gb(meter.own, load)

        def theirs(port: int, pid: int) -> float:
            with Meter(pid) as meter:
                load = viewers.run("ts", port, "/paced.ts", AUDIENCE, seconds=TURN)
            return per_gb(meter.own + meter.children, load)

        loads: list[Load] = []
        cores: list[float] = []
        floor = (lambda: theirs(nginx.port, nginx.pid)) if nginx else None
        mine, other = in_turns(ours, floor, rounds=2)
        name = f"fan-out, {AUDIENCE} viewers"
        yield Figure(name, "CPU per GB, proxy", median(mine), "s", 0.40)
        if other:
            yield Figure(name, "CPU per GB, nginx, a file at the same rate", median(other), "s")
        else:
            yield Skipped(name, "nginx is not installed")
        yield Figure(name, "errors", sum(failures(load) for load in loads), "", 0)
        yield Figure(name, "longest gap", max(load.gap_max for load in loads), "s")
        yield noise(name, cores)
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
        with keeper("ts", daemon.port, path):
            sleep(RING_SECONDS)
            with Meter(daemon.pid) as meter:
                load = viewers.run("ts", daemon.port, path, CROWD, seconds=12, ramp=4)
    yield Figure(name, "CPU per GB", per_gb(meter.own, load), "s", 0.32)
    yield Figure(name, "delivered", load.mbit_per_second / 1e3, "Gbit/s")
    yield Figure(name, "longest gap", load.gap_max, "s", 0.5)
    yield Figure(name, "errors", failures(load), "", 0)
    yield Figure(name, "first keyframe, p99", load.join_p99 * 1e3, "ms")
    yield Figure(name, "CPU seconds of the load itself, per GB", per_gb(load.cpu, load), "s")
    yield noise(name, [meter.foreign(load.cpu)])
    yield Figure("memory", f"resident with {CROWD} viewers", meter.rss_peak / 1e6, "MB", 130)
    yield Figure("memory", "resident with 1 viewer, buffer full", meter.rss_before / 1e6, "MB")
    yield Figure("memory", "per viewer", (meter.rss_peak - meter.rss_before) / (CROWD - 1) / 1e3, "kB")


def shared_hls(origin: Origin, _: Path) -> Rows:
    """One HLS writer for 300 viewers, and nginx serving the same files to as many, in turns."""
    name = f"shared HLS, {AUDIENCE} viewers"
    with Daemon() as daemon, ExitStack() as stack:
        path = daemon.hls(origin.url("shared"))
        daemon.wait_warm(path)
        stack.enter_context(keeper("hls", daemon.port, f"{path}?client_id=keeper"))
        sleep(EDGE * GOP)
        nginx = if_installed(stack, files(daemon.newest_directory()))
        with_ffmpeg: list[float] = []
        loads: list[Load] = []
        cores: list[float] = []

        def ours() -> float:
            with Meter(daemon.pid) as meter:
                load = viewers.run("hls", daemon.port, path + "?client_id={i}", AUDIENCE, seconds=TURN)
            loads.append(load)
            cores.append(meter.foreign(load.cpu))
            with_ffmpeg.append(per_gb(meter.own + meter.children, load))
            return per_gb(meter.own, load)

        def theirs(port: int, pid: int) -> float:
            with Meter(pid) as meter:
                load = viewers.run("hls", port, "/files/index.m3u8", AUDIENCE, seconds=TURN)
            loads.append(load)
            return per_gb(meter.own + meter.children, load)

        same = (lambda: theirs(nginx.port, nginx.pid)) if nginx else None
        mine, other = in_turns(ours, same, rounds=ROUNDS)
    yield from against_nginx(name, mine, other, "the same files")
    yield Figure(name, "CPU per GB, proxy", median(mine), "s")
    yield Figure(name, "CPU per GB, proxy and its FFmpeg", median(with_ffmpeg), "s")
    yield Figure(name, "errors and rebuffers", sum(failures(load) + load.rebuffers for load in loads), "", 0)
    yield noise(name, cores)


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
    yield Figure(name, "errors", failures(load), "", 0)
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
    "pass-through": pass_through,
    "mid-download": mid_download,
    "rewrite": rewrite,
    "failover": failover,
    "faults": faults,
    "api": api,
    "lineup": lineup,
    "storm": storm,
    "cold-start": cold_start,
}
