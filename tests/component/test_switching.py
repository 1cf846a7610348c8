"""Another source by hand, while a resolver is thinking about it."""

from __future__ import annotations

import asyncio

from m3u_proxy.errors import UpstreamError
from m3u_proxy.pool.sources.attempts import Attempts, Switch
from m3u_proxy.pool.sources.history import History
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.failover import AskResolver, Failover, FailoverLimits
from m3u_proxy.upstream.pacing import Pacer
from tests.support.provider import Provider
from tests.support.stepped import settle

PRIMARY, SPARE, NAMED = (f"http://{host}.example/1.ts" for host in ("one", "two", "three"))


async def test_a_failure_meanwhile_decides() -> None:
    switches: list[Switch] = []
    said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def resolve(question: AskResolver) -> str | None:
        assert question.current_url == PRIMARY
        return await said if question.reason == "manual" else None

    provider = Provider()
    attempts = Attempts(
        Failover([PRIMARY, SPARE], FailoverLimits(), Pacer(lambda: 0.5), has_resolver=True),
        lambda url: provider(Ask(url, {})),
        resolver=resolve,
        history=History(),
        tally=Tally(),
        on_switch=switches.append,
    )
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
