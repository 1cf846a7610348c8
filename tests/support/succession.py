"""Attempts that follow each other without waiting, for tests that are not about the waiting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from m3u_proxy.pool.sources.attempts import Attempts, Switch
from m3u_proxy.pool.sources.history import History
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream import pacing
from m3u_proxy.upstream.failover import Failover, FailoverLimits
from m3u_proxy.upstream.pacing import Pacer
from m3u_proxy.upstream.source import Source

URL = "http://provider.example/live/1.ts"


def unpaced(patch: pytest.MonkeyPatch, *, apart: float = 0.0) -> None:
    """From now on no attempt has to wait, or all of them for ``apart`` seconds."""
    patch.setattr(pacing, "APART", apart)
    patch.setattr(pacing, "LONGEST", apart)
    patch.setattr(pacing, "MOST_IN_WINDOW", 10_000)


def attempts_at(
    open_source: Callable[[], Source],
    tally: Tally,
    *,
    budget: float = 30.0,
    urls: tuple[str, ...] = (URL,),
    on_switch: Callable[[Switch], None] = lambda _: None,
) -> Attempts:
    """Attempts at one source; every one of them opens what ``open_source`` makes."""
    failover = Failover(urls, FailoverLimits(budget=budget), Pacer(lambda: 0.5), has_resolver=False)
    return Attempts(
        failover,
        lambda _: open_source(),
        resolver=None,
        history=History(),
        tally=tally,
        on_switch=on_switch,
    )
