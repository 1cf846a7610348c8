"""Bodies that anybody may send."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.support.daemon import Daemon
from tests.support.rawhttp import ask, head, with_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

LIMIT = 262_144
GOOD = b'{"url":"http://provider.example/body.ts"}'


@pytest.mark.parametrize("path", ["/streams", "/transcode"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'"x"',
        b"1",
        b"true",
        b"[]",
        b"[{}]",
        b"{}",
        b"{",
        GOOD + b"}",
        GOOD + GOOD,
        b'{"url":NaN}',
        b'{"url":"http://a.example/","url":"http://b.example/"}',
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"url":"http://a.example/","metadata":' + b"[" * 20 + b"]" * 20 + b"}",
        b"1" * 5000,
        b'{"url":"http://a.example/\xff"}',
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        b'{"url":"http://a.example/\\ud800"}',
        b'{"url":"http://a.example/","metadata":{"k":"\\udfff"}}',
        b'{"url":"http://a.example/","metadata":{"\\udfff":"v"}}',
        b'{"url":"http://a.example/","user_agent":"\\ud800"}',
        b'{"url":"http://a.example/","headers":{"X-A":"\\ud800"}}',
        b'{"url":"http://a.example/","failover_urls":["\\ud800"]}',
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_what_is_no_such_object_is_422(daemon: Daemon, path: str, body: bytes) -> None:
    """A10, A11, A14."""
    before = await daemon.stream_ids()
    reply = await ask(daemon.port, with_body(path, body), within=5.0)
    assert reply.status == 422, reply.body
    rows = reply.json()["detail"]
    assert rows
    for row in rows:
        assert row["loc"][0] == "body"
        assert row["msg"]
        assert {"type", "input"} <= row.keys()
    assert await daemon.stream_ids() <= before


async def test_a_missing_field_is_named(daemon: Daemon) -> None:
    for body in (b"{}", b"[]"):
        rows = (await ask(daemon.port, with_body("/streams", body))).json()["detail"]
        assert [(row["type"], row["loc"]) for row in rows] == [("missing", ["body", "url"])]


def padded(size: int) -> bytes:
    """A good body of exactly ``size`` bytes."""
    return GOOD[:-1] + b" " * (size - len(GOOD)) + b"}"


async def test_a_body_over_the_limit_is_413(daemon: Daemon) -> None:
    """A15."""
    assert (await ask(daemon.port, with_body("/streams", padded(LIMIT)))).status == 200
    large = padded(LIMIT + 1)
    chunked = head("/streams", "Content-Type: application/json", "Transfer-Encoding: chunked", method="POST")
    for data in (with_body("/streams", large), chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large)):
        reply = await ask(daemon.port, data, within=5.0)
        assert reply.status == 413
        assert reply.json() == {"detail": "Request body too large"}


@pytest.mark.parametrize("extra", [(), ("Expect: 100-continue",)])
async def test_an_announced_flood_is_refused_before_it_comes(daemon: Daemon, extra: tuple[str, ...]) -> None:
    fields = ("Content-Type: application/json", "Content-Length: 100000000", *extra)
    reply = await ask(daemon.port, head("/streams", *fields, method="POST"), within=5.0)
    assert reply.status == 413
    assert reply.raw.startswith(b"HTTP/1.1 413")


async def test_an_expected_body_is_asked_for(daemon: Daemon) -> None:
    fields = ("Content-Type: application/json", f"Content-Length: {len(GOOD)}", "Expect: 100-continue")
    reply = await ask(daemon.port, head("/streams", *fields, method="POST") + GOOD)
    assert reply.raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_a_body_longer_than_it_says_is_400(daemon: Daemon) -> None:
    """A15."""
    fields = ("Content-Type: application/json", f"Content-Length: {len(GOOD) - 1}")
    reply = await ask(daemon.port, head("/streams", *fields, method="POST") + GOOD)
    assert reply.status in (400, 422)
    assert reply.closed


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip", "x"])
async def test_an_encoded_body_is_415(daemon: Daemon, encoding: str) -> None:
    """A15."""
    body = gzip.compress(GOOD) if "gzip" in encoding else GOOD
    reply = await ask(daemon.port, with_body("/streams", body, f"Content-Encoding: {encoding}"))
    assert reply.status == 415
    assert "application/json" in reply.json()["detail"]


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "TEXT/PLAIN; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
@pytest.mark.parametrize("path", ["/streams", "/transcode"])
async def test_what_a_page_can_send_unasked_is_415(daemon: Daemon, path: str, kind: str) -> None:
    """A19, A104."""
    data = head(path, f"Content-Type: {kind}", f"Content-Length: {len(GOOD)}", method="POST") + GOOD
    assert (await ask(daemon.port, data)).status == 415


async def test_a_body_without_a_type_is_json_unless_a_page_sent_it(daemon: Daemon) -> None:
    plain = (f"Content-Length: {len(GOOD)}",)
    assert (await ask(daemon.port, head("/streams", *plain, method="POST") + GOOD)).status == 200
    page = (*plain, "Origin: https://evil.example")
    assert (await ask(daemon.port, head("/streams", *page, method="POST") + GOOD)).status == 415


async def test_much_metadata_within_the_limits_is_data(daemon: Daemon) -> None:
    """A58."""
    metadata = {f"k{number}; -i 'x' $(y)": "v\n=;\"'`" + "x" * 1000 for number in range(64)}
    body = json.dumps({"url": "http://provider.example/much.ts", "metadata": metadata}).encode()
    reply = await ask(daemon.port, with_body("/streams", body))
    assert reply.status == 200
    assert reply.json()["metadata"] == metadata
