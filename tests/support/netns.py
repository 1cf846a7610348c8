"""A machine of its own for a peer, whose cable can be pulled."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_NUMBERS = itertools.count()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)


def ticks(seconds: float) -> Iterator[float]:
    """Every 20 ms the seconds that have passed, for so long."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        yield passed
        time.sleep(0.02)


class Machine:
    """A network namespace joined to ours by one cable; needs root.

    ``here`` and ``there`` are the addresses at its two ends.
    """

    def __init__(self) -> None:
        number = next(_NUMBERS) % 60
        net = f"198.19.{os.getpid() % 250}.{number * 4}"
        base = net.rpartition(".")[0]
        self.here, self.there = f"{base}.{number * 4 + 1}", f"{base}.{number * 4 + 2}"
        self._name = f"m3u-peer-{os.getpid()}-{number}"
        self._link = f"mp{os.getpid() % 100_000}n{number}"
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        _ip("netns", "add", self._name)
        try:
            _ip("link", "add", self._link, "type", "veth", "peer", "name", "cable", "netns", self._name)
            _ip("addr", "add", f"{self.here}/30", "dev", self._link)
            _ip("link", "set", self._link, "up")
            _ip("-n", self._name, "addr", "add", f"{self.there}/30", "dev", "cable")
            _ip("-n", self._name, "link", "set", "cable", "up")
        except BaseException:
            _ip("netns", "del", self._name)
            raise
        return self

    def run(self, code: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Python code in there, ended with the machine."""
        command = ["ip", "netns", "exec", self._name, sys.executable, "-c", code, *arguments]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        self._children.append(child)
        return child

    def pull_cable(self) -> None:
        """From now on no packet arrives in either direction, and nobody is told."""
        _ip("-n", self._name, "link", "set", "cable", "down")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in self._children:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        _ip("netns", "del", self._name)
