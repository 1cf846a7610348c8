"""The compose files and Dockerfiles, as far as they can be judged without a container engine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from m3u_proxy.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("compose*.yaml"))
DOCKERFILES = [DOCKER / "Dockerfile", DOCKER / "Dockerfile.alpine"]
KEYS = {
    "image", "build", "restart", "ports", "environment", "volumes", "read_only", "tmpfs", "cap_drop",
    "security_opt", "ulimits", "stop_grace_period", "depends_on", "healthcheck",
}  # fmt: skip
"""Of a service, by the Compose specification; what the files do not use is left out."""
OF_THE_EDITOR = re.compile(r"APP_\w+|PG_\w+|DB_\w+|ENABLE_POSTGRES|M3U_PROXY_\w+")
OF_EVERYBODY = {"TZ"}
_VARIABLE = re.compile(r"\$\{\w+(?::-([^}]*)|:\?[^}]*)?\}")

pytestmark = pytest.mark.may_block  # files, read in passing


def load(path: Path) -> dict[str, Any]:
    """A compose file with the defaults of its variables; one that must be set becomes ``set``."""
    text = _VARIABLE.sub(lambda found: found[1] or "set", path.read_text(encoding="utf-8"))
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def services() -> list[Any]:
    found = [(path, name) for path in FILES for name in load(path)["services"]]
    return [pytest.param(*one, id=f"{one[0].stem}-{one[1]}") for one in found]


def ours() -> list[Any]:
    return [one for one in services() if one.values[1] in {"m3u-proxy", "m3u-editor"}]


def test_there_is_one_for_each_layout() -> None:
    assert [path.name for path in FILES] == ["compose.editor.yaml", "compose.monitoring.yaml", "compose.yaml"]


@pytest.mark.parametrize(("path", "name"), services())
def test_a_service_is_made_of_what_compose_knows(path: Path, name: str) -> None:
    service = load(path)["services"][name]
    assert set(service) <= KEYS
    assert re.fullmatch(r"[a-z0-9./-]+(:[a-z0-9.-]+)?", service["image"])
    assert not service["image"].endswith(":latest")
    assert service["restart"] == "unless-stopped"
    for port in service.get("ports", []):
        assert re.fullmatch(r"\d+:\d+", port), port
    assert all(isinstance(value, str | int) for value in service.get("environment", {}).values())


@pytest.mark.parametrize(("path", "name"), services())
def test_every_path_exists_and_every_volume_is_declared(path: Path, name: str) -> None:
    whole = load(path)
    service = whole["services"][name]
    for volume in service.get("volumes", []):
        source, target, *_ = volume.split(":")
        assert target.startswith("/")
        assert (DOCKER / source).exists() if source.startswith(".") else source in whole["volumes"], volume
    build = service.get("build", {})
    if "dockerfile" in build:
        assert (DOCKER / build["context"] / build["dockerfile"]).is_file()
    for needed in service.get("depends_on", []):
        assert needed in whole["services"]


@pytest.mark.parametrize(("path", "name"), ours())
def test_every_variable_is_one_that_the_settings_know(path: Path, name: str) -> None:
    environ = load(path)["services"][name]["environment"]
    unknown = {one for one in environ if one.lower() not in Settings.model_fields} - OF_EVERYBODY
    assert {one for one in unknown if not (name == "m3u-editor" and OF_THE_EDITOR.fullmatch(one))} == set()


def test_no_volume_is_declared_in_vain() -> None:
    for path in FILES:
        whole = load(path)
        used = {
            volume.split(":")[0] for one in whole["services"].values() for volume in one.get("volumes", [])
        }
        assert set(whole["volumes"]) <= used, path.name


def test_segments_have_a_volume_of_their_own() -> None:
    editor = load(DOCKER / "compose.editor.yaml")["services"]["m3u-editor"]
    assert f"hls-segments:{editor['environment']['HLS_TEMP_DIR']}" in editor["volumes"]
    assert "segments:/segments" in load(DOCKER / "compose.yaml")["services"]["m3u-proxy"]["volumes"]


def test_prometheus_finds_the_proxy_where_grafana_finds_prometheus() -> None:
    whole = load(DOCKER / "compose.monitoring.yaml")["services"]
    scraped = yaml.safe_load((DOCKER / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    port = whole["m3u-proxy"]["environment"]["METRICS_PORT"]
    assert f"m3u-proxy:{port}" in scraped[0]["static_configs"][0]["targets"]
    assert not [one for one in whole["m3u-proxy"]["ports"] if one.endswith(f":{port}")]
    (source,) = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    (boards,) = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/m3u-proxy.yml").read_text())[
        "providers"
    ]
    mounted = [volume.split(":")[1] for volume in whole["grafana"]["volumes"]]
    assert boards["options"]["path"] in mounted


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_a_user_and_tells_whether_it_is_ready(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER (?!0)\d+:\d+$", final, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD curl .*/readyz", final, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in final
    assert '\nENTRYPOINT ["tini", "--", "m3u-proxy-entrypoint"]\nCMD ["serve"]' in final
    assert "org.opencontainers.image.title" in final
    assert not re.search(r"https?://(?!127\.0\.0\.1)", text)
    environ = re.findall(r"^\s+(?:ENV )?([A-Z_]+)=\S+", final, re.MULTILINE)
    assert {"STATE_DIR", "HLS_TEMP_DIR", "PORT"} <= set(environ)
    assert not re.search(r"\b(gcc|build-essential|build-base|musl-dev)\b", text)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_an_image_copies_is_there_and_sent(path: Path) -> None:
    """``.dockerignore`` lists what may be sent."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    lines = re.findall(r"^COPY (?!--from)(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    sources = [word for line in lines for word in line.split()[:-1] if not word.startswith("--")]
    assert sources
    assert set(sources) <= sent
    assert all((ROOT / source).exists() for source in sent)
    assert os.access(ROOT / "docker/entrypoint.sh", os.X_OK)
