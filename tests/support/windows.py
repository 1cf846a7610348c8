"""Channels as HLS of a few seconds, seen by a test."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from tests.support.daemon import Daemon

NAME = re.compile(r"segment_(\d{8}_\d{6})_(\d{3,})\.ts")


async def add_channel(daemon: Daemon, name: str, url: str, **fields: object) -> str:
    """One more channel in the lineup; its key."""
    async with daemon.http.post("/api/v1/channels", json={"name": name, "url": url, **fields}) as response:
        answer = await response.json()
        assert response.status == 201, answer
        return str(answer["key"])


def address(key: str) -> str:
    """Of a channel's playlist."""
    return f"/hls_streams/{key}/master.m3u8"


def number_of(name: str) -> int:
    """The number in the name of a segment, which must be one."""
    found = NAME.fullmatch(name)
    assert found is not None, name
    datetime.strptime(found[1], "%Y%m%d_%H%M%S")
    return int(found[2])


def listed(playlist: str) -> list[str]:
    """Names of the segments in a playlist."""
    return [line for line in playlist.splitlines() if line and not line.startswith("#")]


def on_disk(segments: Path) -> set[str]:
    """Names of the media segments in all directories of a daemon."""
    return {path.name for path in segments.glob("m3u_proxy_hls_*/segment_*.ts")}
