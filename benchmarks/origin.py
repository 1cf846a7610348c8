"""A provider: one live MPEG-TS channel under any number of names, paced, with a count of who asked.

``python -m benchmarks.origin FILE`` prints its port and serves until it is ended:

* ``GET /live/NAME.ts`` is endless; ``?at=SECONDS`` says where in the clip a connection begins, and
  ``&for=SECONDS`` when it breaks off, which it does once: later connections are closed at once;
  ``&quiet=SECONDS`` when it says nothing more, open as it is;
* ``GET /stats`` is JSON, name -> ``Watch``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from bisect import bisect_left
from collections import defaultdict
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from benchmarks.clip import PACKET, RATE, keyframes

TICK = 0.04
"""Seconds between two writes, about one frame."""
BYTES_PER_SECOND = RATE / 8
SETTLED = 10.0
"""Seconds into the clip where it looks like a live stream; the multiplexer's first packets do not."""


@dataclass
class Watch:
    """What was asked of one name."""

    connections: int = 0
    now: int = 0
    peak: int = 0
    keyframe_at: float = 0.0
    """Monotonic time at which the newest connection was sent its first keyframe."""


class _Server:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._keyframes = keyframes(data)
        self._watches: defaultdict[str, Watch] = defaultdict(Watch)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            url = urlsplit(head.split(b" ", 2)[1].decode())
            if url.path == "/stats":
                _head(writer, "application/json")
                stats = {name: asdict(watch) for name, watch in self._watches.items()}
                writer.write(json.dumps(stats).encode())
            else:
                query = parse_qs(url.query)
                at, until, quiet = (
                    float(query.get(name, [usual])[0])
                    for name, usual in (("at", "0"), ("for", "inf"), ("quiet", "inf"))
                )
                watch = self._watches[url.path]
                watch.connections += 1
                if until == inf or watch.connections == 1:
                    await self._live(watch, writer, at, until, quiet)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the daemon hung up
        finally:
            writer.close()

    async def _live(
        self, watch: Watch, writer: asyncio.StreamWriter, at: float, until: float, quiet: float
    ) -> None:
        watch.now += 1
        watch.peak = max(watch.peak, watch.now)
        watch.keyframe_at = 0.0
        try:
            _head(writer, "video/mp2t")
            await self._pace(watch, writer, at, min(until, quiet))
            if quiet < until:
                await writer.wait_closed()
            writer.transport.abort()
        finally:
            watch.now -= 1

    async def _pace(self, watch: Watch, writer: asyncio.StreamWriter, at: float, until: float) -> None:
        size = len(self._data)
        begin = int(at * BYTES_PER_SECOND) // PACKET * PACKET % size
        later = bisect_left(self._keyframes, begin)
        keyframe = self._keyframes[later] - begin if later < len(self._keyframes) else size
        began, sent = monotonic(), 0
        while monotonic() - began < until:
            due = int((monotonic() - began + TICK) * BYTES_PER_SECOND) // PACKET * PACKET
            while sent < due:
                position = (begin + sent) % size
                piece = self._data[position : min(size, position + due - sent)]
                writer.write(piece)
                sent += len(piece)
            if sent > keyframe and not watch.keyframe_at:
                watch.keyframe_at = monotonic()
            await writer.drain()
            await asyncio.sleep(TICK)


def _head(writer: asyncio.StreamWriter, kind: str) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode())


async def _serve(path: Path) -> None:
    server = await asyncio.start_server(_Server(path.read_bytes()).serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Provider:
    """A provider in a process of its own, from ``with`` to its end; ``port`` holds inside."""

    def __init__(self, module: str, material: Path) -> None:
        self._command = [sys.executable, "-m", module, str(material)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self._base = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate()

    def _stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._base}/stats", timeout=5) as answer:
            stats: dict[str, Any] = json.load(answer)
        return stats


class Origin(Provider):
    """The provider of endless MPEG-TS."""

    def __init__(self, clip: Path) -> None:
        super().__init__("benchmarks.origin", clip)

    def url(self, name: str, at: float = SETTLED, until: float = inf, quiet: float = inf) -> str:
        """Address of a channel; ``at`` is where in the clip, in seconds, a connection begins, ``until`` after
        how many seconds the only one breaks off, ``quiet`` after how many it says nothing more."""
        return f"{self._base}/live/{name}.ts?at={at:.2f}&for={until:.2f}&quiet={quiet:.2f}"

    def watch(self, name: str) -> Watch:
        """What was asked of this name so far."""
        return Watch(**self._stats().get(f"/live/{name}.ts", {}))


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
