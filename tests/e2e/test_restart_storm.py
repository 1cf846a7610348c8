"""A daemon that is killed again and again is no storm at the provider (row F68)."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.fake_ffmpeg import until
from tests.support.origin import Answer, Origin

STARTS = 5
CHANNELS = 3
KEPT = "pacing.json"


async def ask(daemon: Daemon, url: str, times: int = 3) -> list[int]:
    """A player that does not give up; the statuses it sees."""
    stream = str((await daemon.post("/streams", url=url))["stream_id"])
    statuses = []
    for _ in range(times):
        async with daemon.http.get(f"/stream/{stream}") as response:
            statuses.append(response.status)
    return statuses


def written_at(path: Path) -> float:
    """When the state in a file was taken, as monotonic seconds."""
    at: float = json.loads(path.read_text())["at"] if path.exists() else 0.0
    return at - time.time() + time.monotonic()


async def killed(daemon: Daemon) -> None:
    daemon.process.kill()
    await daemon.process.wait()


async def test_each_start_asks_a_dead_channel_once_at_most_and_not_before_its_time(
    tmp_path: Path, origin: Origin
) -> None:
    origin.always(Answer(status=503))
    paths = [f"/live/alice/s3cret/{number}.ts" for number in range(CHANNELS)]
    for start in range(STARTS):
        before = {path: len(origin.path(path).connections) for path in paths}
        async with Daemon(tmp_path) as daemon:
            for path in paths:
                assert set(await ask(daemon, origin.url(path))) <= {502, 503}
            asked = {path: len(origin.path(path).connections) - before[path] for path in paths}
            assert max(asked.values()) <= 1, f"start {start}"
            await until(
                lambda: written_at(tmp_path / KEPT) > max(one.closed or 0 for one in origin.connections)
            )
            await killed(daemon)
    opened = [[one.opened for one in origin.path(path).connections] for path in paths]
    for moments in opened:
        assert all(later - earlier >= 1 for earlier, later in pairwise(moments))
    assert [one.name for one in tmp_path.glob("*pacing*")] == [KEPT]
    assert not list((tmp_path / "hls").iterdir())


async def test_a_provider_that_asked_for_time_gets_it_from_the_next_run(
    tmp_path: Path, origin: Origin
) -> None:
    origin.always(Answer(status=503, headers={"Retry-After": "120"}))
    async with Daemon(tmp_path) as daemon:
        assert await ask(daemon, origin.url("/1.ts"), times=1) == [503]
    async with Daemon(tmp_path) as daemon:
        stream = str((await daemon.post("/streams", url=origin.url("/1.ts")))["stream_id"])
        async with daemon.http.get(f"/stream/{stream}") as response:
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 100
            assert "not to be asked yet" in (await response.json())["detail"]
    assert len(origin.connections) == 1


@pytest.mark.parametrize("content", [b"", b'{"version": 1, "at"', b"\x00" * 4096])
async def test_a_daemon_starts_whatever_is_in_its_file(
    tmp_path: Path, origin: Origin, content: bytes
) -> None:
    (tmp_path / KEPT).write_bytes(content)
    origin.on("/1.ts", Answer(ts=True))
    async with Daemon(tmp_path) as daemon:
        assert await ask(daemon, origin.url("/1.ts"), times=1) == [200]
        assert sum(KEPT in line for line in daemon.log) == 1
    assert (tmp_path / f"{KEPT}.bad").read_bytes() == content
