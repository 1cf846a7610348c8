"""What a lineup of 100,000 channels costs: taken in, kept and given out."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.cpu import tree
from benchmarks.daemon import Daemon
from benchmarks.origin import Origin
from benchmarks.report import Figure
from benchmarks.turns import Rows

CHANNELS = 100_000
SETTLED = 3.0
"""Seconds after an import in which the registry is written."""


def lineup(_: Origin, __: Path) -> Rows:
    """Import twice, the second time with every URL changed; then the lineup out."""
    with Daemon() as daemon:
        before = _resident(daemon.pid)
        for what, token in (("import", "a"), ("import, all changed", "b")):
            body = _lineup(token)
            with _stranger(daemon.port) as stranger:
                took = _import(daemon.port, body)
            yield Figure("lineup", f"{what}, {CHANNELS} channels", took, "s", 5)
            yield Figure("lineup", f"{what}: longest block of the loop", max(stranger.waits) * 1e3, "ms", 50)
            if token == "a":
                with _stranger(daemon.port) as stranger:
                    threading.Event().wait(SETTLED)
                yield Figure("lineup", "while it is kept: longest block", max(stranger.waits) * 1e3, "ms", 50)
                grown = _resident(daemon.pid) - before
                yield Figure("lineup", "memory of the import", grown / 1e6, "MB", 200)
                yield Figure("lineup", "per idle channel", grown / CHANNELS, "bytes", 2000)
        with _stranger(daemon.port) as stranger:
            first, whole, size = _read(daemon.port, "/playlist.m3u")
        yield Figure("lineup", "out: first byte", first * 1e3, "ms", 100)
        yield Figure("lineup", f"out: all of its {size / 1e6:.0f} MB", whole, "s")
        yield Figure("lineup", "out: longest block of the loop", max(stranger.waits) * 1e3, "ms", 50)


def _lineup(token: str) -> bytes:
    entries = (
        f'#EXTINF:-1 tvg-id="channel{number}.example" tvg-name="Channel {number} HD"'
        f' tvg-logo="http://logos.example/pictures/{number}.png" group-title="Group {number % 200}",'
        f"Channel {number} HD\nhttp://provider.example:8080/live/user/{token}/{number}.ts"
        for number in range(CHANNELS)
    )
    return "\n".join(['#EXTM3U url-tvg="http://provider.example/xmltv.php"', *entries]).encode()


def _import(port: int, body: bytes) -> float:
    """Seconds until it is in force."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = perf_counter()
    connection.request("POST", "/api/v1/channels/import", body, {"Content-Type": "audio/x-mpegurl"})
    response = connection.getresponse()
    said = response.read()
    took = perf_counter() - began
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"the import failed: {said[:200]!r}")
    return took


def _read(port: int, path: str) -> tuple[float, float, int]:
    """Seconds to the first byte and to the last one, and how many there were."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    size = len(response.read(1))
    first = perf_counter() - began
    while piece := response.read(1 << 20):
        size += len(piece)
    connection.close()
    return first, perf_counter() - began, size


class _Stranger:
    """Somebody who asks for something small, one request after the other."""

    def __init__(self, port: int) -> None:
        self.waits: list[float] = []
        self.done = threading.Event()
        self._port = port

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self.done.wait(0.001):
            began = perf_counter()
            connection.request("GET", "/livez")
            connection.getresponse().read()
            self.waits.append(perf_counter() - began)
        connection.close()


@contextmanager
def _stranger(port: int) -> Iterator[_Stranger]:
    stranger = _Stranger(port)
    thread = threading.Thread(target=stranger.run)
    thread.start()
    try:
        yield stranger
    finally:
        stranger.done.set()
        thread.join()


def _resident(pid: int) -> int:
    """Bytes of the proxy that are in memory."""
    return sum(one.rss for one in tree(pid).values())
