"""``/metrics``: names, labels, and a strict reader."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as strict_parser

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.metric_names import LABELS, TYPES
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
KINDS = {"live", "hls", "vod", "transcode_ts", "transcode_pipe", "transcode_hls"}


async def scrape(daemon: Daemon, accept: str = OPENMETRICS) -> str:
    async with daemon.http.get("/metrics", headers={"Accept": accept}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith(accept.split(";", maxsplit=1)[0])
        return await response.text()


async def use(daemon: Daemon, origin: Origin) -> None:
    """A viewer of each kind, a failure, and names that try to break out of a label."""
    odd = 'x"}\\n{y="'
    hostile = {"metadata": {odd: odd}, "user_agent": odd, "headers": {"X-A": odd}}
    origin.on("/broken.ts", Answer(status=403))
    plain = await daemon.post("/streams", url=origin.url("/live.ts?CANARY"), **hostile)
    pipe = await daemon.post(
        "/transcode",
        url=origin.url("/live.ts?CANARY"),
        profile="-i {input_url} -c copy -f mpegts pipe:1",
        **hostile,
    )
    broken = await daemon.post("/streams", url=origin.url("/broken.ts?CANARY"), **hostile)
    for made in (plain, pipe, broken):
        path = f"{made['stream_endpoint']}?client_id=CANARY%22%7D&username=CANARY"
        async with daemon.http.get(path, headers={"User-Agent": odd}) as response:
            if response.status == 200:
                await response.content.readexactly(188)


async def test_a_strict_reader_reads_every_name(daemon: Daemon, origin: Origin) -> None:
    await use(daemon, origin)
    text = await scrape(daemon)
    families = {
        family.name: family
        for family in strict_parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    }
    assert {name: family.type for name, family in families.items()} == TYPES
    for name, labels in LABELS.items():
        family = families[name]
        assert family.documentation
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == labels, sample
            if "kind" in labels - {"state"} and not name.startswith("m3u_proxy_ffmpeg_"):
                assert sample.labels["kind"] in KINDS
    assert {
        sample.labels["start"] for sample in families["m3u_proxy_time_to_first_byte_seconds"].samples
    } <= {
        "warm",
        "cold",
    }


async def every_end_counted(daemon: Daemon) -> bool:
    return await daemon.metric("ffmpeg_starts_total") == await daemon.metric("ffmpeg_exits_total")


async def test_what_ffmpeg_writes_and_how_it_ends_is_nothing_of_a_provider(
    daemon: Daemon, origin: Origin
) -> None:
    made = await daemon.post(
        "/transcode",
        url=origin.url("/live.ts?own"),
        profile="-i {input_url} -c copy -f mpegts pipe:1",
    )
    await eventually(lambda: every_end_counted(daemon))  # of an earlier test
    errors = await daemon.metric("upstream_errors_total")
    exits = await daemon.metric("ffmpeg_exits_total")
    async with daemon.http.get(made["stream_endpoint"]) as response:
        await response.content.readexactly(188)
    await daemon.http.delete(f"/streams/{made['stream_id']}")
    assert await daemon.metric("ffmpeg_exits_total") == exits + 1
    assert await daemon.metric("upstream_errors_total") == errors
    received = [line for line in (await scrape(daemon)).splitlines() if "upstream_bytes_total{" in line]
    assert {line.split('"')[1] for line in received} == {"hls", "live", "vod"}


async def test_the_classic_text_is_read_too(daemon: Daemon) -> None:
    families = list(parser.text_string_to_metric_families(await scrape(daemon, "text/plain")))
    names = {family.name for family in families}
    assert {"m3u_proxy_viewers", "m3u_proxy_sent_bytes", "m3u_proxy_build_info"} <= names


async def test_nothing_from_outside_is_in_a_label(daemon: Daemon, origin: Origin) -> None:
    await use(daemon, origin)
    listed = [row["stream_id"] for row in (await daemon.get("/streams"))["streams"]]
    before = await scrape(daemon)
    assert "CANARY" not in before
    assert not [stream_id for stream_id in listed if stream_id in before]
    for number in range(50):
        await daemon.post("/streams", url=f"http://provider.example/bounded/{number}.ts")
        async with daemon.http.get(f"/stream/{number}?client_id={number}") as response:
            assert response.status == 404
    after = await scrape(daemon)
    assert len(after.splitlines()) - len(before.splitlines()) <= 2


async def test_a_port_of_its_own_needs_no_token(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with (
        launch(tmp_path, API_TOKEN="other-token", METRICS_PORT=str(port)),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        async with http.get("/metrics") as response:
            assert response.status == 200
            assert "m3u_proxy_viewers" in await response.text()
        for path in ("/streams", "/", "/health"):
            async with http.get(path) as response:
                assert response.status == 404
