"""What a stream remembers of its sources, though its resolver names new ones for months."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.pool.workshop import HOSTS, Workshop
from m3u_proxy.upstream.decision import AskResolver
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.resolver import Named
from tests.support.definitions import a_stream
from tests.support.house import parts_of
from tests.support.provider import HOST, Provider
from tests.support.succession import unpaced


async def test_a_year_of_new_addresses_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    unpaced(monkeypatch)
    number = 0

    async def names(url: str, question: AskResolver, metadata: Mapping[str, str]) -> Named:
        nonlocal number
        number += 1
        return Named(f"http://edge{number}.example/{number}.ts", AddressClass.PUBLIC)

    provider = Provider()
    parts = replace(parts_of(provider), ask_resolver=names)
    stream = replace(a_stream(f"{HOST}/live.ts"), failover_resolver_url=f"{HOST}/resolve")
    workshop = Workshop(parts, stream, lambda switch: None)
    await workshop.attempts.next()
    for now in range(0, 365 * 20, 20):
        workshop.attempts.alive(now)
        workshop.attempts.alive(now + 15)
        workshop.attempts.lost(UpstreamError("reset", "The provider broke the connection"))
        await workshop.attempts.next()
        assert workshop.attempts.url == f"http://edge{number}.example/{number}.ts"
        assert workshop._ask.named_by is AddressClass.PUBLIC, "whoever named it is not forgotten"
    assert number == 365
    assert len(workshop._used) <= HOSTS
    assert len(workshop._named) <= HOSTS + 2
