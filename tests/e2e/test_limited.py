"""A provider that says with a text that the account is full is not asked on and on (row F21)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support.answer import Answer
from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Origin

WORDS = Answer(body="Maximum number of connections reached. ".ljust(2048, "."))
LIMITED = 30
"""Seconds of a Retry-After that only a limited source gives."""


async def create(daemon: Daemon, url: str) -> str:
    return str((await daemon.post("/streams", url=url))["stream_id"])


async def is_limited(daemon: Daemon, path: str) -> bool:
    async with daemon.http.get(path) as response:
        assert response.status in (502, 503)
        return int(response.headers.get("Retry-After", "0")) > LIMITED


@pytest.mark.parametrize("name", ["1.ts", "1.m3u8"])
async def test_three_such_texts_and_it_is_left_alone(tmp_path: Path, origin: Origin, name: str) -> None:
    path = f"/live/u/p/{name}"
    origin.on(path, WORDS)
    async with Daemon(tmp_path) as daemon:
        stream = await create(daemon, origin.url(path))
        player = f"/hls/{stream}/playlist.m3u8" if name.endswith("m3u8") else f"/stream/{stream}"
        await eventually(partial(is_limited, daemon, player), within=20, every=0.3)
        assert len(origin.path(path).connections) == 3
        for _ in range(5):
            await is_limited(daemon, player)
    assert len(origin.path(path).connections) == 3


async def test_a_viewer_is_no_reason_to_ask_more_often(tmp_path: Path, origin: Origin) -> None:
    path = "/live/u/p/2.ts"
    origin.on(path, Answer(ts=True, fin=1_000_000), WORDS)
    async with Daemon(tmp_path) as daemon:
        stream = await create(daemon, origin.url(path))
        async with daemon.http.get(f"/stream/{stream}") as response:
            while await response.content.read(65536):
                pass
        assert 2 <= len(origin.path(path).connections) <= 5
        await eventually(partial(is_limited, daemon, f"/stream/{stream}"), within=10, every=0.3)
    assert len(origin.path(path).connections) <= 5
