"""Every alert of the rules that operators are given: that it can fire, and that it is silent otherwise."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser

from tests.support.daemon import Daemon
from tests.support.origin import Origin
from tests.support.promtool import promtool, series

RULES = Path(__file__).resolve().parents[2] / "docker/prometheus/alerts.yml"
MIB = 2**20
COPY = "-i {input_url} -c copy -f hls index.m3u8"

pytestmark = pytest.mark.needs("promtool")

Given = dict[str, str]
"""Values of series by their names; ``step`` apart."""


@dataclass(frozen=True)
class Case:
    """When ``alert`` fires and when it does not, both looked at after ``at``."""

    alert: str
    at: str
    fires: Given
    silent: Given
    step: str = "1m"


def room(free: int, **limits: int) -> Given:
    """Free space and the limits of the settings, in MiB."""
    named = {
        f'm3u_proxy_disk_limit_bytes{{level="{level}"}}': f"{mib * MIB}x9" for level, mib in limits.items()
    }
    return {'m3u_proxy_free_bytes{path="hls"}': f"{free * MIB}x9", **named}


def waited(start: str, **up_to: str) -> Given:
    """Buckets of the time to the first byte."""
    name = "m3u_proxy_time_to_first_byte_seconds_bucket"
    bounds = {"tenth": "0.1", "second": "1.0", "long": "2.5", "all": "+Inf"}
    return {
        f'{name}{{kind="live",start="{start}",le="{bounds[bound]}"}}': values
        for bound, values in up_to.items()
    }


def late(**up_to: str) -> Given:
    """Buckets of the loop's lag."""
    bounds = {"quarter": "0.25", "half": "0.5", "all": "+Inf"}
    return {
        f'm3u_proxy_loop_lag_seconds_bucket{{le="{bounds[bound]}"}}': values
        for bound, values in up_to.items()
    }


DEAD = 'm3u_proxy_streams{state="failed",kind="live"}'
LOST = 'm3u_proxy_streams{state="reconnecting",kind="live"}'
SWITCHED = 'm3u_proxy_failovers_total{reason="reset"}'
SLOW = 'm3u_proxy_ffmpeg_slow_total{kind="transcode_hls"}'
ENDED = 'm3u_proxy_ffmpeg_exits_total{reason="%s"}'
REFUSED = 'm3u_proxy_auth_failures_total{reason="%s"}'
CRASHED = 'm3u_proxy_task_crashes_total{task="sweeper"}'
SKIPS = "m3u_proxy_viewer_skips_total"
WATCHING, OF_HLS = 'm3u_proxy_viewers{kind="live"}', 'm3u_proxy_viewers{kind="hls"}'
ALIVE, OURS = "m3u_proxy_processes", 'm3u_proxy_ffmpeg_processes{kind="%s"}'
FDS, MOST_FDS = "m3u_proxy_fds", "m3u_proxy_fds_limit"

CASES = [
    Case("M3uProxyDown", "3m", {"up": "1 0 0 0"}, {"up": "1 0 1 1"}),
    # Four times a minute: a source that lets a player wait for 10 s, and is then not asked for 30 s.
    Case("M3uProxySourceDead", "6m", {DEAD: "1 stale _ _ " * 6}, {DEAD: "1 1 stale"}, step="15s"),
    Case("M3uProxySourceDead", "6m", {LOST: "0 1x6"}, {LOST: "0 1 0 0 0 0 0"}),
    # All channels of a provider at once, and the first time ever.
    Case("M3uProxyFailoverStorm", "5m", {SWITCHED: "0 0 30x9"}, {SWITCHED: "0+1x9"}),
    Case("M3uProxyDiskFull", "3m", {"m3u_proxy_disk_pressure": "1x9"}, {"m3u_proxy_disk_pressure": "0x9"}),
    Case("M3uProxyDiskCritical", "3m", room(500, critical=512), room(500, critical=100, warning=600)),
    Case("M3uProxyDiskLow", "6m", room(2000, warning=2048, critical=512), room(500, warning=200)),
    Case("M3uProxyDiskLow", "6m", room(1, warning=2, critical=1), room(0, warning=0)),
    Case(
        "M3uProxyStrayProcesses",
        "5m",
        {ALIVE: "1x9", OURS % "transcode_hls": "0x9"},
        {ALIVE: "3x9", OURS % "transcode_hls": "2x9", OURS % "demo": "1x9"},
    ),
    Case("M3uProxyStrayProcesses", "5m", {ALIVE: "1x9"}, {ALIVE: "0x9"}),
    Case("M3uProxyFfmpegSlow", "6m", {SLOW: "0 0 1 2 3 4 5"}, {SLOW: "0 0 1 1 2 2 2"}),
    Case(
        "M3uProxyFfmpegFailing",
        "4m",
        {ENDED % "error": "0 6x9"},
        {ENDED % "error": "0 2x9", ENDED % "stopped": "0+50x9", ENDED % "eof": "0+50x9"},
    ),
    # Measured: two viewers that get half of 8 Mbit/s. One of 20 is that one's affair.
    Case(
        "M3uProxyViewersStalling",
        "15m",
        {SKIPS: "0 2 3 5 7 8 10 12 13 15 17 19 21 22 24 26", WATCHING: "2x15", OF_HLS: "50x15"},
        {SKIPS: "0+1x15", WATCHING: "20x15"},
    ),
    Case(
        "M3uProxySlowStart",
        "15m",
        waited("warm", second="0x20", long="0+5x20", all="0+5x20"),
        waited("warm", tenth="0+5x20", all="0+5x20") | waited("cold", second="0x20", all="0+5x20"),
    ),
    Case(
        "M3uProxyLoopLate",
        "12m",
        late(quarter="0+230x20", half="0+240x20", all="0+240x20"),
        late(quarter="0+239x20", half="0+240x20", all="0+240x20"),
    ),
    Case(
        "M3uProxyAuthFailures",
        "3m",
        {REFUSED % "wrong": "0 40x9"},
        {REFUSED % "wrong": "0+2x9", REFUSED % "missing": "0+99x9"},
    ),
    Case("M3uProxyTaskCrashing", "3m", {CRASHED: "0 1x9"}, {CRASHED: "1x9"}),
    # Viewers are turned away at three quarters of the limit, so it never gets much higher.
    Case("M3uProxyFilesRunOut", "7m", {FDS: "765x9", MOST_FDS: "1024x9"}, {FDS: "700x9", MOST_FDS: "1024x9"}),
]


def alerts() -> list[str]:
    """Their names."""
    return re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))


def test_every_alert_has_a_case() -> None:
    assert sorted({case.alert for case in CASES}) == sorted(alerts())


def trial(given: Given, step: str, at: str, alert: str, *, fires: bool) -> dict[str, Any]:
    """As ``promtool test rules`` reads it."""
    query = f'count(ALERTS{{alertname=~"{alert}",alertstate="firing"}}) or vector(0)'
    expected = {"expr": query, "eval_time": at, "exp_samples": [{"labels": "{}", "value": int(fires)}]}
    return {
        "interval": step,
        "input_series": [series(name, values) for name, values in given.items()],
        "promql_expr_test": [expected],
    }


async def tried(trials: list[dict[str, Any]], file: Path) -> tuple[int, str]:
    """What the tool says of them; its file is YAML, of which JSON is a part."""
    whole = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": trials}
    file.write_text(json.dumps(whole), encoding="utf-8")
    return await promtool("test", "rules", str(file))


async def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    trials = [trial(case.fires, case.step, case.at, case.alert, fires=True) for case in CASES]
    trials += [trial(case.silent, case.step, case.at, case.alert, fires=False) for case in CASES]
    code, said = await tried(trials, tmp_path / "alerts.test.yml")
    assert code == 0, said


def exposed(text: str) -> Given:
    """Samples of an exposition by their series."""
    found = {}
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = f"{sample.value:f}"
    return found


async def scraped(daemon: Daemon) -> Given:
    async with daemon.http.get("/metrics", headers={"Accept": "text/plain"}) as response:
        return exposed(await response.text())


async def test_the_first_time_is_an_increase(daemon: Daemon) -> None:
    """Of a series that begins with its first count, a rate sees nothing."""
    text = RULES.read_text(encoding="utf-8")
    names = set(re.findall(r"(?:increase|rate)\((m3u_proxy_\w+)", text))
    fresh = await scraped(daemon)
    for name in names - {"m3u_proxy_time_to_first_byte_seconds_bucket"}:  # many, so the second time will do
        assert [one for one in fresh if one.partition("{")[0] == name], name
    for selector, kinds in re.findall(r'(m3u_proxy_\w+_total\{\w+=~?)"([\w|]+)"', text):
        for kind in kinds.split("|"):
            assert f'{selector.replace("=~", "=")}"{kind}"}}' in fresh


async def test_a_quiet_day_wakes_nobody(tmp_path: Path, origin: Origin) -> None:
    """What a real daemon serves before and after somebody watched; its disk is the machine's affair."""
    async with Daemon(tmp_path, DISK_WARNING_BYTES="0", DISK_CRITICAL_BYTES="0") as daemon:
        before = await scraped(daemon)
        made = await daemon.post("/streams", url=origin.url("/live.ts"))
        async with daemon.http.get(made["stream_endpoint"]) as response:
            await response.content.readexactly(188)
        made = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=COPY)
        async with daemon.http.get(made["stream_endpoint"]) as response:
            assert response.status == 200
        await daemon.http.delete(f"/streams/{made['stream_id']}")
        after = await scraped(daemon)
    day = {name: f"{before.get(name, '_')} {value}x30" for name, value in after.items()}
    trials = [trial(day | {"up": "1x30"}, "1m", f"{at}m", ".*", fires=False) for at in (3, 8, 16, 30)]
    code, said = await tried(trials, tmp_path / "day.test.yml")
    assert code == 0, said
