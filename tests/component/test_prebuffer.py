"""Joiners of a strict stream wait for bytes in stock, but not for ever."""

from __future__ import annotations

import asyncio

import pytest

from m3u_proxy.pool.live.prebuffer import Prebuffer, PrebufferLimits
from tests.support.stepped import settle, until


async def test_without_limits_the_first_byte_opens_it() -> None:
    stock = Prebuffer(None)
    assert not stock.is_open
    stock.fill(1)
    assert stock.is_open
    await stock.wait(None)


async def test_enough_opens_it_for_all() -> None:
    stock = Prebuffer(PrebufferLimits(1000, 60.0))
    waiting = [asyncio.create_task(stock.wait(None)) for _ in range(3)]
    stock.fill(999)
    await settle()
    assert not any(task.done() for task in waiting)
    stock.fill(1000)
    await asyncio.wait(waiting, timeout=1)
    assert all(task.done() for task in waiting)
    stock.close()


async def test_time_opens_it() -> None:
    stock = Prebuffer(PrebufferLimits(1000, 0.02))
    stock.fill(1)
    stock.fill(2)
    await until(lambda: stock.is_open)


@pytest.mark.parametrize("patience", [0.0, 0.02])
async def test_a_joiner_has_a_deadline_of_its_own(patience: float) -> None:
    stock = Prebuffer(PrebufferLimits(1000, 60.0))
    stock.fill(1)
    await stock.wait(asyncio.get_running_loop().time() + patience)
    assert not stock.is_open
    stock.close()
    stock.close()
    assert stock.is_open
