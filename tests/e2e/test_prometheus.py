"""Prometheus and its tool, from Debian's package, with the files that operators are given."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Origin
from tests.support.promtool import promtool

FOLDER = Path(__file__).resolve().parents[2] / "docker/prometheus"
RULES = FOLDER / "alerts.yml"

pytestmark = pytest.mark.needs("promtool")


async def test_every_name_and_help_text_is_in_good_style(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/streams", url=origin.url("/live.ts"))
    async with daemon.http.get(made["stream_endpoint"]) as response:
        await response.content.readexactly(188)
        async with daemon.http.get("/metrics", headers={"Accept": "text/plain"}) as exposition:
            text = await exposition.read()
    assert b'm3u_proxy_viewers{kind="live"} 1.0\n' in text
    assert await promtool("check", "metrics", given=text) == (0, "")


async def test_configuration_and_rules_are_accepted() -> None:
    code, said = await promtool("check", "config", str(FOLDER / "prometheus.yml"))
    assert code == 0, said
    assert f"SUCCESS: {RULES.read_text(encoding='utf-8').count('- alert:')} rules found" in said


@asynccontextmanager
async def prometheus(home: Path, target: str) -> AsyncIterator[aiohttp.ClientSession]:
    """With our configuration but for the address and the pace; a session for its API."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = (FOLDER / "prometheus.yml").read_text(encoding="utf-8")
    text = re.sub(r"(_interval): 15s", r"\1: 1s", text.replace("m3u-proxy:9100", target))
    (home / "prometheus.yml").write_text(text, encoding="utf-8")
    (home / "alerts.yml").write_bytes(RULES.read_bytes())
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={home}/prometheus.yml",
        f"--storage.tsdb.path={home}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            yield http
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def asked(http: aiohttp.ClientSession, query: str) -> list[float]:
    """Values of an instant query; none while Prometheus is not up."""
    try:
        async with http.get("/api/v1/query", params={"query": query}) as response:
            if response.status != 200:
                return []
            return [float(row["value"][1]) for row in (await response.json())["data"]["result"]]
    except aiohttp.ClientConnectionError:
        return []


@pytest.mark.needs("prometheus")
@pytest.mark.timeout(60)
async def test_prometheus_scrapes_a_daemon_and_evaluates_the_rules(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with (
        Daemon(tmp_path / "proxy", API_TOKEN="a-token", METRICS_PORT=str(port)),
        prometheus(tmp_path, f"127.0.0.1:{port}") as http,
    ):

        async def is_up() -> bool:
            return await asked(http, "up") == [1.0]

        async def is_evaluated() -> bool:
            rules = (await (await http.get("/api/v1/rules")).json())["data"]["groups"][0]["rules"]
            return all(rule["health"] == "ok" for rule in rules)

        await eventually(is_up, within=30)
        assert await asked(http, "m3u_proxy_build_info") == [1.0]
        assert await asked(http, "sum(m3u_proxy_viewers)") == [0.0]
        await eventually(is_evaluated, within=10)
        assert await asked(http, "ALERTS") == []
