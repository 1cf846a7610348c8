"""``check lineup``: every channel of the daemon's lineup tried, with a bar while that takes its time."""

from __future__ import annotations

import importlib
import json
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Protocol, TextIO

from m3u_proxy.client.api import Api, ClientError, segment
from m3u_proxy.client.text import rate, table

INTERVAL = 0.5
"""Seconds between two looks at how far it is."""
BAR = 30
"""Columns of the plain bar."""
_PATH = "/api/v1/channels/check"


def check_lineup(api: Api, given: Namespace, out: TextIO) -> int:
    """0 if every channel can be played, 1 if one cannot; an interrupt calls the check off, with 1."""
    job = api.post(_PATH, {"group": given.group} if given.group else None)["job"]
    try:
        rows = _follow(api, f"{_PATH}/{segment(job)}", _bar(sys.stderr))
    except KeyboardInterrupt:
        with suppress(ClientError):
            api.delete(f"{_PATH}/{segment(job)}")
        sys.stderr.write("m3u-proxy: the check was called off\n")
        return 1
    if given.json:
        json.dump(rows, out, indent=2, ensure_ascii=False)
        out.write("\n")
    else:
        out.write(_report(rows))
    return 0 if all(row["playable"] for row in rows) else 1


def _follow(api: Api, path: str, bar: Bar) -> list[Mapping[str, Any]]:
    """Every result, once the last one is there."""
    rows: list[Mapping[str, Any]] = []
    try:
        while True:
            found = api.get(path, offset=str(len(rows)))
            rows += found["results"]
            bar.show(len(rows), found["total"])
            if len(rows) >= found["total"]:
                return rows
            time.sleep(INTERVAL)
    finally:
        bar.end()


def _report(rows: list[Mapping[str, Any]]) -> str:
    if not rows:
        return "No channels.\n"
    shown = [
        (
            row["key"],
            "yes" if row["playable"] else "no",
            row["kind"],
            ", ".join(row["codecs"]),
            rate(row["bitrate"]),
            "-" if row["first_byte_ms"] is None else f"{row['first_byte_ms']} ms",
            row["reason"] or "",
        )
        for row in rows
    ]
    headers = ("CHANNEL", "PLAYS", "KIND", "CODECS", "RATE", "FIRST BYTE", "WHY NOT")
    playing = sum(bool(row["playable"]) for row in rows)
    return table(headers, shown, right="    rr") + f"{playing} of {len(rows)} can be played.\n"


class Bar(Protocol):
    """How far it is."""

    def show(self, done: int, total: int) -> None:
        """So many of so many."""

    def end(self) -> None:
        """No more to come."""


class _NoBar:
    """Where nobody looks on."""

    def show(self, done: int, total: int) -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""


class _Plain:
    """One line, written again and again."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, done: int, total: int) -> None:
        full = BAR * done // total if total else BAR
        self._out.write(f"\r[{'#' * full}{'.' * (BAR - full)}] {done}/{total}")
        self._out.flush()

    def end(self) -> None:
        self._out.write("\r\x1b[K")
        self._out.flush()


class _Rich:
    """The same with what is left of the time."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._task = progress.add_task("Checking")
        progress.start()

    def show(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)

    def end(self) -> None:
        self._progress.stop()


def _bar(out: TextIO) -> Bar:
    """rich where it is installed (the extra ``tui``), on a terminal only."""
    if not out.isatty():
        return _NoBar()
    try:
        console = importlib.import_module("rich.console").Console(file=out)
        rich = importlib.import_module("rich.progress")
    except ImportError:
        return _Plain(out)
    columns = (rich.TextColumn("{task.description}"), rich.BarColumn(), rich.MofNCompleteColumn())
    return _Rich(rich.Progress(*columns, rich.TimeRemainingColumn(), console=console, transient=True))
