"""Prometheus and its tool, from Debian's package, with the files that operators are given."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Origin

FOLDER = Path(__file__).resolve().parents[2] / "docker/prometheus"
RULES = FOLDER / "alerts.yml"
HERE = 'job="m3u_proxy",instance="tv"'

pytestmark = pytest.mark.needs("promtool")


async def promtool(*arguments: str, given: bytes = b"") -> tuple[int, str]:
    """Exit code, and everything it said."""
    process = await asyncio.create_subprocess_exec(
        "promtool", *arguments, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await process.communicate(given)
    return process.returncode or 0, said.decode()


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


def series(name: str, values: str) -> dict[str, str]:
    """Samples of one series, a minute apart."""
    before, brace, more = name.partition("{")
    labels = f"{HERE},{more}" if brace else f"{HERE}}}"
    return {"series": f"{before}{{{labels}", "values": values}


CASES = [
    ("M3uProxyDown", "3m", [series("up", "1 0 0 0")], [series("up", "1 0 1 1")]),
    (
        "M3uProxySourceDead",
        "5m",
        [series('m3u_proxy_streams{state="reconnecting",kind="live"}', "0 1x5")],
        [series('m3u_proxy_streams{state="reconnecting",kind="live"}', "0 1 0 1 0 1")],
    ),
    (
        "M3uProxyFailoverStorm",
        "10m",
        [series('m3u_proxy_failovers_total{reason="reset"}', "0+10x10")],
        [series('m3u_proxy_failovers_total{reason="reset"}', "0+1x10")],
    ),
    (
        "M3uProxyStrayProcesses",
        "5m",
        [
            series("m3u_proxy_processes", "1x5"),
            series('m3u_proxy_ffmpeg_processes{kind="transcode_hls"}', "0x5"),
        ],
        [
            series("m3u_proxy_processes", "3x5"),
            series('m3u_proxy_ffmpeg_processes{kind="transcode_hls"}', "2x5"),
            series('m3u_proxy_ffmpeg_processes{kind="demo"}', "1x5"),
        ],
    ),
    (
        "M3uProxyViewersStalling",
        "15m",
        [series("m3u_proxy_viewer_skips_total", "0+60x15"), series('m3u_proxy_viewers{kind="live"}', "2x15")],
        [
            series("m3u_proxy_viewer_skips_total", "0+60x15"),
            series('m3u_proxy_viewers{kind="live"}', "20x15"),
        ],
    ),
]


def case(alert: str, at: str, given: list[dict[str, str]], *, fires: bool) -> dict[str, Any]:
    """As ``promtool test rules`` reads it; YAML, of which JSON is a part."""
    ends = {"interval": "1m", "input_series": given}
    query = {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
        "eval_time": at,
    }
    expected = {**query, "exp_samples": [{"labels": "{}", "value": int(fires)}]}
    return ends | {"promql_expr_test": [expected]}


async def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    tests = [case(alert, at, bad, fires=True) for alert, at, bad, _ in CASES]
    tests += [case(alert, at, good, fires=False) for alert, at, _, good in CASES]
    whole = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    file = tmp_path / "alerts.test.yml"
    file.write_text(json.dumps(whole), encoding="utf-8")
    code, said = await promtool("test", "rules", str(file))
    assert code == 0, said


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
