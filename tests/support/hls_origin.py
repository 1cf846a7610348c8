"""A scriptable HLS provider on raw sockets: it streams as told, misbehaves as told, and keeps a log of it.

In a test::

    async with HlsOrigin() as origin:
        news = origin.add(single("news", media.high))          # tests.support.hls_lists
        origin.on(news.segment(3), Answer(status=503), None)   # once, then as usual
        hold = origin.hold(news.segment(4), after=1000)        # the rest of the body when the test says so
        ... origin.url("/news/index.m3u8") ...
        origin.step("news")                                    # or origin.play("news") moves it by clock
        assert origin.count(news.segment(3)) == 2

It listens on several loopback addresses with one port. Connections are kept alive; the log has one entry for
each request.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from itertools import count
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from tests.support.answer import Answer, Connection, LiveEdge, Sender, null_packets
from tests.support.hls_lists import PLAYLIST_TYPE, HlsStream, Resource
from tests.support.patience import patience

__all__ = ["Answer", "File", "HlsOrigin", "Hold", "gzip_bomb", "gzipped", "playlist"]

HOSTS = ("127.0.0.1", "127.0.0.2")
EDGE = "/edge"
"""Prefix of the addresses that ``rotate`` leads to; the log leaves it out."""
PIECE = 1 << 16
Framing = Literal["length", "chunked", "close"]


def playlist(text: str | bytes, **how: object) -> Answer:
    """An answer with this text as a playlist."""
    return replace(Answer(headers={"Content-Type": PLAYLIST_TYPE}, body=text, length=True), **how)  # type: ignore[arg-type]


def gzipped(text: bytes, *, broken: bool = False) -> Answer:
    """A playlist that is compressed though nobody asked; a broken one ends in the middle, wrongly."""
    body = gzip.compress(text, mtime=0)
    if broken:
        body = body[: len(body) // 2] + b"\xff" * 64
    headers = {"Content-Type": PLAYLIST_TYPE, "Content-Encoding": "gzip"}
    return Answer(headers=headers, body=body, length=True)


def gzip_bomb(size: int = 50 * 2**20) -> Answer:
    """A small body that is ``size`` bytes of playlist once decoded."""
    line = b"#EXTINF:2,\nsegment.ts\n"
    return gzipped(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + line * (size // len(line)))


@dataclass(frozen=True)
class File:
    """A file to seek in (RFC 9110 §14). ``ranges=False``: a server that always sends all of it."""

    body: bytes
    content_type: str
    ranges: bool = True
    etag: bool = True
    modified: float = 1_700_000_000.0

    @property
    def validators(self) -> dict[str, str]:
        """ETag and Last-Modified."""
        tag = {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'} if self.etag else {}
        return tag | {"Last-Modified": formatdate(self.modified, usegmt=True)}


@dataclass
class Hold:
    """Lets go of answers piece by piece. Every request for the path gets the bytes released so far."""

    path: str
    released: int | None
    """Bytes of the body that may go out; None: not even the head."""
    done: bool = False
    aborted: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def release(self, size: int) -> None:
        """``size`` more bytes of the body."""
        self.released = (self.released or 0) + size
        self._tell()

    def finish(self) -> None:
        """All the rest, for later requests too."""
        self.done = True
        self._tell()

    def cut(self) -> None:
        """Reset the connections that wait here (RST); later requests are answered whole."""
        self.aborted = self.done = True
        self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass
class Wire:
    """One accepted connection and the requests on it."""

    writer: asyncio.StreamWriter
    host: str
    """Address of ours that was dialled."""
    peer: str
    opened: float
    heads: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    closed: float | None = None


@dataclass
class Request(Connection):
    """An entry of the log. ``path`` has no query and no prefix; ``closed`` is when the answer ended."""

    method: str = "GET"
    host: str = ""
    status: int = 0


class HlsOrigin:
    """The server. All paths are absolute; a path of no stream, file or script is 404."""

    def __init__(self, hosts: tuple[str, ...] = HOSTS) -> None:
        self.hosts = hosts
        self.port = 0
        self.requests: list[Request] = []
        self.wires: list[Wire] = []
        self.streams: dict[str, HlsStream] = {}
        self.framing: dict[str, Framing] = {}
        """How the body of a path is delimited (RFC 9112 §6.3); ``length`` if not said."""
        self._files: dict[str, File] = {}
        self._aliases: dict[str, str] = {}
        self._scripts: dict[str, list[Answer | None]] = {}
        self._every: dict[str, tuple[int, Answer]] = {}
        self._holds: dict[str, Hold] = {}
        self._rotating: dict[str, count[int]] = {}
        self._news = LiveEdge(null_packets(7 * 64))
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> HlsOrigin:
        for host in self.hosts:
            server = await asyncio.start_server(self._accept, host, self.port, backlog=1024)
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str, host: str | None = None) -> str:
        """URL of a path here, by the first address or another."""
        return f"http://{host or self.hosts[0]}:{self.port}{path}"

    # What it serves

    def add(self, stream: HlsStream) -> HlsStream:
        """Serve a stream below ``/{stream.name}/``."""
        self.streams[stream.name] = stream
        return stream

    def file(self, path: str, file: File) -> None:
        """Serve a file with ranges, validators and HEAD."""
        self._files[path] = file

    def alias(self, path: str, target: str) -> None:
        """Serve at ``path`` what is at ``target``: a playlist under the name of a transport stream."""
        self._aliases[path] = target

    def step(self, name: str, segments: int = 1) -> None:
        """So many more segments of a stream are out."""
        self.streams[name].step(segments)
        self._news.tell()

    def play(self, name: str, speed: float = 1.0) -> None:
        """Move the edge of a stream by clock from now on; ``speed=2`` twice as fast as it plays."""
        self._keep(asyncio.ensure_future(self._pace(name, speed)))

    async def _pace(self, name: str, speed: float) -> None:
        durations = self.streams[name].main.track.durations
        loop = asyncio.get_running_loop()
        due = loop.time()
        for n in count():
            due += durations[n % len(durations)] / speed
            await asyncio.sleep(due - loop.time())
            self.step(name)

    # How it misbehaves

    def on(self, path: str, *answers: Answer | None) -> None:
        """Answer the coming requests for ``path`` with these, one each, the last for ever; None: as usual.

        Without answers every script of the path is forgotten.
        """
        self._scripts[path] = list(answers)
        if not answers:
            self._every.pop(path, None)
            self._rotating.pop(path, None)

    def every(self, path: str, nth: int, answer: Answer) -> None:
        """Every ``nth`` request for ``path`` gets this instead."""
        self._every[path] = (nth, answer)

    def hold(self, path: str, after: int | None = None) -> Hold:
        """Hold back the answers for ``path`` after so many bytes of body, or before the head."""
        return self._holds.setdefault(path, Hold(path, after))

    def rotate(self, path: str) -> None:
        """Send each request for ``path`` on (302) to the next of our addresses, below ``/edge``."""
        self._rotating[path] = count()

    # What it saw

    def asked(self, path: str) -> list[Request]:
        """Requests for a path, in order."""
        return [request for request in self.requests if request.path == path]

    def count(self, path: str) -> int:
        """Number of requests for a path, redirects included."""
        return len(self.asked(path))

    def counts(self, pattern: str = r".*") -> Counter[str]:
        """Requests by path, those whose path matches a regular expression."""
        return Counter(each.path or "" for each in self.requests if re.fullmatch(pattern, each.path or ""))

    def busy(self, pattern: str = r".*") -> int:
        """Requests under way."""
        return sum(
            each.closed is None and re.fullmatch(pattern, each.path or "") is not None
            for each in self.requests
        )

    def peak(self, pattern: str = r".*") -> int:
        """Most requests at the same time."""
        chosen = [each for each in self.requests if re.fullmatch(pattern, each.path or "")]
        changes = [(each.opened, 1) for each in chosen]
        changes += [(each.closed, -1) for each in chosen if each.closed is not None]
        most = now = 0
        for _, change in sorted(changes):
            now += change
            most = max(most, now)
        return most

    @property
    def open_connections(self) -> int:
        """Sockets that are open now, idle ones too."""
        return sum(wire.closed is None for wire in self.wires)

    async def until(self, true: Callable[[], bool], within: float = 15.0) -> None:
        """Wait until ``true``, looked at after each change here; else TimeoutError."""
        async with patience(within):
            while not true():
                await self._news.changed()

    # Connections

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._keep(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests ahead, so that it is noticed when the other side leaves."""
        ours, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        wire = Wire(writer, ours[0], f"{peer[0]}:{peer[1]}", time.monotonic())
        self.wires.append(wire)
        self._news.tell()
        answering = asyncio.ensure_future(self._answer_all(wire))
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while True:
                    wire.heads.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            wire.closed = time.monotonic()
            self._news.tell()
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer_all(self, wire: Wire) -> None:
        try:
            while True:
                head = await wire.heads.get()
                request = self._note(head, wire)
                try:
                    if not await self._exchange(request, wire.writer):
                        return
                finally:
                    request.closed = time.monotonic()
                    self._news.tell()
        finally:
            wire.writer.close()

    def _note(self, head: bytes, wire: Wire) -> Request:
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        path = urlsplit(target).path
        inside = path.removeprefix(EDGE) if path.startswith(f"{EDGE}/") else path
        request = Request(
            number=len(self.requests),
            peer=wire.peer,
            opened=time.monotonic(),
            path=inside,
            target=target,
            headers=fields,
            method=method,
            host=wire.host,
        )
        self.requests.append(request)
        self._news.tell()
        return request

    async def _exchange(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer; whether the connection may be used again."""
        path = request.path or ""
        if (scripted := self._scripted(path)) is not None:
            request.status = scripted.status
            await Sender(self._news, request, writer).send(scripted)
            return False
        if path in self._rotating and not (request.target or "").startswith(EDGE):
            answer = self._onward(path)
        else:
            answer = await self._usual(request)
        request.status = answer.status
        if request.method == "HEAD":
            answer = replace(answer, headers={**answer.headers, "Content-Length": str(len(answer.body))})
            answer = replace(answer, body=b"", length=False, chunked=False)
        if (hold := self._holds.get(path)) is not None and not hold.done:
            return await self._held(hold, answer, request, writer)
        await Sender(self._news, request, writer).send(answer)
        return answer.headers.get("Connection") == "keep-alive"

    def _scripted(self, path: str) -> Answer | None:
        if path in self._every:
            nth, answer = self._every[path]
            if self.count(path) % nth == 0:
                return answer
        script = self._scripts.get(path) or [None]
        return script.pop(0) if len(script) > 1 else script[0]

    def _onward(self, path: str) -> Answer:
        host = self.hosts[next(self._rotating[path]) % len(self.hosts)]
        headers = {"Location": self.url(EDGE + path, host), "Connection": "keep-alive"}
        return Answer(status=302, headers=headers, length=True)

    async def _usual(self, request: Request) -> Answer:
        path = self._aliases.get(request.path or "", request.path or "")
        if path in self._files:
            return _of_file(self._files[path], request.headers)
        stream = self.streams.get(path.split("/")[1])
        resource = stream.find(path.split("/", 2)[2]) if stream and path.count("/") > 1 else None
        if stream and any(
            request.headers.get(name.lower()) != value for name, value in stream.require.items()
        ):
            return _plain(403, b"forbidden")
        if stream and resource:
            resource = await self._ready(stream, path, request, resource)
        if resource is None:
            return _plain(404, b"not found")
        answer = _of_file(
            File(resource.body, resource.content_type, etag=False), request.headers, validators=False
        )
        framing = self.framing.get(request.path or "", "length")
        if framing == "length":
            return answer
        connection = "keep-alive" if framing == "chunked" else "close"
        return replace(
            answer,
            length=False,
            chunked=framing == "chunked",
            headers={**answer.headers, "Connection": connection},
        )

    async def _ready(
        self, stream: HlsStream, path: str, request: Request, resource: Resource
    ) -> Resource | None:
        """Wait for a hinted part, or for the playlist that a blocking reload asks for."""
        file = path.split("/", 2)[2]
        wanted = parse_qs(urlsplit(request.target or "").query).get("_HLS_msn")
        by_name = {f"{each.name}.m3u8": each for each in stream.lists.values()}
        if wanted and file in by_name and by_name[file].low_latency:
            while by_name[file].edge <= int(wanted[0]):
                await self._news.changed()
            return stream.find(file)
        now: Resource | None = resource
        while now is not None and now.pending:
            await self._news.changed()
            now = stream.find(file)
        return now

    async def _held(self, hold: Hold, answer: Answer, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Send an answer as far as it is released, then what is released later."""
        while hold.released is None and not hold.done:
            await hold.changed.wait()
        body = answer.body if isinstance(answer.body, bytes) else answer.body.encode()
        if not hold.aborted:
            headers = {**answer.headers, "Content-Length": str(len(body))}
            await Sender(self._news, request, writer).send(
                replace(answer, headers=headers, body=b"", length=False)
            )
        while request.sent < len(body) and not hold.aborted:
            until = len(body) if hold.done else min(len(body), hold.released or 0)
            if until > request.sent:
                piece = body[request.sent : min(until, request.sent + PIECE)]
                writer.write(piece)
                await writer.drain()
                request.sent += len(piece)
                self._news.tell()
            else:
                await hold.changed.wait()
        if hold.aborted:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
            return False
        return answer.headers.get("Connection") == "keep-alive"


def _plain(status: int, body: bytes) -> Answer:
    headers = {"Content-Type": "text/plain", "Connection": "keep-alive"}
    return Answer(status=status, headers=headers, body=body, length=True)


def _of_file(file: File, asked: dict[str, str], *, validators: bool = True) -> Answer:
    """200, 206 or 416 (RFC 9110 §14.2, §15.5.17); one range only."""
    size = len(file.body)
    headers = {"Content-Type": file.content_type, "Connection": "keep-alive"}
    if validators:
        headers |= file.validators
    headers["Accept-Ranges"] = "bytes" if file.ranges else "none"
    whole = Answer(headers=headers, body=file.body, length=True)
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.get("range", ""))
    condition = asked.get("if-range")
    if not file.ranges or found is None or (condition and condition not in file.validators.values()):
        return whole
    first, last = found.groups()
    start = int(first) if first else max(0, size - int(last or 0))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or stop <= start:
        headers["Content-Range"] = f"bytes */{size}"
        return Answer(status=416, headers=headers, length=True)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Answer(status=206, headers=headers, body=file.body[start:stop], length=True)
