"""The proxy as its own source: by name of a stream, never over the network (A22, A22a)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.inv import labelled
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

TO_TS = "-i {input_url} -c copy -f mpegts {output_args}"


@pytest.mark.parametrize(
    "form", ["/stream/{id}", "/m3u-proxy/stream/{id}?username=x", "/hls/{id}/playlist.m3u8"]
)
async def test_a_stream_of_ours_as_a_source_reads_what_that_one_reads(
    daemon: Daemon, origin: Origin, form: str
) -> None:
    """A22a: the new stream is one more viewer of the connection that is there."""
    spare = origin.url("/spare.ts")
    first = await daemon.post(
        "/streams", url=origin.url(f"/live.ts?{len(form)}"), headers={"X-Own": "1"}, failover_urls=[spare]
    )
    before = await daemon.metric("ssrf_blocked_total")
    for host in ("127.0.0.1", "localhost", "127.1"):
        url = f"http://{host}:{daemon.port}" + form.format(id=first["stream_id"])
        second = await daemon.post("/streams", url=url, metadata={"what": "recording"})
        assert second["stream_id"] != first["stream_id"]
        async with (
            daemon.http.get(first["stream_endpoint"]) as one,
            daemon.http.get(second["stream_endpoint"]) as other,
        ):
            assert (one.status, other.status) == (200, 200)
            for response in (one, other):
                assert (await response.content.readexactly(188))[0] == 0x47
        [row] = [
            row
            for row in (await daemon.get("/streams"))["streams"]
            if row["stream_id"] == second["stream_id"]
        ]
        assert row["failover_urls"] == [spare]
        assert row["headers"] == {"X-Own": "1"}
    assert len(origin.path("/live.ts").connections) <= 3, "one at a time, shared by both"
    assert all(connection.headers.get("x-own") == "1" for connection in origin.path("/live.ts").connections)
    assert await daemon.metric("ssrf_blocked_total") == before


async def test_a_transcode_of_a_stream_of_ours_shares_its_source(daemon: Daemon, origin: Origin) -> None:
    first = await daemon.post("/streams", url=origin.url("/live.ts?shared"))
    own = f"{daemon.url}/m3u-proxy{first['stream_endpoint']}"
    second = await daemon.post("/transcode", url=own, profile=TO_TS)
    async with daemon.http.get(first["stream_endpoint"]) as one:
        await one.content.readexactly(188)
        async with daemon.http.get(second["stream_endpoint"]) as other:
            assert other.status == 200
            await other.content.readexactly(188)
    assert len(origin.path("/live.ts").connections) == 1


async def test_what_is_ours_and_no_stream_is_refused(daemon: Daemon, origin: Origin) -> None:
    """A22, A22a: also a stream that is gone, and one as its own spare."""
    made = await daemon.post("/streams", url=origin.url("/live.ts?self"))
    own = daemon.url + made["stream_endpoint"]
    bodies: list[dict[str, Any]] = [
        {"url": daemon.url + "/stream/" + "0" * 32},
        {"url": daemon.url + "/health"},
        {"url": daemon.url + "/stream/" + "0" * 31},
        {"url": origin.url("/live.ts?self"), "failover_urls": [own]},
        {"url": origin.url("/live.ts?self"), "failover_resolver_url": own},
    ]
    before = await daemon.metric('ssrf_blocked_total{class="self"}')
    for path in ("/streams", "/transcode"):
        for body in bodies:
            async with daemon.http.post(path, json=body) as response:
                assert response.status == 422, body
    assert await daemon.metric('ssrf_blocked_total{class="self"}') == before + 2 * 4


async def test_a_redirect_to_ourselves_is_502(daemon: Daemon, origin: Origin) -> None:
    """A22: content never names us, not even a stream of ours."""
    made = await daemon.post("/streams", url=origin.url("/live.ts?target"))
    origin.on("/around", Answer(redirect=daemon.url + made["stream_endpoint"]))
    around = await daemon.post("/streams", url=origin.url("/around"))
    before = (await labelled(daemon, "ssrf_blocked_total")).get("self", 0)
    async with daemon.http.get(around["stream_endpoint"]) as response:
        assert response.status == 502
    assert (await labelled(daemon, "ssrf_blocked_total"))["self"] > before
    assert not origin.path("/live.ts").connections


@asynccontextmanager
async def another_proxy(target: Callable[[], str], port: int) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A reverse proxy: every request goes to ``target()`` on ``port``, as nginx would send it on."""
    heads: list[bytes] = []
    busy: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            _, _, fields = head.partition(b"\r\n")
            inward, outward = await asyncio.open_connection("127.0.0.1", port)
            outward.write(f"GET {target()} HTTP/1.1\r\nConnection: close\r\n".encode() + fields)
            while data := await inward.read(65536):
                writer.write(data)
            outward.close()
        finally:
            writer.close()
            busy.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], heads
    finally:
        server.close()
        for task in list(busy):
            task.cancel()
        await asyncio.gather(*busy, return_exceptions=True)


async def test_a_loop_through_another_proxy_ends_after_one_hop(daemon: Daemon) -> None:
    """A22: the request that comes back is known by its ``Via``."""
    path = ""
    async with another_proxy(lambda: path, daemon.port) as (port, heads):
        made = await daemon.post("/streams", url=f"http://127.0.0.1:{port}/somewhere.ts")
        path = made["stream_endpoint"]
        before = (await labelled(daemon, "ssrf_blocked_total")).get("self", 0)
        async with asyncio.timeout(2.0), daemon.http.get(path) as response:
            assert response.status == 502
            assert "back" in (await response.json())["detail"]
        assert len(heads) == 1
        assert heads[0].lower().count(b"\r\nvia: 1.1 m3u-proxy-") == 1
        assert (await labelled(daemon, "ssrf_blocked_total"))["self"] == before + 1


async def test_another_instance_may_be_a_source(
    daemon: Daemon, origin: Origin, launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path
) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts?chain"))
    async with launch(tmp_path) as other:
        second = await other.post("/streams", url=daemon.url + made["stream_endpoint"])
        async with other.http.get(second["stream_endpoint"]) as response:
            assert response.status == 200
            assert (await response.content.readexactly(188))[0] == 0x47
