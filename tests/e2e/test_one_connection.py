"""An account of one connection: slots equal sockets, and who changes the channel is not kept waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin

SECOND = 250_000


async def create(daemon: Daemon, url: str, **fields: object) -> str:
    return str((await daemon.post("/streams", url=url, **fields))["stream_id"])


def peak(origin: Origin) -> int:
    """Most connections that were open at one time, over all paths."""
    moments = [(one.opened, 1) for one in origin.connections]
    moments += [(one.closed, -1) for one in origin.connections if one.closed is not None]
    most = now = 0
    for _, change in sorted(moments, key=lambda moment: (moment[0], moment[1])):
        now += change
        most = max(most, now)
    return most


async def test_zapping_through_an_account_with_one_connection(tmp_path: Path, origin: Origin) -> None:
    """F91: a channel that nobody watches gives up its slot."""
    for number in range(12):
        origin.on(f"/live/u/p/{number}.ts", Answer(ts=True))
    async with Daemon(tmp_path, ACCOUNT_LIMITS="127.0.0.1=1") as daemon:
        streams = [await create(daemon, origin.url(f"/live/u/p/{number}.ts")) for number in range(12)]
        async with aiohttp.ClientSession(daemon.url) as http:
            for stream in streams:
                async with http.get(f"/stream/{stream}") as response:
                    assert response.status == 200, await response.text()
                    await response.content.readexactly(188 * 100)
    assert peak(origin) == 1
    assert len(origin.connections) == 12


async def test_a_second_channel_of_a_full_account_is_refused_with_the_reason(
    tmp_path: Path, origin: Origin
) -> None:
    origin.on("/live/u/p/1.ts", Answer(ts=True))
    origin.on("/live/u/p/2.ts", Answer(ts=True))
    origin.on("/live/other/p/3.ts", Answer(ts=True))
    async with Daemon(tmp_path, ACCOUNT_LIMITS="127.0.0.1=1") as daemon:
        one = await create(daemon, origin.url("/live/u/p/1.ts"))
        two = await create(daemon, origin.url("/live/u/p/2.ts"))
        other = await create(daemon, origin.url("/live/other/p/3.ts"))
        async with daemon.http.get(f"/stream/{one}") as watched:
            await watched.content.readexactly(SECOND)
            async with daemon.http.get(f"/stream/{two}") as refused:
                assert refused.status == 503
                assert "1 connection" in (await refused.json())["detail"]
                assert refused.headers["Retry-After"]
            async with daemon.http.get(f"/stream/{other}") as granted:
                assert granted.status == 200, "another account of the same host"
            await watched.content.readexactly(SECOND)
        assert not origin.path("/live/u/p/2.ts").connections

        async def is_free() -> bool:
            async with daemon.http.get(f"/stream/{two}") as response:
                return response.status == 200

        assert await eventually(is_free, within=8) < 5


async def test_a_failover_inside_a_full_account_never_overlaps(tmp_path: Path, origin: Origin) -> None:
    """F30."""
    origin.on("/live/u/p/1.ts", Answer(ts=True, rst=2 * SECOND), Answer(status=503))
    origin.on("/live/u/p/2.ts", Answer(ts=True))
    async with Daemon(tmp_path, ACCOUNT_LIMITS="127.0.0.1=1") as daemon:
        stream = await create(
            daemon, origin.url("/live/u/p/1.ts"), failover_urls=[origin.url("/live/u/p/2.ts")]
        )
        async with daemon.http.get(f"/stream/{stream}") as response:
            async with asyncio.timeout(20):
                await response.content.readexactly(5 * SECOND)
    assert peak(origin) == 1


async def test_a_backup_at_another_provider_serves_when_the_account_is_full(
    tmp_path: Path, origin: Origin
) -> None:
    origin.on("/live/u/p/1.ts", Answer(ts=True))
    origin.on("/live/u/p/2.ts", Answer(ts=True))
    origin.on("/live/b/p/2.ts", Answer(ts=True))
    async with Daemon(tmp_path, ACCOUNT_LIMITS="127.0.0.1=1") as daemon:
        one = await create(daemon, origin.url("/live/u/p/1.ts"))
        two = await create(daemon, origin.url("/live/u/p/2.ts"), failover_urls=[origin.url("/live/b/p/2.ts")])
        async with daemon.http.get(f"/stream/{one}") as watched:
            await watched.content.readexactly(SECOND)
            async with daemon.http.get(f"/stream/{two}") as response:
                assert response.status == 200
                await response.content.readexactly(SECOND)
    assert not origin.path("/live/u/p/2.ts").connections
