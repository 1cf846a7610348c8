"""A scriptable HTTP/1.1 origin on raw sockets: a provider that misbehaves when told, and keeps a log of it.

In a test::

    async with Origin() as origin:
        origin.on("/live.ts", Answer(ts=True, rst=100_000), Answer(ts=True))
        source = HttpSource(origin.url("/live.ts"), ...)
        origin.step()                                # the live edge moves by one chunk
        await origin.until(lambda: origin.path("/live.ts").live == 0)

Each request takes the path's next `Answer`, the last one for ever. A connection carries one request. In
another process ``python -m tests.support.origin --ts FILE --rate 8e6 --port 0`` prints its port; there
``POST /_set`` takes
``{"/path": [{"status": 503}, {"ts": true}]}``, ``GET /_log`` answers what happened.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.answer import CHUNK, Answer, Connection, LiveEdge, Sender, null_packets
from tests.support.patience import patience

__all__ = ["Answer", "Connection", "Origin", "PathLog", "null_packets"]

OVER = Answer(status=429, headers={"Retry-After": "1"}, body="too many connections", length=True)


@dataclass
class PathLog:
    """What a path has seen."""

    connections: list[Connection] = field(default_factory=list)
    peak: int = 0
    """Most connections open at the same time."""

    @property
    def live(self) -> int:
        return sum(connection.closed is None for connection in self.connections)

    @property
    def requests(self) -> list[dict[str, str]]:
        """Headers of each request, in order."""
        return [connection.headers for connection in self.connections]


class Origin:
    """The server. ``rate`` (bits/s) moves the live edge by clock; without it only ``step()`` does.

    ``limit`` is what the account allows: a request beyond so many is answered with ``over``, and counted.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ts: bytes | None = None,
        rate: float = 0.0,
        tls: ssl.SSLContext | None = None,
        limit: int = 0,
        over: Answer = OVER,
    ) -> None:
        self.host = host
        self.port = port
        self.ts = ts if ts is not None else null_packets(7 * 64)
        self.connections: list[Connection] = []
        """Every accepted connection, with or without a request."""
        self.refused = 0
        """Requests that came while ``limit`` others were being answered."""
        self._rate = rate
        self._tls = tls
        self._limit = limit
        self._over = over
        self._answered: list[Connection] = []
        """Connections that count against the limit, those that are closed too."""
        self._answers: dict[str, list[Answer]] = {}
        self._default = Answer(status=404)
        self._paths: defaultdict[str, PathLog] = defaultdict(PathLog)
        self._edge = LiveEdge(self.ts)
        self._tasks: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Origin:
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, ssl=self._tls, backlog=1024, limit=1 << 20
        )
        self.port = self._server.sockets[0].getsockname()[1]
        if self._rate:
            self._keep(asyncio.ensure_future(self._pace()))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(asyncio.ensure_future(self._serve(reader, writer)))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def url(self, path: str = "/", *, host: str | None = None, userinfo: str = "") -> str:
        """URL of ``path`` here, under another name for the host if given."""
        return f"http{'s' if self._tls else ''}://{userinfo}{host or self.host}:{self.port}{path}"

    def on(self, path: str, *answers: Answer) -> None:
        """Answer the coming requests for ``path`` with these, one each; the last one stays."""
        self._answers[path] = list(answers)

    def always(self, answer: Answer) -> None:
        """Answer every path that has no answers of its own with this."""
        self._default = answer

    def path(self, path: str) -> PathLog:
        """What ``path`` has seen so far."""
        return self._paths[path]

    @property
    def edge(self) -> int:
        """Bytes of the live stream that are out; a new connection starts there."""
        return self._edge.position

    def step(self, chunks: int = 1) -> None:
        """Move the live edge on by ``chunks`` times seven packets."""
        self._edge.advance(chunks)

    async def cut(self) -> None:
        """End every answer that is under way, with a FIN, and wait until its connection is closed."""
        for answering in self._answering:
            answering.cancel()
        await self.until(lambda: all(one.closed is not None for one in self.connections))

    async def until(self, true: Callable[[], bool], within: float = 15.0) -> None:
        """Wait until ``true``, looked at after each change of the log; else TimeoutError."""
        async with patience(within):
            while not true():
                await self._edge.changed()

    def log(self) -> dict[str, Any]:
        """The log in a form fit for JSON."""
        return {
            "now": time.monotonic(),
            "edge": self._edge.position,
            "connections": [asdict(connection) for connection in self.connections],
            "paths": {
                path: {"connections": len(log.connections), "live": log.live, "peak": log.peak}
                for path, log in self._paths.items()
            },
        }

    async def _pace(self) -> None:
        start = time.monotonic()
        while True:
            await asyncio.sleep(0.02)
            due = (time.monotonic() - start) * self._rate / 8 - self._edge.position
            if due >= CHUNK:
                self.step(int(due // CHUNK))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        connection = Connection(len(self.connections), f"{peer[0]}:{peer[1]}", time.monotonic())
        self.connections.append(connection)
        self._edge.tell()
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                head = await reader.readuntil(b"\r\n\r\n")
                await self._exchange(connection, head, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # whoever should read the rest may have failed, and a test must end
            raise
        finally:
            connection.closed = connection.closed or time.monotonic()
            self._edge.tell()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _exchange(
        self, connection: Connection, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        request, *lines = head.decode("latin-1").rstrip().split("\r\n")
        connection.target = request.split(" ")[1]
        connection.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        connection.path = urlsplit(connection.target).path
        if connection.path.startswith("/_"):
            writer.write(await self._control(connection, reader))
            return
        log = self._paths[connection.path]
        log.connections.append(connection)
        log.peak = max(log.peak, log.live)
        answers = self._answers.get(connection.path) or [self._default]
        busy = sum(one.closed is None for one in self._answered)
        if 0 < self._limit <= busy:
            answer = self._over
            self.refused += 1
        else:
            self._answered.append(connection)
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self._edge.tell()
        answering = asyncio.ensure_future(Sender(self._edge, connection, writer).send(answer))
        self._answering.add(answering)
        answering.add_done_callback(self._answering.discard)
        leaving = asyncio.ensure_future(self._watch(connection, reader))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _watch(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        """Note when the other side closes."""
        with suppress(OSError):
            while await reader.read(65536):
                pass
        connection.closed = time.monotonic()

    async def _control(self, connection: Connection, reader: asyncio.StreamReader) -> bytes:
        if connection.path == "/_set":
            script = json.loads(await reader.readexactly(int(connection.headers["content-length"])))
            for path, answers in script.items():
                self.on(path, *(Answer(**answer) for answer in answers))
        body = json.dumps(self.log()).encode()
        return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def _main() -> None:
    parser = argparse.ArgumentParser(description="Scriptable origin; prints its port")
    parser.add_argument("--ts", type=Path, required=True, help="transport stream to loop")
    parser.add_argument("--rate", type=float, default=8e6, help="bits per second")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    data = options.ts.read_bytes()
    async with Origin(host=options.host, port=options.port, ts=data, rate=options.rate) as origin:
        origin.always(Answer(ts=True))
        print(origin.port, flush=True)
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())
