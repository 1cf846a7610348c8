"""What the papers say of settings is what the program does with them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3u_proxy.settings import Settings, load
from m3u_proxy.settings.docs import page
from m3u_proxy.settings.effects import WITHOUT_EFFECT, idle

ROOT = Path(__file__).resolve().parents[2]
READ_BY_LOAD = {"env_file", "api_token_file", "state_dir"}
ONLY_SHOWN = ("wiring_web.py", "facts")
"""Where settings are read for ``/info`` alone."""


def reads() -> Iterator[tuple[str, str]]:
    """Each setting that is read from an object called ``settings``, and by which function."""
    for path in (ROOT / "m3u_proxy" / "daemon").glob("*.py"):
        for outer in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
                for node in ast.walk(outer):
                    if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith("settings"):
                        yield node.attr, f"{path.name} {outer.name}"


def test_a_setting_is_read_or_said_to_be_without_effect() -> None:
    used = {name for name, where in reads() if where != " ".join(ONLY_SHOWN)}
    used |= {"change_buffer_chunks"} if "viewer_queue" in used else set()
    assert Settings.model_fields.keys() - used - READ_BY_LOAD == WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, []),
        ({"REDIS_ENABLED": "false", "REDIS_PORT": "6379", "WORKERS": "1"}, []),
        ({"PORT": "1", "HLS_WAIT_TIME": "3"}, []),
        ({"redis_enabled": "true", "WORKERS": "4", "PORT": "1"}, ["REDIS_ENABLED", "WORKERS"]),
        ({"VOD_CACHE_DIR": "/tmp/vod", "LOG_FILE": "a.log"}, ["LOG_FILE", "VOD_CACHE_DIR"]),
        ({"REDIS_PASSWORD": "CANARY", "API_TOKEN": "t"}, ["REDIS_PASSWORD"]),
    ],
)
def test_what_is_set_in_vain_is_named(environ: dict[str, str], named: list[str]) -> None:
    assert idle(load({"HOME": "/home/bob", **environ})) == named


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == page(), "make docs"


def test_the_page_has_a_row_for_each() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1].lower() for row in rows] == list(Settings.model_fields)
    marked = {row.split("`")[1].lower() for row in rows if row.endswith("*No effect* |")}
    bare = {row.split("`")[1].lower() for row in rows if row.endswith("| Without effect |")}
    assert marked | bare == WITHOUT_EFFECT
