"""Checks of sources: a few at a time, and nobody waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from m3u_proxy.errors import Unavailable
from m3u_proxy.pool.checkup import AT_ONCE, PATIENCE, Checkup
from tests.support.definitions import a_stream
from tests.support.house import House
from tests.support.stepped import settle

URLS = [f"http://provider.example/live/u/p/{number}.ts" for number in range(AT_ONCE + 1)]


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    made = House(monkeypatch)
    yield made
    await made.aclose()


async def test_whoever_gets_no_turn_in_time_is_told_to_come_again(house: House) -> None:
    for url in URLS:
        house.scripts[url].may_open.clear()
    checkup = Checkup(house.pool, house.pool.parts.accounts, None)
    busy = [asyncio.ensure_future(checkup.check(a_stream(url))) for url in URLS[:-1]]
    await settle()
    with pytest.raises(Unavailable) as caught:
        await checkup.check(a_stream(URLS[-1]), queue=0.05)
    assert (caught.value.reason, caught.value.retry_after) == ("busy", PATIENCE)
    assert len(house.pool.running()) == AT_ONCE
    for task in busy:
        task.cancel()
    await asyncio.gather(*busy, return_exceptions=True)
    assert house.pool.running() == []
    late = asyncio.ensure_future(checkup.check(a_stream(URLS[-1])))
    await settle()
    assert len(house.pool.running()) == 1, "every place is free again"
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
