"""``top``: streams, viewers and bit rates, again and again, until it is interrupted."""

from __future__ import annotations

import importlib
import json
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TextIO

from m3u_proxy.client.api import Api, ClientError
from m3u_proxy.client.streams import COLUMNS, name_of, row
from m3u_proxy.client.text import period, rate, size, table

VIEWERS_SHOWN = 15
STREAMS_SHOWN = 40


class Picture:
    """What the daemon says, and how fast its counters move between two looks."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._sent: dict[str, int] = {}
        self._looked_at: float | None = None

    def look(self, now: float) -> dict[str, Any]:
        """Streams, clients and totals at ``now`` (monotonic seconds), rates in bits per second."""
        health = self._api.get("/health")
        if "stats" not in health:
            raise ClientError("the figures need the token: --token or API_TOKEN")
        found = {
            "health": health,
            "streams": self._api.get("/streams")["streams"],
            "clients": self._api.get("/clients")["clients"],
        }
        elapsed = now - self._looked_at if self._looked_at is not None else 0.0
        sent: dict[str, int] = {}
        for one in found["clients"]:
            key = f"{one['stream_id']}/{one['client_id']}"
            sent[key] = one["bytes_served"]
            before = self._sent.get(key, one["bytes_served"])
            one["bitrate"] = max(0, sent[key] - before) * 8 / elapsed if elapsed else 0.0
        self._sent, self._looked_at = sent, now
        return found


def render(found: Mapping[str, Any]) -> str:
    """The whole view as text."""
    streams: list[dict[str, Any]] = sorted(found["streams"], key=lambda one: -one["client_count"])
    clients: list[dict[str, Any]] = sorted(found["clients"], key=lambda one: -one["bitrate"])
    names = {one["stream_id"]: name_of(one) for one in streams}
    parts = [_head(found["health"], streams, clients), "\n"]
    rows = [
        (*row(one), size(one["total_bytes_served"]), one["reason"] or "") for one in streams[:STREAMS_SHOWN]
    ]
    shown = table((*COLUMNS, "SENT", "WHY"), rows, right="   rrrr")
    parts.append(shown if rows else "No streams.\n")
    parts.append(_rest(len(streams), STREAMS_SHOWN, "streams"))
    if clients:
        viewers = [
            (
                one["username"] or one["ip_address"],
                names.get(one["stream_id"], one["stream_id"][:12]),
                rate(one["bitrate"]),
                size(one["bytes_served"]),
                one["user_agent"],
            )
            for one in clients[:VIEWERS_SHOWN]
        ]
        parts += ["\n", table(("VIEWER", "WATCHES", "OUT", "SENT", "PLAYER"), viewers, right="  rr")]
        parts.append(_rest(len(clients), VIEWERS_SHOWN, "viewers"))
    return "".join(parts)


def _head(health: Mapping[str, Any], streams: list[dict[str, Any]], clients: list[dict[str, Any]]) -> str:
    watched = sum(one["client_count"] > 0 for one in streams)
    out = sum(one["bitrate"] for one in clients)
    return (
        f"m3u_proxy {health['version']}  {health['status']}  up {period(health['uptime_seconds'])}\n"
        f"{watched} of {len(streams)} streams watched by {len(clients)} viewers, {rate(out)} out\n"
    )


def _rest(count: int, shown: int, what: str) -> str:
    return f"… and {count - shown} more {what}\n" if count > shown else ""


def top(api: Api, given: Namespace, out: TextIO) -> int:
    """``top``: in place on a terminal, one view below the other where the output is none."""
    picture = Picture(api)
    if given.once or given.json:
        picture.look(time.monotonic())
        time.sleep(given.interval)  # a rate takes two looks
        found = picture.look(time.monotonic())
        out.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n" if given.json else render(found))
        return 0
    try:
        with _screen(out) as screen:
            while True:
                screen.show(render(picture.look(time.monotonic())))
                time.sleep(given.interval)
    except KeyboardInterrupt:
        return 0


class _Plain:
    """A new view after the old one; on a terminal in its place."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._start = "\x1b[H\x1b[J" if out.isatty() else "\n"

    def show(self, text: str) -> None:
        self._out.write(self._start + text)
        self._out.flush()


class _Rich:
    """The terminal's other screen: what was there before is there again afterwards, and nothing flickers."""

    def __init__(self, live: Any, text: Any) -> None:
        self._live, self._text = live, text

    def __enter__(self) -> _Rich:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, text: str) -> None:
        self._live.update(self._text(text, no_wrap=True, overflow="ellipsis"), refresh=True)


def _screen(out: TextIO) -> AbstractContextManager[_Plain | _Rich]:
    """rich where it is installed (the extra ``tui``) and the output is a terminal."""
    if out.isatty():
        try:
            live = importlib.import_module("rich.live").Live(screen=True, auto_refresh=False)
            return _Rich(live, importlib.import_module("rich.text").Text)
        except ImportError:
            pass
    return nullcontext(_Plain(out))
