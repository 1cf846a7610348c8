"""Who is connected and how much was served, word for word."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
PROXY_STATS = {
    "total_streams",
    "active_streams",
    "total_clients",
    "active_clients",
    "total_bytes_served",
    "total_segments_served",
    "uptime_seconds",
}


@pytest.mark.parametrize("path", ["/clients", "/stats/clients", "/m3u-proxy/clients"])
async def test_trap_31_a_client_has_every_key(daemon: Daemon, origin: Origin, path: str) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    headers = {"User-Agent": "VLC/3.0", "X-Forwarded-For": "203.0.113.7, 10.0.0.1"}
    async with daemon.http.get(f"{made['stream_endpoint']}?client_id=a&user=bob", headers=headers) as player:
        await player.content.readexactly(188)
        answer = await daemon.get(path)
        rows = [row for row in answer["clients"] if row["stream_id"] == made["stream_id"]]
    assert answer.keys() == {"total_clients", "clients"}
    assert answer["total_clients"] == len(answer["clients"])
    (row,) = rows
    assert ISO.fullmatch(row.pop("created_at"))
    assert ISO.fullmatch(row.pop("last_access"))
    served = row.pop("bytes_served")
    assert type(served) is int
    assert served >= 188
    assert row == {
        "client_id": "a",
        "stream_id": made["stream_id"],
        "user_agent": "VLC/3.0",
        "ip_address": "203.0.113.7",
        "username": "bob",
        "segments_served": 0,
        "is_connected": True,
    }
    await daemon.http.delete(f"/streams/{made['stream_id']}")


async def test_last_access_moves_with_what_is_sent(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))

    async def seen() -> Any:
        (client,) = (await daemon.get(f"/streams/{made['stream_id']}"))["clients"]
        return client["last_access"], client["created_at"]

    async with daemon.http.get(made["stream_endpoint"]) as player:
        await player.content.readexactly(188)
        before, _ = await seen()

        async def moved() -> bool:
            await player.content.readany()
            return bool((await seen())[0] > before)

        await eventually(moved)
    await daemon.http.delete(f"/streams/{made['stream_id']}")


async def test_everything_in_one(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    async with daemon.http.get(made["stream_endpoint"]) as player:
        await player.content.readexactly(188)
        answer = await daemon.get("/stats")
        detailed = await daemon.get("/stats/detailed")
    assert answer.keys() == PROXY_STATS | {"streams", "clients"}
    assert all(type(answer[name]) is int for name in PROXY_STATS)
    assert (answer["total_streams"], answer["total_clients"]) == (
        len(answer["streams"]),
        len(answer["clients"]),
    )
    assert answer["active_streams"] == sum(row["client_count"] > 0 for row in answer["streams"])
    assert answer["total_bytes_served"] == sum(row["total_bytes_served"] for row in answer["streams"])
    assert detailed.keys() == {
        "proxy_stats",
        "connection_pool_stats",
        "failover_stats",
        "performance_metrics",
        "error_stats",
        "stream_count",
        "client_count",
    }
    assert detailed["proxy_stats"].keys() == PROXY_STATS
    assert detailed["stream_count"] == detailed["proxy_stats"]["total_streams"]
    assert detailed["connection_pool_stats"]["upstream_connections"] >= 1
    await daemon.http.delete(f"/streams/{made['stream_id']}")


async def test_streams_and_performance(daemon: Daemon) -> None:
    made = await daemon.post("/streams", url="http://provider.example/statistics.ts")
    answer = await daemon.get("/stats/streams")
    assert answer.keys() == {"total_streams", "streams"}
    assert answer["total_streams"] == len(answer["streams"])
    listed = (await daemon.get("/streams"))["streams"]
    assert [row for row in listed if row["stream_id"] == made["stream_id"]] == [
        row for row in answer["streams"] if row["stream_id"] == made["stream_id"]
    ]
    answer = await daemon.get("/stats/performance")
    assert ISO.fullmatch(answer.pop("timestamp"))
    assert answer.keys() == {"connection_pool", "performance_metrics", "failover_stats", "error_stats"}
    await daemon.http.delete(f"/streams/{made['stream_id']}")


async def test_trap_3_who_has_left_is_in_no_count(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    async with daemon.http.get(made["stream_endpoint"]) as player:
        await player.content.readexactly(188)

    async def gone() -> bool:
        rows = (await daemon.get("/clients"))["clients"]
        return all(row["stream_id"] != made["stream_id"] for row in rows)

    await eventually(gone, within=3.0)
    await daemon.http.delete(f"/streams/{made['stream_id']}")
