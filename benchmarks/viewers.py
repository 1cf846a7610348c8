"""N players in one process, cheap enough to stand beside what they measure.

``python -m benchmarks.viewers ts|hls PORT PATH COUNT SECONDS [RAMP]`` prints a ``Load`` as JSON. ``{i}`` in
PATH is the number of the viewer. They start evenly over RAMP seconds and then watch for SECONDS.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import monotonic, process_time

from benchmarks.crowd import Crowd
from benchmarks.players import HlsViewer, TsViewer, Viewer


@dataclass(frozen=True)
class Load:
    """What the viewers saw. Times in seconds; 0 where there is nothing to measure."""

    viewers: int
    bytes: int
    seconds: float
    mbit_per_second: float
    """While everybody watched, that is without the ramp."""
    errors: dict[str, int]
    joined: int
    """Viewers that got a beginning they can play: TS tables and a keyframe, or a whole segment."""
    join_p50: float
    join_p99: float
    gap_p99: float
    gap_max: float
    """Longest time without a byte, or of an HLS player without a picture."""
    playlist_p99: float
    segments: int
    rebuffers: int
    cpu: float
    """CPU seconds of the load itself."""


def watch(kind: type[Viewer], port: int, path: str, count: int, *, seconds: float, ramp: float) -> Load:
    """Run the viewers in this process."""
    crowd = Crowd(port)
    viewers = [kind(crowd, path.replace("{i}", str(number))) for number in range(count)]
    began, cpu = monotonic(), process_time()
    for number, viewer in enumerate(viewers):
        crowd.at(began + ramp * number / count, viewer.start)
    crowd.run(began + ramp)
    full, during_ramp = monotonic(), crowd.bytes
    crowd.run(full + seconds)
    ended = monotonic()
    for viewer in viewers:
        viewer.close(ended)
    joins = [viewer.joined for viewer in viewers if viewer.joined]
    gaps = [viewer.gap for viewer in viewers]
    return Load(
        viewers=count,
        bytes=crowd.bytes,
        seconds=ended - began,
        mbit_per_second=(crowd.bytes - during_ramp) * 8e-6 / (ended - full),
        errors=dict(crowd.errors),
        joined=len(joins),
        join_p50=percentile(joins, 0.5),
        join_p99=percentile(joins, 0.99),
        gap_p99=percentile(gaps, 0.99),
        gap_max=max(gaps),
        playlist_p99=percentile([viewer.playlist_after for viewer in viewers if viewer.playlist_after], 0.99),
        segments=sum(viewer.segments for viewer in viewers),
        rebuffers=sum(viewer.rebuffers for viewer in viewers),
        cpu=process_time() - cpu,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not below ``share`` of them; 0 of nothing."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def run(kind: str, port: int, path: str, count: int, *, seconds: float, ramp: float = 1.0) -> Load:
    """Run the viewers in a process of their own; raises ``RuntimeError`` with what it said."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.viewers",
        kind,
        *map(str, (port, path, count, seconds, ramp)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the viewers broke: {done.stderr}")
    return Load(**json.loads(done.stdout))


def raise_file_limit() -> int:
    """Allow this process and its children as many open files as the system does; that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.viewers", description="N simulated players.")
    parser.add_argument("kind", choices=["ts", "hls"])
    parser.add_argument("port", type=int)
    parser.add_argument("path", help="{i} stands for the number of the viewer")
    parser.add_argument("count", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("ramp", type=float, nargs="?", default=1.0)
    given = parser.parse_args()
    raise_file_limit()
    kind = TsViewer if given.kind == "ts" else HlsViewer
    load = watch(kind, given.port, given.path, given.count, seconds=given.seconds, ramp=given.ramp)
    print(json.dumps(asdict(load)))


if __name__ == "__main__":
    _main()
