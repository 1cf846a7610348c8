"""Bytes on the connection that no player or editor would send."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.support.daemon import Daemon
from tests.support.inv import resident
from tests.support.rawhttp import ask, head, with_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOST = b"Host: proxy.example\r\n"
GOOD = b'{"url":"http://provider.example/wire.ts"}'


def line(fields: bytes) -> bytes:
    return b"GET /livez HTTP/1.1\r\n" + HOST + fields + b"\r\n\r\n"


def post(fields: bytes, body: bytes) -> bytes:
    return (
        b"POST /streams HTTP/1.1\r\n"
        + HOST
        + b"Content-Type: application/json\r\n"
        + fields
        + b"\r\n\r\n"
        + body
    )


MALFORMED = {
    "bare LF": b"GET /livez HTTP/1.1\nHost: x\n\n",
    "folded line": line(b"X-A: b\r\n c"),
    "NUL in a value": line(b"X-A: b\0c"),
    "CR in a value": line(b"X-A: b\rc"),
    "blank before the colon": line(b"X-A : b"),
    "non-ASCII name": line("Xé: b".encode()),
    "no colon": line(b"X-A"),
    "empty name": line(b": b"),
    "129 fields": line(b"\r\n".join(b"X-%d: 1" % number for number in range(128))),
    "field of 8191 bytes": line(b"X-A: " + b"a" * 8191),
    "request line of 9 KiB": b"GET /livez?" + b"a" * 9216 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "100,000 query parameters": b"GET /livez?" + b"a=1&" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(189),
    "SSH banner": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "noise": b"\0" + random.Random(1).randbytes(1 << 20),
    "lower-case method": b"get /livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "method of 1 KiB": b"A" * 1024 + b" /livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "no Host": b"GET /livez HTTP/1.1\r\n\r\n",
    "length and chunked": post(b"Content-Length: 3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"),
    "two lengths": post(b"Content-Length: 3\r\nContent-Length: 4", b"{}  "),
    "list of lengths": post(b"Content-Length: 3, 3", b"{} "),
    "signed length": post(b"Content-Length: +3", b"{} "),
    "negative length": post(b"Content-Length: -3", b"{} "),
    "two encodings": post(b"Transfer-Encoding: chunked, chunked", b"2\r\n{}\r\n0\r\n\r\n"),
    "two fields of encodings": post(
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "an unknown encoding": post(b"Transfer-Encoding: xchunked", b"2\r\n{}\r\n0\r\n\r\n"),
    "an encoding after a vertical tab": post(b"Transfer-Encoding: \x0bchunked", b"2\r\n{}\r\n0\r\n\r\n"),
    "length in hexadecimal": post(b"Content-Length: 0x3", b"{} "),
    "length with an underscore": post(b"Content-Length: 1_0", b"{} "),
    "length of nothing": post(b"Content-Length:", b"{} "),
    "length beyond 64 bits": post(b"Content-Length: %d" % 2**70, b"{} "),
    "negative chunk size": post(b"Transfer-Encoding: chunked", b"-2\r\n{}\r\n0\r\n\r\n"),
    "chunk size beyond 64 bits": post(b"Transfer-Encoding: chunked", b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"),
    "chunk without its last CRLF": post(b"Transfer-Encoding: chunked", b"2\r\n{}0\r\n\r\n"),
    "two hosts": b"GET /livez HTTP/1.1\r\n" + HOST * 2 + b"\r\n",
    "blanks in the target": b"GET /li vez HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the target": b"GET /livez\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab for a blank": b"GET\t/livez\tHTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/1.10": b"GET /livez HTTP/1.10\r\n" + HOST + b"\r\n",
    "lower-case version": b"GET /livez http/1.1\r\n" + HOST + b"\r\n",
    "first field folded": b"GET /livez HTTP/1.1\r\n X-A: b\r\n" + HOST + b"\r\n",
    "bad chunk size": post(b"Transfer-Encoding: chunked", b"0x2\r\n{}\r\n0\r\n\r\n"),
    "1,000 trailers": post(
        b"Transfer-Encoding: chunked", b"0\r\n" + b"".join(b"X-%d: 1\r\n" % n for n in range(1000)) + b"\r\n"
    ),
    "absolute form": head("http://other.example/livez"),
    "asterisk form": head("*", method="OPTIONS"),
    "authority form": head("other.example:80", method="CONNECT"),
    "WebSocket": line(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_request_is_400_and_the_end(daemon: Daemon, name: str) -> None:
    """A50, A93, A95, A96, A97, A98, A100, A103, A104."""
    reply = await ask(daemon.port, MALFORMED[name], within=5.0)
    assert reply.status == 400
    assert reply.closed
    assert isinstance(reply.json()["detail"], str)
    assert len(reply.raw) < 500
    assert reply.headers["server"] == "m3u-proxy"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_a_long_chunk_extension_is_skipped(daemon: Daemon) -> None:
    """A93: its bytes are read and forgotten; what is in the chunk counts (RFC 9112 §7.1.1)."""
    before = resident(daemon.pid)
    body = b"2;" + b"a" * (4 << 20) + b"\r\n{}\r\n0\r\n\r\n"
    reply = await ask(daemon.port, post(b"Transfer-Encoding: chunked\r\nConnection: close", body))
    assert reply.status in (400, 422)
    assert resident(daemon.pid) - before < 2 << 20


async def test_http_0_9_is_505_and_the_end(daemon: Daemon) -> None:
    """A98."""
    reply = await ask(daemon.port, b"GET /livez\r\n\r\n", within=5.0)
    assert (reply.status, reply.closed) == (505, True)


@pytest.mark.parametrize("method", ["TRACE", "PUT", "PATCH", "POST", "DELETE", "PROPFIND"])
async def test_another_method_is_405_and_says_which(daemon: Daemon, method: str) -> None:
    """A100."""
    reply = await ask(daemon.port, head("/livez", method=method))
    assert reply.status == 405
    assert reply.json() == {"detail": "Method Not Allowed"}
    assert set(reply.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD"}


async def test_an_unknown_route_is_404(daemon: Daemon) -> None:
    for path in (
        "/nothing",
        "//livez",
        "/livez/",
        "/m3u-proxy/m3u-proxy/livez",
        "/streams/../livez",
        "/.env",
    ):
        reply = await ask(daemon.port, head(path))
        assert (reply.status, reply.json()) == (404, {"detail": "Not Found"}), path


async def test_a_thousand_pipelined_requests_are_answered(daemon: Daemon) -> None:
    """A99."""
    one = b"GET /livez HTTP/1.1\r\n" + HOST + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(one * 999 + head("/livez"))
    async with asyncio.timeout(5.0):
        raw = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    assert raw.count(b"HTTP/1.1 200 OK\r\n") == 1000


@pytest.mark.parametrize("connection", ["upgrade", "Upgrade", "keep-alive, upgrade"])
async def test_connection_upgrade_alone_is_an_ordinary_request(daemon: Daemon, connection: str) -> None:
    """A103."""
    fields = b"Connection: %b" % connection.encode()
    body = post(fields + b"\r\nContent-Length: %d" % len(GOOD), GOOD)
    reply = await ask(daemon.port, body + line(fields) + head("/livez"))
    assert reply.raw.count(b"HTTP/1.1 200 OK\r\n") == 3


async def test_another_protocol_is_declined_by_an_ordinary_answer(daemon: Daemon) -> None:
    reply = await ask(
        daemon.port, line(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA")
    )
    assert reply.status == 200
    assert reply.closed


async def test_trailers_are_ignored(daemon: Daemon) -> None:
    """A104."""
    chunked = post(
        b"Transfer-Encoding: chunked\r\nConnection: close",
        b"%x\r\n%b\r\n0\r\nX-API-Token: x\r\n\r\n" % (len(GOOD), GOOD),
    )
    assert (await ask(daemon.port, chunked)).status == 200


async def test_a_foreign_host_changes_nothing(daemon: Daemon) -> None:
    """A116, A50."""
    for fields in (("X-Forwarded-Host: evil.example",), ("X-Forwarded-Proto: https", "X-Forwarded-Port: 99")):
        reply = await ask(daemon.port, head("/m3u-proxy", *fields).replace(b"proxy.example", b"evil.example"))
        assert reply.headers["location"] == "/m3u-proxy/"
        assert b"evil" not in reply.raw
    reply = await ask(daemon.port, with_body("/streams", GOOD, "X-Forwarded-Host: evil.example"))
    assert b"evil" not in reply.raw


async def test_one_noisy_line_at_most_in_the_log(daemon: Daemon) -> None:
    before = len(daemon.log)
    await ask(daemon.port, b"\x1b[31mCANARY\x07 /live/CANARY/CANARY/1.ts\r\n\r\n")
    assert len([row for row in daemon.log[before:] if "m3u_proxy.web" in row]) <= 1
    assert not [row for row in daemon.log if "CANARY" in row or "\x1b" in row]
