"""The memory of segments: who gets it, who loses it, and that it is never more than allowed."""

from __future__ import annotations

import asyncio

from m3u_proxy.pool.budget import Budget
from tests.support.stepped import ended, settle


class Thing:
    """Some bytes."""

    def __init__(self, size: int) -> None:
        self.size = size

    def forget(self) -> None:
        self.size = 0


def filled(limit: int, *sizes: int) -> tuple[Budget, list[Thing]]:
    """A budget that keeps things of these sizes, the first used longest ago."""
    budget, things = Budget(limit), [Thing(size) for size in sizes]
    for thing in things:
        assert budget.grant(thing.size)
        budget.keep(thing)
    return budget, things


def sizes(things: list[Thing]) -> list[int]:
    return [thing.size for thing in things]


async def test_what_is_granted_is_gone_until_it_is_given_back() -> None:
    budget = Budget(100)
    assert budget.grant(60)
    assert not budget.grant(41)
    assert budget.used == 60
    assert budget.grant(40)
    budget.give_back(60)
    assert budget.used == 40
    assert budget.grant(60)


async def test_what_was_used_longest_ago_makes_room() -> None:
    budget, things = filled(100, 30, 30, 30)
    budget.touch(things[0])
    assert budget.grant(40)
    assert sizes(things) == [30, 0, 30]
    assert budget.used == 100


async def test_no_more_is_evicted_than_needed_and_nothing_in_vain() -> None:
    budget, things = filled(100, 30, 30)
    assert budget.grant(40)
    assert sizes(things) == [30, 30]
    assert not budget.grant(61)
    assert sizes(things) == [30, 30]
    assert budget.used == 100
    assert budget.grant(60)
    assert sizes(things) == [0, 0]
    assert budget.used == 100


async def test_a_thing_can_be_dropped_any_number_of_times() -> None:
    budget, things = filled(100, 30, 30)
    for _ in range(2):
        budget.drop(things[0])
        assert sizes(things) == [0, 30]
        assert budget.used == 30
    budget.touch(things[0])
    assert budget.grant(70)


async def test_a_thing_that_let_go_by_itself_is_counted_until_it_is_dropped() -> None:
    budget, things = filled(100, 30)
    things[0].forget()
    assert budget.used == 30
    budget.drop(things[0])
    assert budget.used == 0


async def test_whoever_waits_gets_what_is_given_back_kept_or_dropped() -> None:
    budget = Budget(100)
    assert budget.grant(100)
    waiter = asyncio.create_task(budget.granted(50))
    await settle()
    assert not waiter.done()
    budget.give_back(49)
    await settle()
    assert not waiter.done()
    budget.give_back(1)
    await ended(waiter)
    assert budget.used == 100

    waiters = [asyncio.create_task(budget.granted(25)) for _ in range(2)]
    await settle()
    budget.keep(thing := Thing(50))
    for waiter in waiters:
        await ended(waiter)
    assert thing.size == 0
    assert budget.used == 100


async def test_a_waiter_that_is_cancelled_has_taken_nothing() -> None:
    budget = Budget(100)
    assert budget.grant(100)
    waiter = asyncio.create_task(budget.granted(50))
    await settle()
    budget.give_back(100)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    assert budget.used == 0
