"""What follows one failure after another, without anybody who waits."""

from __future__ import annotations

from dataclasses import replace

from m3u_proxy.upstream.decision import GiveUp, Try, Wait
from m3u_proxy.upstream.failover import Failover, FailoverLimits
from m3u_proxy.upstream.outcome import Outcome
from m3u_proxy.upstream.pacing import Pacer

P, A, B, C = (f"http://{name}.example/live/u/p/1.ts" for name in ("primary", "a", "b", "c"))
DEFAULT = FailoverLimits()


def a_plan(
    *failovers: str,
    limits: FailoverLimits = DEFAULT,
    pacer: Pacer | None = None,
    resolver: bool = False,
) -> Failover:
    pacer = pacer or Pacer(lambda: 0.5)
    return Failover([P, *failovers], limits, pacer, has_resolver=resolver)


def playing(
    *failovers: str,
    limits: FailoverLimits = DEFAULT,
    pacer: Pacer | None = None,
    resolver: bool = False,
    until: float = 100.0,
) -> Failover:
    """The primary has given bytes from 0 s on."""
    plan = a_plan(*failovers, limits=limits, pacer=pacer, resolver=resolver)
    plan.first(0.0)
    plan.alive(0.0)
    plan.alive(until)
    return plan


def storm(plan: Failover, outcome: Outcome, now: float, most: int = 50) -> tuple[list[Try], GiveUp | None]:
    """Every attempt fails at once, until the end; each with all of its delay."""
    tries: list[Try] = []
    for _ in range(most):
        step = plan.failed(outcome, now)
        if isinstance(step, GiveUp):
            return tries, step
        waited = 0.0
        while isinstance(step, Wait):
            waited += step.delay
            step = plan.again(now + waited)
            if isinstance(step, GiveUp):
                return tries, step
        assert isinstance(step, Try)
        tries.append(replace(step, delay=waited + step.delay))
        now += waited + step.delay
    return tries, None
