"""What a test may leave behind: nothing."""

from __future__ import annotations

import gc
import os
import threading
import time
from dataclasses import dataclass

PATIENCE = 3.0


@dataclass(frozen=True)
class Look:
    """Descriptors, threads and children of this process."""

    fds: dict[int, str]
    threads: frozenset[str]
    children: frozenset[int]


def _fds() -> dict[int, str]:
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


def _children() -> frozenset[int]:
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children", encoding="ascii") as listing:
                found.update(int(pid) for pid in listing.read().split())
        except OSError:
            continue
    return frozenset(found)


def look() -> Look:
    """Now."""
    names = frozenset(t.name for t in threading.enumerate() if not t.name.startswith(("asyncio_", "pytest")))
    return Look(_fds(), names, _children())


def _extra(before: Look, now: Look) -> list[str]:
    fds = [f"fd {fd} -> {now.fds[fd]}" for fd in now.fds.keys() - before.fds.keys()]
    fds = [text for text in fds if "/proc/" not in text and "pytest" not in text]
    threads = [f"thread {name}" for name in now.threads - before.threads]
    children = [f"child {pid}" for pid in now.children - before.children]
    return fds + threads + children


def check(before: Look) -> None:
    """Fail with a list of what was left, after a short patience for what is still closing."""
    deadline = time.monotonic() + PATIENCE
    while extra := _extra(before, look()):
        gc.collect()
        if time.monotonic() > deadline:
            raise AssertionError("left behind: " + "; ".join(extra))
        time.sleep(0.05)
