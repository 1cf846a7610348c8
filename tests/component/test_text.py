"""A small document read whole, whatever the provider makes of size, time and encoding."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.source import Head
from m3u_proxy.upstream.text import RATIO, decoded_start, is_encoded, read_text
from tests.support.attempts import CLOSED_WITHIN, at
from tests.support.origin import Answer, Origin

LIMIT = 100_000
TEXT = b"#EXTM3U\n" + bytes(range(256)) * 50
PATH = "/list.m3u8"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        yield server


async def fetched(origin: Origin, answer: Answer, *, patience: float = 5.0, limit: int = LIMIT) -> bytes:
    """The document; afterwards the provider sees no connection."""
    origin.on(PATH, answer)
    source = at(origin.url(PATH))
    try:
        head, text = await read_text(source, limit=limit, patience=patience)
    finally:
        await source.aclose()
        await origin.until(lambda: origin.path(PATH).live == 0, within=CLOSED_WITHIN)
    assert head.url == origin.url(PATH)
    return text


async def reason(origin: Origin, answer: Answer, **how: float) -> str:
    with pytest.raises(UpstreamError) as caught:
        await fetched(origin, answer, patience=how.get("patience", 5.0))
    return caught.value.reason


def encoded(body: bytes, coding: str = "gzip") -> Answer:
    return Answer(body=body, headers={"Content-Encoding": coding})


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=TEXT),
        Answer(body=TEXT, length=True),
        Answer(body=TEXT, chunked=True),
        encoded(gzip.compress(TEXT)),
        encoded(gzip.compress(TEXT), "x-GZIP"),
        encoded(zlib.compress(TEXT), "deflate"),
        encoded(gzip.compress(TEXT), "deflate"),
        encoded(TEXT, "identity"),
        encoded(gzip.compress(TEXT) + b"padding"),
    ],
)
async def test_the_whole_document_is_read(origin: Origin, answer: Answer) -> None:
    assert await fetched(origin, answer) == TEXT


@pytest.mark.parametrize("framing", [Answer(), Answer(length=True), Answer(chunked=True)])
async def test_the_limit_counts_every_byte(origin: Origin, framing: Answer) -> None:
    assert len(await fetched(origin, replace(framing, body=b"x" * LIMIT))) == LIMIT
    assert await reason(origin, replace(framing, body=b"x" * (LIMIT + 1))) == "too_large"


async def test_an_endless_body_is_read_up_to_the_limit(origin: Origin) -> None:
    assert await reason(origin, Answer(body=b"#\n" * 10**7)) == "too_large"
    assert origin.path(PATH).connections[0].sent < 10**7


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (encoded(gzip.compress(b"\n" * 10**7)), "too_large"),
        (encoded(gzip.compress(b"\n" * (LIMIT - 1))), "too_large"),  # by its ratio
        (encoded(zlib.compress(b"x" * 10**7), "deflate"), "too_large"),
        (encoded(gzip.compress(TEXT)[:-20]), "not_media"),
        (encoded(gzip.compress(TEXT)[:50] + bytes(100)), "not_media"),
        (encoded(TEXT), "not_media"),
        (encoded(b""), "not_media"),
        (encoded(TEXT, "br"), "not_media"),
        (encoded(gzip.compress(gzip.compress(TEXT)), "gzip, gzip"), "not_media"),
        (Answer(body=TEXT, short_cl=5), "short"),
        (Answer(body=TEXT, trunc_chunk=True), "short"),
        (Answer(body=TEXT, bad_chunk=True), "protocol"),
        (Answer(status=404), "http_404"),
    ],
)
async def test_what_is_wrong_has_a_reason(origin: Origin, answer: Answer, expected: str) -> None:
    assert len(gzip.compress(b"\n" * (LIMIT - 1))) * RATIO < LIMIT
    assert await reason(origin, answer) == expected


@pytest.mark.parametrize(
    "answer", [Answer(mute=True), Answer(body=TEXT, stall=10), Answer(body=TEXT, drip=100)]
)
async def test_what_hangs_has_an_end(origin: Origin, answer: Answer) -> None:
    assert await reason(origin, answer, patience=0.1) == "stall"


async def test_whoever_is_cancelled_leaves_no_socket(origin: Origin) -> None:
    reading = asyncio.create_task(fetched(origin, Answer(body=TEXT, stall=10)))
    await origin.until(lambda: bool(origin.path(PATH).connections))
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await origin.until(lambda: origin.path(PATH).live == 0, within=CLOSED_WITHIN)


@pytest.mark.parametrize(
    ("coding", "prefix", "start"),
    [
        ("", TEXT, TEXT),
        ("identity", TEXT, TEXT),
        ("gzip", gzip.compress(TEXT)[:200], TEXT[:8]),
        ("deflate", zlib.compress(TEXT), TEXT[:8]),
        ("gzip", TEXT, b""),
        ("br", TEXT, b""),
    ],
)
def test_the_start_of_a_body_can_be_looked_at(coding: str, prefix: bytes, start: bytes) -> None:
    head = Head(200, "text/plain", "http://h/", {"Content-Encoding": coding})
    assert is_encoded(head) is (coding not in {"", "identity"})
    assert decoded_start(head, prefix, 8 if is_encoded(head) else len(prefix)) == start
