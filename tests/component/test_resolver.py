"""A resolver at a real socket: every answer has a bound, and what is of no use is no answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from m3u_proxy.upstream.address import Judge
from m3u_proxy.upstream.decision import AskResolver
from m3u_proxy.upstream.post import LARGEST, Poster
from m3u_proxy.upstream.resolver import FailoverResolver
from tests.support.origin import Answer, Origin

JUDGE = Judge(allow_loopback=True)
QUESTION = AskResolver("http://provider.example/1.ts", 0, 503, "connection_error_after_retries")
SHORT, LONG = 1.0, 10.0
"""Seconds of patience with whom never answers, and with whom does: on a busy machine that takes a while."""
NEXT = "http://127.0.0.1:8000/2.ts"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        yield server


def said(body: object, **how: object) -> Answer:
    return Answer(body=json.dumps(body), length=True, headers={"Content-Type": "application/json"}, **how)  # type: ignore[arg-type]


async def answer_of(origin: Origin, answer: Answer, patience: float = LONG) -> str | None:
    """The URL that is taken from an answer, within the bound; afterwards nothing is connected."""
    origin.on("/next", answer)
    resolver = FailoverResolver(JUDGE, Poster(JUDGE, tls_verify=True), patience=patience)
    async with asyncio.timeout(patience + 1.0):
        named = await resolver.ask(origin.url("/next"), QUESTION, {"id": "7"})
    await origin.until(lambda: all(one.closed is not None for one in origin.connections))
    assert len(origin.connections) == 1, "never asked twice"
    return named.url if named is not None else None


async def test_its_answer_is_taken(origin: Origin) -> None:
    assert await answer_of(origin, said({"next_url": NEXT})) == NEXT


SLOW = {
    "F105-never": Answer(mute=True),
    "F105-half an answer": Answer(body='{"next_url"', stall=5),
    "F105-drop by drop": Answer(body=json.dumps({"next_url": NEXT, "more": "x" * 500}), length=True, drip=50),
}
USELESS = {
    "F105-null": said({"next_url": None}),
    "F105-not said": said({}),
    "F105-500": said({"next_url": NEXT}, status=500),
    "F105-html": Answer(html=True),
    "F105-redirect": Answer(redirect="/other"),
    "F105-too large": said({"next_url": NEXT, "more": "x" * LARGEST}),
    "F105-metadata": said({"next_url": "http://169.254.169.254/1.ts"}),
    "F105-a file": said({"next_url": "file:///etc/passwd"}),
    "F105-a mail server": said({"next_url": "http://127.0.0.1:25/1.ts"}),
    "F105-reset": said({"next_url": NEXT}, rst=4),
    "F105-deep": Answer(body="[" * 60_000, length=True),
}


@pytest.mark.parametrize("answer", SLOW.values(), ids=SLOW)
async def test_who_is_slow_is_not_waited_for(origin: Origin, answer: Answer) -> None:
    assert await answer_of(origin, answer, SHORT) is None


@pytest.mark.parametrize("answer", USELESS.values(), ids=USELESS)
async def test_rubbish_is_no_next_source(origin: Origin, answer: Answer) -> None:
    """A42."""
    assert await answer_of(origin, answer) is None
