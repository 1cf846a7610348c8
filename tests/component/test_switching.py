"""Another source by hand or by a resolver: who decides, and what is said of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.pool.sources.attempts import Attempts, Switch
from m3u_proxy.pool.sources.history import History
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.decision import AskResolver
from m3u_proxy.upstream.failover import Failover, FailoverLimits
from m3u_proxy.upstream.pacing import Pacer
from tests.support.provider import Provider
from tests.support.stepped import settle
from tests.support.succession import unpaced

PRIMARY, SPARE, NAMED = (f"http://{host}.example/1.ts" for host in ("one", "two", "three"))


def attempts_of(
    resolve: Callable[[AskResolver], Awaitable[str | None]],
    switches: list[Switch],
    tally: Tally | None = None,
) -> tuple[Attempts, History]:
    """Attempts at the primary and its spare, where a resolver is asked first."""
    provider, history = Provider(), History()
    attempts = Attempts(
        Failover([PRIMARY, SPARE], FailoverLimits(), Pacer(lambda: 0.5), has_resolver=True),
        lambda url: provider(Ask(url, {})),
        resolver=resolve,
        history=history,
        tally=tally or Tally(),
        on_switch=switches.append,
    )
    return attempts, history


async def test_a_failure_meanwhile_decides() -> None:
    switches: list[Switch] = []
    said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def resolve(question: AskResolver) -> str | None:
        assert question.current_url == PRIMARY
        return await said if question.reason == "manual" else None

    attempts, _ = attempts_of(resolve, switches)
    await attempts.next()
    attempts.alive(0.0)
    ordering = asyncio.create_task(attempts.switch())
    await settle()
    attempts.lost(UpstreamError("reset", "The provider broke the connection"))
    said.set_result(NAMED)
    await ordering
    await attempts.next()
    assert [(one.old_url, one.new_url) for one in switches] == [(PRIMARY, SPARE)]
    assert attempts.url == SPARE


@pytest.mark.parametrize("answer", [NAMED, None], ids=["answer", "nothing"])
async def test_the_reason_of_a_failure_is_said_in_the_same_words_whoever_chose(answer: str | None) -> None:
    async def resolve(question: AskResolver) -> str | None:
        assert question.reason == "live_stream_silent_close"
        return answer

    switches: list[Switch] = []
    tally = Tally()
    attempts, history = attempts_of(resolve, switches, tally)
    await attempts.next()
    attempts.alive(0.0)
    attempts.lost(UpstreamError("eof", "The provider ended the body"))
    await attempts.next()
    assert [(one.new_url, one.reason) for one in switches] == [(answer or SPARE, "live_stream_silent_close")]
    assert tally.failovers == {"eof": 1}
    told = [(one.what, one.reason) for one in history.moments() if one.what in {"resolver", "failover"}]
    assert told == [(what, "live_stream_silent_close") for what in ("resolver", "failover")]


async def test_the_timeline_tells_a_source_that_takes_over_from_one_that_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unpaced(monkeypatch)

    async def resolve(question: AskResolver) -> str | None:
        return SPARE if question.current_url == PRIMARY else None

    attempts, history = attempts_of(resolve, [])
    await attempts.next()
    for _ in range(2):
        attempts.alive(0.0)
        attempts.lost(UpstreamError("reset", "The provider broke the connection"))
        await attempts.next()
    told = [(one.what, one.detail) for one in history.moments() if one.what in {"start", "retry"}]
    assert told == [("start", PRIMARY), ("start", SPARE), ("start", PRIMARY)]
    attempts.failover.renew([PRIMARY], has_resolver=False)
    attempts.lost(UpstreamError("reset", "The provider broke the connection"))
    await attempts.next()
    told = [(one.what, one.detail) for one in history.moments() if one.what in {"start", "retry"}]
    assert told[3:] == [("retry", PRIMARY)]
