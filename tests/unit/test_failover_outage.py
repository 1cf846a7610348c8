"""A provider is down for a while: how often it is asked meanwhile, and whether all come back."""

from __future__ import annotations

from itertools import pairwise

import pytest

from m3u_proxy.upstream.decision import GiveUp, Try, Wait
from m3u_proxy.upstream.failover import Failover
from m3u_proxy.upstream.outcome import Outcome
from m3u_proxy.upstream.pacing import Pacer
from tests.support.plans import DEFAULT, P, playing, storm

RESET = Outcome("reset")
BROKEN = Outcome("http_5xx", 500)


@pytest.mark.parametrize(
    ("spares", "starts"),
    [(0, [1, 3, 7, 15]), (1, [0, 1, 2, 4, 8, 16]), (2, [0, 0, 1, 3, 7, 15]), (6, [0, 0, 0, 2, 6, 14])],
)
def test_spares_at_the_same_provider_do_not_shorten_what_an_outage_may_last(
    spares: int, starts: list[float]
) -> None:
    """F20: six attempts in a minute are all that its account allows, so they are spread over the budget."""
    plan = playing(*(P.replace("1.ts", f"spare{number}.ts") for number in range(spares)))
    tries, end = storm(plan, BROKEN, 100.0)
    delays = [one.delay for one in tries]
    assert [sum(delays[: number + 1]) for number in range(len(delays))] == starts
    assert end == GiveUp("http_5xx")


def test_viewers_are_kept_for_the_whole_budget_when_an_account_has_no_attempt_to_spare() -> None:
    """F28: they see null packets as long as things may change, and then a clean end."""
    pacer = Pacer(lambda: 0.5)
    for number in range(6):
        url = P.replace("1.ts", f"other{number}.ts")
        pacer.failed(url, 99.0)
        pacer.note(url, 99.0)
    plan = playing(pacer=pacer)
    step, now = plan.failed(RESET, 100.0), 100.0
    while isinstance(step, Wait):
        now += step.delay
        step = plan.again(now)
    assert (step, now) == (GiveUp("reset"), 130.0)


def test_all_channels_of_a_provider_come_back_as_soon_as_one_does() -> None:
    """Ten break at once; the provider is back after five seconds."""
    pacer, now = Pacer(lambda: 0.5), 100.0
    plans = [Failover([P.replace("1.ts", f"{n}.ts")], DEFAULT, pacer, has_resolver=False) for n in range(10)]
    due: dict[int, Try | Wait] = {}
    for number, plan in enumerate(plans):
        plan.first(0.0)
        plan.alive(0.0)
        plan.alive(now)
        step = plan.failed(RESET, now)
        assert isinstance(step, Try | Wait)
        due[number] = step
    at = {number: now + step.delay for number, step in due.items()}
    asked: list[float] = []
    while due:
        number = min(due, key=at.__getitem__)
        plan, now = plans[number], at[number]
        found = plan.again(now) if isinstance(due[number], Wait) else None
        if found is None:
            asked.append(now)
            if now >= 105.0:
                plan.alive(now)
                del due[number]
                continue
            step = plan.failed(BROKEN, now)
            assert isinstance(step, Try | Wait)
            found = step
        assert isinstance(found, Try | Wait)
        due[number], at[number] = found, now + found.delay
    assert len([time for time in asked if time < 105.0]) <= 5
    assert now <= 125.0
    assert all(later - earlier >= 1 for earlier, later in pairwise(asked))
