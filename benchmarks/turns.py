"""What the scenarios share: two sides measured in turns, and what is counted of a load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

from benchmarks.clip import Missing
from benchmarks.nginx import Nginx
from benchmarks.report import Figure, Skipped
from benchmarks.viewers import Load

Rows = Iterator[Figure | Skipped]

AUDIENCE = 300
ROUNDS = 5
"""Turns of each side in the comparisons of HLS, the noisiest figures."""
TURN = 8.0
"""Seconds of watching in one turn of a comparison."""


def in_turns(
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


def against_nginx(name: str, mine: list[float], other: list[float], what: str) -> Rows:
    """The ratio of each round and what is told of nginx, which sent ``what``; or that it is not there."""
    if not other:
        yield Skipped(name, "nginx is not installed")
        return
    ratios = [a / b for a, b in zip(mine, other, strict=True)]
    yield Figure(name, "CPU, proxy against nginx", median(ratios), "x", 2.5)
    yield Figure(name, "the same, lowest round", min(ratios), "x")
    yield Figure(name, "the same, highest round", max(ratios), "x")
    yield Figure(name, f"CPU per GB, nginx, {what}", median(other), "s")


def per_gb(seconds: float, load: Load) -> float:
    """CPU seconds per 10^9 bytes delivered."""
    return seconds / (load.bytes / 1e9)


def noise(name: str, cores: list[float]) -> Figure:
    """The source, the keeper and strangers: from about half a core on, distrust gaps and joins."""
    return Figure(name, "cores busy with something else", max(cores), "")


def failures(load: Load) -> int:
    """Everything that went wrong for a viewer; one that never got anything to play counts too."""
    return max(sum(load.errors.values()), load.viewers - load.joined)


def if_installed(stack: ExitStack, nginx: Nginx) -> Nginx | None:
    """Start it until the stack ends; ``None`` where there is none."""
    try:
        return stack.enter_context(nginx)
    except Missing:
        return None


@contextmanager
def keeper(kind: str, port: int, path: str) -> Iterator[None]:
    """One viewer who stays, so that nothing is closed between two turns."""
    command = [sys.executable, "-m", "benchmarks.viewers", kind, str(port), path, "1", "3600", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
