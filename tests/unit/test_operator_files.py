"""What operators are given beside the program: dashboard, alerts and their paper name what exists."""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.settings import Settings
from m3u_proxy.upstream.outcome import REASONS
from tests.support.metric_names import LABELS, SAMPLES, TYPES

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "docker/grafana/dashboards/m3u-proxy.json"
ALERTS = ROOT / "docker/prometheus/alerts.yml"
OF_A_TARGET = {"job", "instance"}
"""Labels that Prometheus puts on everything it scrapes."""
_NAME = re.compile(r"\b(?:m3u_proxy|process)_\w+")
_SELECTOR = re.compile(r"\b((?:m3u_proxy|process)_\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"\b(?:by|on) \(([^)]*)\)")


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return loaded


def targets() -> Iterator[dict[str, Any]]:
    for panel in dashboard()["panels"]:
        yield from panel.get("targets", [])


def alerts() -> list[str]:
    """The expression of every alert, on one line."""
    text = ALERTS.read_text(encoding="utf-8")
    return [" ".join(one.split()) for one in re.findall(r"expr: (?:>-)?([^\n]*(?:\n {10}[^\n]*)*)", text)]


def queries() -> list[str]:
    """Every expression of the dashboard and of the alerts."""
    variables = dashboard()["templating"]["list"]
    shown = [target["expr"] for target in targets()]
    return alerts() + shown + [one["definition"] for one in variables if "definition" in one]


def test_all_expressions_are_found() -> None:
    assert len(alerts()) == len(re.findall("- alert:", ALERTS.read_text(encoding="utf-8"))) > 10
    assert all(panel.get("targets") for panel in dashboard()["panels"] if panel["type"] != "row")


@pytest.mark.parametrize("query", queries())
def test_a_query_names_metrics_and_labels_that_exist(query: str) -> None:
    names = _NAME.findall(query.replace('job="m3u_proxy"', ""))
    assert names or "up{" in query
    assert set(names) <= SAMPLES.keys()
    for name, selector in _SELECTOR.findall(query):
        used = set(re.findall(r"(\w+)(?:=~?|!=|!~)\"", selector))
        assert used <= SAMPLES[name] | OF_A_TARGET, name
    grouped = {label for group in _GROUPED.findall(query) for label in re.split(r",\s*", group)}
    assert grouped <= OF_A_TARGET | set().union(*(SAMPLES[name] for name in names))


def test_a_counter_is_never_shown_as_it_is() -> None:
    for query in queries():
        for name in set(_NAME.findall(query)):
            if name.endswith(("_total", "_bucket")):
                assert re.search(rf"(?:rate|increase)\({name}\b", query), query


def test_the_dashboard_is_provisioned_as_it_is() -> None:
    whole = dashboard()
    assert whole["schemaVersion"] >= 39
    assert whole["uid"] == "m3u-proxy"
    names = [variable["name"] for variable in whole["templating"]["list"]]
    assert names == ["datasource", "job", "instance"]
    source = (ROOT / "docker/grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8")
    default = whole["templating"]["list"][0]["current"]["value"]
    assert f"uid: {default}\n" in source
    assert all(target["datasource"]["uid"] == "${datasource}" for target in targets())


def test_no_panels_overlap_and_all_have_an_id_of_their_own() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & mine, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= mine


def test_the_paper_explains_every_metric_and_no_other() -> None:
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| (counter|gauge|histogram) \| ([^|]*) \| (\S[^|]*) \|$", text, re.MULTILINE
    )
    told = {name.removesuffix("_total"): kind for name, kind, _, _ in rows}
    assert len(told) == len(rows)
    assert told == TYPES
    labels = {name.removesuffix("_total"): set(re.findall(r"`(\w+)`", column)) for name, _, column, _ in rows}
    assert labels == LABELS


def test_every_reason_of_a_source_is_foreseen() -> None:
    """Metrics count from zero what is listed there."""
    told = re.search(r"one of: ([^;]*);", UpstreamError.__doc__ or "")
    assert told
    assert set(re.split(r",\s+", told[1])) <= set(REASONS)
    assert len(set(REASONS)) == len(REASONS)


class Unit(configparser.RawConfigParser):
    """A unit of systemd, with its options as they are written."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_the_unit_of_systemd_stops_trying_and_has_time_to_end() -> None:
    """Ends that come seconds apart never reach systemd's own limit of five within ten seconds."""
    paper = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```ini\n(\[Unit\].*?)```", paper, re.DOTALL)
    unit = Unit(strict=False)
    unit.read_string(text)
    service, limits = unit["Service"], unit["Unit"]
    slowest_start = 20
    seconds = int(limits["StartLimitBurst"]) * (int(service["RestartSec"]) + slowest_start)
    assert seconds < int(limits["StartLimitIntervalSec"])
    assert service["RestartPreventExitStatus"] == "2"
    assert int(service["TimeoutStopSec"]) > 9
    (name, _, _) = service["Environment"].partition("=")
    assert name.lower() in Settings.model_fields
