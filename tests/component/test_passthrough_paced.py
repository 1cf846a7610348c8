"""An HLS source whose provider may not be asked for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from m3u_proxy.errors import Unavailable
from m3u_proxy.pool.hls import downloads, listed, listing, tree
from m3u_proxy.pool.hls import passthrough as module
from m3u_proxy.pool.sources import attempts
from tests.support.hls_sources import (
    BREAK,
    ONE,
    Rig,
    live,
    shown,
)
from tests.support.house import Clock
from tests.support.provider import refusal


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Rig]]:
    clock = Clock()
    for room in (module, tree, listing, downloads, attempts):
        monkeypatch.setattr(room, "monotonic", clock)
    monkeypatch.setattr(listing, "REVALIDATE", 0.05)
    monkeypatch.setattr(listed, "RETRY", 0.01)
    yield lambda *urls: Rig(clock, *urls)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("fetch-")]


async def test_nobody_hangs_while_an_account_has_no_attempt_to_spare(make: Callable[..., Rig]) -> None:
    """Other channels have used up what it has: players get the old revision, then a refusal at once."""
    spare = ONE.replace("one.example/", "one.example/spare/")
    rig = make(ONE, spare)
    rig.provider.on(ONE, live("a", 10), refusal())
    rig.provider.on(spare, live("b", 700))
    others = [ONE.replace("one.example/", f"one.example/{number}/") for number in range(6)]
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 3
        for other in others:
            rig.pacer.failed(other, rig.clock.now)
            rig.pacer.note(other, rig.clock.now)
        for _ in range(3):
            assert await source.page() is first
            rig.clock.now += 2
        rig.clock.now += 12
        with pytest.raises(Unavailable) as caught:
            await source.page()
        assert (caught.value.reason, caught.value.retry_after) == ("paced", 1.0)
        assert rig.count(spare) == 0
        rig.pacer.answered(others[0], rig.clock.now)
        rig.clock.now += 1
        assert shown(await source.page()).count(BREAK) == 1
    assert (rig.count(ONE), rig.count(spare)) == (2, 1)
