"""One attempt at a real socket: every way it can end, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Limits
from tests.support.answer import CHUNK
from tests.support.attempts import CLOSED_WITHIN, PATIENT, QUICK, at, ending, opened
from tests.support.origin import Answer, Origin

SECRET = "/live/USER/PASS/1.ts"
BODY = bytes(range(256)) * 400
HALF = len(BODY) // 2


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        yield server


def raw(head: str, body: str = "") -> Answer:
    return Answer(raw=f"{head}\r\n\r\n{body}")


ENDINGS: dict[str, tuple[Answer, str, int]] = {
    "fin": (Answer(body=BODY), "eof", len(BODY)),
    "whole length": (Answer(body=BODY, length=True), "eof", len(BODY)),
    "last chunk": (Answer(body=BODY, chunked=True), "eof", len(BODY)),
    "http/1.0": (raw("HTTP/1.0 200 OK", "abc"), "eof", 3),
    "no body": (Answer(zero=True), "eof", 0),
    "no content": (Answer(status=204), "eof", 0),
    "no answer": (Answer(raw=""), "eof", 0),
    "half a head": (Answer(raw="HTTP/1.1 200 OK\r\nA:"), "eof", 0),
    "rst": (Answer(body=BODY, rst=HALF), "reset", HALF),
    "rst in a length": (Answer(body=BODY, rst=HALF, length=True), "reset", HALF),
    "rst in a chunked body": (Answer(body=BODY, rst=HALF, chunked=True), "reset", HALF),
    "fin in a length": (Answer(body=BODY, fin=HALF, length=True), "short", HALF),
    "a length that lies": (Answer(body=BODY, short_cl=10), "short", len(BODY)),
    "no last chunk": (Answer(body=BODY, trunc_chunk=True), "short", len(BODY)),
    "stall": (Answer(body=BODY, stall=HALF), "stall", HALF),
    "stall in a chunked body": (Answer(body=BODY, stall=HALF, chunked=True), "stall", HALF),
    "stall before the body": (Answer(body=BODY, stall=0), "first_byte_timeout", 0),
    "mute": (Answer(mute=True), "first_byte_timeout", 0),
    "bad chunk": (Answer(body=BODY, bad_chunk=True), "protocol", 0),
    "bad chunk later": (Answer(body=BODY[:1000], bad_chunk=True, drip=50_000), "protocol", 1000),
    "other protocol": (Answer(raw="SSH-2.0-OpenSSH_9.2\r\n"), "protocol", 0),
    "no status line": (Answer(raw="G" * 1000), "protocol", 0),
    "bad status line": (raw("HTTP/1.1 2x0 OK"), "protocol", 0),
    "two lengths": (raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4", "abcd"), "protocol", 0),
    "1000 headers": (Answer(headers={f"X-{n}": "1" for n in range(1000)}), "protocol", 0),
    "header of 1 MB": (Answer(headers={"X": "1" * 1_000_000}), "protocol", 0),
    "1000 cookies": (raw("HTTP/1.1 200 OK\r\n" + "\r\n".join(["Set-Cookie: a=b"] * 1000)), "protocol", 0),
    "100 interim answers": (raw("HTTP/1.1 100 Continue\r\n\r\n" * 100 + "HTTP/1.1 200 OK"), "protocol", 0),
    "endless trailers": (
        raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked", "1\r\na\r\n0\r\n" + "X: y\r\n" * 100_000),
        "protocol",
        0,
    ),
    "not modified": (Answer(status=304), "protocol", 0),
    "upgrade": (Answer(status=101), "protocol", 0),
    "redirect to nowhere": (Answer(redirect=""), "protocol", 0),
    "location of 64 KiB": (Answer(redirect="http://127.0.0.1/" + "a" * 65536), "protocol", 0),
    "400": (Answer(status=400), "http_4xx", 0),
    "401": (Answer(status=401), "http_4xx", 0),
    "403": (Answer(status=403, html=True), "http_4xx", 0),
    "404": (Answer(status=404), "http_404", 0),
    "410": (Answer(status=410), "http_404", 0),
    "416": (Answer(status=416), "http_4xx", 0),
    "429": (Answer(status=429), "http_429", 0),
    "500": (Answer(status=500), "http_5xx", 0),
    "503": (Answer(status=503), "http_5xx", 0),
}


@pytest.mark.parametrize("name", ENDINGS)
async def test_every_ending_has_its_reason(name: str, origin: Origin) -> None:
    """F4, F5, F6, F11, F12, F17, F18, F19, F20: one attempt each."""
    answer, reason, size = ENDINGS[name]
    origin.on(SECRET, answer)
    limits = QUICK if reason in {"stall", "first_byte_timeout"} else PATIENT
    error, data = await ending(at(origin.url(f"{SECRET}?token=SECRET", userinfo="me:PASSWORD@"), limits))
    await origin.until(lambda: origin.path(SECRET).live == 0, CLOSED_WITHIN)
    assert error.reason == reason
    assert data == BODY[:size] or (size == 3 and data == b"abc")
    assert len(origin.connections) == 1  # never repeated
    assert error.status == (None if answer.status in (200, 204) else answer.status)
    shown = f"{error} {error.detail}"
    assert not [word for word in ("USER", "PASS", "SECRET", "127.0.0.1", str(origin.port)) if word in shown]


async def test_a_refused_connection() -> None:
    """F1."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error, _ = await ending(at(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert (error.reason, error.detail) == ("refused", "No connection to the provider: Connection refused")


async def test_a_name_that_does_not_resolve(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error, _ = await ending(at("http://provider.example/"))
    assert error.reason == "dns"
    assert "provider.example" not in error.detail


async def test_a_live_body_is_given_as_it_came(origin: Origin) -> None:
    origin.on(SECRET, Answer(ts=True, headers={"Content-Type": "Video/MP2T; charset=x", "X-Y": "z"}))
    url = origin.url(SECRET, userinfo="u:p@")
    source = at(url)
    data = b""
    async with opened(source) as head:
        assert (head.status, head.content_type, head.url) == (200, "video/mp2t", url)
        assert head.headers["x-y"] == "z"
        assert head.address_class is AddressClass.LOOPBACK
        for chunks in (1, 2, 50):
            origin.step(chunks)
            goal = len(data) + chunks * CHUNK
            while len(data) < goal:
                piece = await source.read()
                assert piece
                data += piece
    assert data == origin.ts[: len(data)]
    assert len(data) == 53 * CHUNK


async def test_bytes_that_wait_come_in_one_piece(origin: Origin) -> None:
    origin.on("/", Answer(ts=True))
    source = at(origin.url("/"))
    async with opened(source):
        for _ in range(20):
            origin.step()
            await origin.until(lambda: origin.connections[0].sent == origin.edge)
        while len(await source.read()) < 10 * CHUNK:
            pass


@pytest.mark.parametrize("answer", [Answer(ts=True), Answer(mute=True), Answer(ts=True, chunked=True)])
async def test_closing_is_immediate_and_may_be_repeated(answer: Answer, origin: Origin) -> None:
    origin.on("/", answer)
    source = at(origin.url("/"), Limits())
    opening = asyncio.ensure_future(source.open())
    await origin.until(lambda: origin.path("/").live == 1)
    if answer.mute:
        opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    await source.aclose()
    await origin.until(lambda: origin.path("/").live == 0, CLOSED_WITHIN)
    await source.aclose()


async def test_closing_does_not_wait_for_a_provider_that_floods(origin: Origin) -> None:
    origin.on("/", Answer(body=BODY * 200))
    source = at(origin.url("/"))
    async with opened(source):
        await source.read()
    await origin.until(lambda: origin.path("/").live == 0, CLOSED_WITHIN)
    assert origin.connections[0].sent < len(BODY) * 200


async def test_a_source_that_was_never_opened_can_be_closed() -> None:
    await at("http://127.0.0.1/").aclose()


async def test_a_cancelled_read_can_be_repeated(origin: Origin) -> None:
    origin.on("/", Answer(ts=True))
    source = at(origin.url("/"), Limits())
    async with opened(source):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await source.read()
        origin.step()
        assert await source.read() == origin.ts[:CHUNK]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_provider_may_say_when_to_come_back(origin: Origin, status: int) -> None:
    """F19."""
    origin.on("/", Answer(status=status, headers={"Retry-After": "20"}))
    error, _ = await ending(at(origin.url("/")))
    assert (error.retry_after, error.status) == (20.0, status)
