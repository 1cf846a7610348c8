"""What a restart must not lose, when the end comes while it is being written."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

import m3u_proxy.storage.registry as module
from m3u_proxy.daemon.keeping import Keeping
from m3u_proxy.events import Bus
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.observe.webhooks import Webhooks
from m3u_proxy.pool.catalog import Catalog
from m3u_proxy.storage.registry import CLOSE_PATIENCE, Registry, Table
from m3u_proxy.upstream.post import Answer


async def _post(url: str, content: bytes, headers: Mapping[str, str], *, patience: float) -> Answer:
    raise AssertionError("there are no webhooks")


def keeping(registry: Registry, channels: Channels) -> Keeping:
    catalog = Catalog(limit=0, idle=60.0, retention=60.0)
    return Keeping(registry, catalog, channels, Webhooks(_post), Bus())


async def test_a_lineup_that_was_just_taken_in_is_written_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    real = module._apply

    def apply(connection: sqlite3.Connection, table: Table, key: str, row: object) -> None:
        assert go_on.wait(20)
        real(connection, table, key, row)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_apply", apply)
    channels = Channels()
    kept = keeping(await asyncio.to_thread(Registry.open, tmp_path), channels)
    await kept.__aenter__()
    channels.add(Channel("news", "News", "http://provider.example/1.ts"))
    kept.hurry()
    closing = asyncio.create_task(kept.__aexit__())
    done, _ = await asyncio.wait([closing], timeout=CLOSE_PATIENCE + 0.3)
    go_on.set()
    await closing
    assert not done
    found = Channels()
    async with keeping(await asyncio.to_thread(Registry.open, tmp_path), found):
        assert [one.key for one in found] == ["news"]
