"""CPU seconds and memory of a process and its descendants, read from /proc."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Self

INTERVAL = 0.2
"""Seconds between two looks; a child that lives shorter may be missed."""

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """One process at one moment: CPU seconds (user and system) so far, and resident bytes."""

    parent: int
    cpu: float
    rss: int


def tree(root: int) -> dict[int, Process]:
    """``root`` and everything below it, by process id."""
    alive = {int(name): found for name in os.listdir("/proc") if name.isdigit() and (found := _read(name))}
    members = {root: alive[root]} if root in alive else {}
    grew = True
    while grew:
        more = {pid: one for pid, one in alive.items() if pid not in members and one.parent in members}
        members |= more
        grew = bool(more)
    return members


def _read(pid: str) -> Process | None:
    try:
        fields = Path("/proc", pid, "stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:  # it has just ended
        return None
    # proc(5): after the name come state (3), ppid (4), … utime (14), stime (15), … rss (24)
    return Process(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICK, int(fields[21]) * _PAGE)


def machine() -> float:
    """CPU seconds all cores were busy since boot, with whatever; stolen ones are included."""
    fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
    # proc(5): user nice system idle iowait irq softirq steal
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICK


class Meter:
    """Measures a process tree from ``with`` to its end.

    ``own`` is the CPU seconds of ``root`` itself, ``children`` that of its descendants, ``rss_before`` and
    ``rss_peak`` the resident bytes of ``root`` itself, ``born`` the number of descendants seen.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._before: dict[int, Process] = {}
        self._last: dict[int, Process] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self.rss_before = self.rss_peak = 0

    def __enter__(self) -> Self:
        self._before = tree(self._root)
        self.rss_before = self._before[self._root].rss
        self._busy, self._began = machine(), monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        self._busy, self._seconds = machine() - self._busy, monotonic() - self._began

    def _look_on(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self._last |= tree(self._root)
        if self._root in self._last:
            self.rss_peak = max(self.rss_peak, self._last[self._root].rss)

    def _used(self, pid: int) -> float:
        before = self._before.get(pid)
        return self._last[pid].cpu - (before.cpu if before else 0.0)

    @property
    def own(self) -> float:
        return self._used(self._root)

    @property
    def children(self) -> float:
        return sum(self._used(pid) for pid in self._last if pid != self._root)

    @property
    def born(self) -> int:
        return len(self._last) - 1

    def foreign(self, known: float) -> float:
        """Cores busy with neither this tree nor ``known`` CPU seconds: noise of the machine."""
        return max(0.0, self._busy - self.own - self.children - known) / self._seconds
