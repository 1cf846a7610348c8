"""What the scriptable origin can answer, and how it carries an answer out on one connection."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

PACKET = 188
CHUNK = 7 * PACKET
"""Bytes per step of a live source, as in one UDP datagram of MPEG-TS."""
HTML = b"<!DOCTYPE html><html><body><h1>Subscription expired</h1></body></html>"


def null_packets(count: int) -> bytes:
    """``count`` MPEG-TS null packets, each numbered in its payload."""
    return b"".join(b"\x47\x1f\xff\x10" + struct.pack(">I", n) + b"\xff" * 180 for n in range(count))


@dataclass(frozen=True)
class Answer:
    """One answer, as a list of things to do. Numbers of bytes count the body."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | str = b""
    ts: bool = False
    """Body: the live transport stream from its live edge on, without an end."""
    back: int = 0
    """With ``ts``: so many bytes of backlog are sent first, as fast as they are taken."""
    html: bool = False
    """Body: an HTML page under the content type of MPEG-TS."""
    file: bool = False
    """Body: a file that honours Range and If-Range (RFC 9110 §14.2, §13.1.5), with a length; validators as in
    ``headers``. The faults count the bytes of the part that is sent."""
    zero: bool = False
    """An announced body of no bytes."""
    length: bool = False
    """Send Content-Length; otherwise the body ends with the connection."""
    chunked: bool = False
    drip: float = 0.0
    """Bytes per second, sent in fifty pieces a second."""
    fast: int = 0
    """So many bytes before ``drip`` begins."""
    stall: int | None = None
    """After so many bytes: silence, connection open."""
    rst: int | None = None
    """After so many bytes: RST."""
    fin: int | None = None
    """After so many bytes: FIN."""
    short_cl: int = 0
    """Announce so many bytes more than are sent."""
    trunc_chunk: bool = False
    """Chunked, ended without the last chunk."""
    bad_chunk: bool = False
    """Chunked, ended by a chunk size that is none."""
    redirect: int | str | None = None
    """A number: so many redirects, then the answer. ``loop``: to itself. Anything else: the Location."""
    raw: bytes | str | None = None
    """Written instead of a head and a body, then FIN; empty: closed without an answer."""
    mute: bool = False
    """Take the request and never answer."""


@dataclass
class Connection:
    """One accepted connection. Times are monotonic seconds."""

    number: int
    peer: str
    opened: float
    path: str | None = None
    target: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """Of the request, names in lower case."""
    sent: int = 0
    closed: float | None = None


class LiveEdge:
    """An endless transport stream, out up to a moving edge; also wakes whoever waits for news."""

    def __init__(self, ts: bytes) -> None:
        self._ts = ts
        self._changed = asyncio.Event()
        self.position = 0
        """Bytes that are out. A new connection starts here."""

    def advance(self, chunks: int) -> None:
        self.position += chunks * CHUNK
        self.tell()

    async def read(self, position: int) -> bytes:
        """What is out from ``position`` on; waits for the edge if need be."""
        while position >= self.position:
            await self.changed()
        start = position % len(self._ts)
        return self._ts[start : start + min(self.position - position, 1 << 18)]

    def tell(self) -> None:
        """Wake everyone in ``changed()``."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        await self._changed.wait()


class Sender:
    """Carries out one answer on one connection."""

    def __init__(self, edge: LiveEdge, connection: Connection, writer: asyncio.StreamWriter) -> None:
        self._edge = edge
        self._connection = connection
        self._writer = writer
        self._chunked = False

    async def send(self, answer: Answer) -> None:
        """Returns when the connection is to be closed."""
        if answer.mute:
            await asyncio.get_running_loop().create_future()
        if answer.raw is not None:
            self._writer.write(as_bytes(answer.raw))
            await self._writer.drain()
            return
        location = self._location(answer.redirect)
        if location is not None:
            status = answer.status if 300 <= answer.status < 400 else 302
            answer = Answer(status=status, headers=answer.headers, length=True)
        headers = {"Connection": "close", "Content-Type": "video/mp2t"}
        if location is not None:
            headers["Location"] = location
        body = HTML if answer.html else as_bytes(answer.body)
        status = answer.status
        if answer.file:
            status, fields, body = part_of(body, answer.headers, self._connection.headers)
            headers.update(fields)
        self._chunked = answer.chunked or answer.trunc_chunk or answer.bad_chunk
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        elif answer.length or answer.file or answer.short_cl or answer.zero:
            headers["Content-Length"] = str(len(body) + answer.short_cl)
        lines = [f"HTTP/1.1 {status} Scripted"]
        lines += [f"{name}: {value}" for name, value in {**headers, **answer.headers}.items()]
        self._writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await self._body(answer, body)

    def _location(self, redirect: int | str | None) -> str | None:
        """Where this request is sent on to, if it is."""
        target = urlsplit(self._connection.target or "")
        if isinstance(redirect, int):
            hop = int(parse_qs(target.query).get("hop", ["0"])[0])
            return f"{target.path}?hop={hop + 1}" if hop < redirect else None
        return self._connection.target if redirect == "loop" else redirect

    async def _body(self, answer: Answer, body: bytes) -> None:
        ends = {"stall": answer.stall, "rst": answer.rst, "fin": answer.fin}
        end, limit = min(
            ((name, after) for name, after in ends.items() if after is not None),
            key=lambda each: each[1],
            default=("", sys.maxsize),
        )
        position = max(0, self._edge.position - answer.back)
        while self._connection.sent < limit:
            sent = self._connection.sent
            piece = await self._edge.read(position + sent) if answer.ts else body[sent : sent + (1 << 16)]
            if not piece:
                break
            drip = answer.drip if sent >= answer.fast else 0.0
            await self._put(piece[: min(limit - sent, int(drip / 50) or limit)])
            if drip:
                await asyncio.sleep(0.02)
        if end == "stall":
            await asyncio.get_running_loop().create_future()
        if end == "rst":
            await asyncio.sleep(0.05)  # a RST also destroys what the other side has not yet read
            linger = struct.pack("ii", 1, 0)
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        elif self._chunked and not end and not answer.trunc_chunk:
            self._writer.write(b"no size\r\n" if answer.bad_chunk else b"0\r\n\r\n")
        if not end:
            await self._writer.drain()

    async def _put(self, piece: bytes) -> None:
        self._connection.sent += len(piece)
        self._writer.write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)
        await self._writer.drain()
        self._edge.tell()


def as_bytes(text: bytes | str) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text


def part_of(
    body: bytes, headers: Mapping[str, str], asked: Mapping[str, str]
) -> tuple[int, dict[str, str], bytes]:
    """Status, header fields and bytes of a file for the request fields ``asked``."""
    fields = {"Accept-Ranges": "bytes"}
    first, _, last = asked.get("range", "").removeprefix("bytes=").partition("-")
    condition = asked.get("if-range")
    validators = (headers.get("ETag"), headers.get("Last-Modified"))
    if not (first or last) or (condition is not None and condition not in validators):
        return 200, fields, body
    size = len(body)
    start = int(first) if first else size - min(int(last), size)
    end = min(int(last), size - 1) if first and last else size - 1
    if start >= size:
        return 416, {"Content-Range": f"bytes */{size}"}, b""
    return 206, {**fields, "Content-Range": f"bytes {start}-{end}/{size}"}, body[start : end + 1]
