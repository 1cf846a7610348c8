"""The last attempts, kept in a file that may be anything when it is read."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
import time
from pathlib import Path

import pytest

from m3u_proxy.storage.paces import NAME, Paces
from m3u_proxy.storage.private import LARGEST, PrivateFile
from m3u_proxy.upstream.pacing import Pacer
from tests.support.fake_ffmpeg import until

URL = "http://provider.example/live/alice/s3cret/1.ts"


def a_pacer() -> Pacer:
    return Pacer(lambda: 0.5)


async def kept(directory: Path, times: int = 5) -> None:
    """A run in which ``URL`` has failed so often."""
    pacer = a_pacer()
    paces = Paces(pacer, directory)
    for _ in range(times):
        pacer.failed(URL, time.monotonic())
    await paces.save()


async def wait_after(directory: Path) -> float:
    """Seconds that the next run makes ``URL`` wait."""
    pacer = a_pacer()
    await Paces(pacer, directory).load()
    now = time.monotonic()
    return pacer.earliest(URL, now) - now


def rewrite(directory: Path, **values: object) -> None:
    path = directory / NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


async def test_the_next_run_waits_as_this_one_would_have(tmp_path: Path) -> None:
    await kept(tmp_path / "made" / "on the way")
    assert 14 < await wait_after(tmp_path / "made" / "on the way") <= 16


async def test_the_file_is_private_and_names_no_credential(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        await kept(tmp_path)
    finally:
        os.umask(before)
    path = tmp_path / NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == [NAME]
    assert all(word not in path.read_text() for word in ("alice", "s3cret", "provider"))


@pytest.mark.parametrize(
    ("ago", "least", "most"),
    [(10.0, 4.0, 6.0), (60.0, 0.0, 0.0), (1e9, 0.0, 0.0), (-30.0, 14.0, 16.0), (-1e9, 14.0, 16.0)],
    ids=["ten seconds", "a minute", "long", "clock put back", "far future"],
)
async def test_the_time_of_day_counts_and_may_jump(
    tmp_path: Path, ago: float, least: float, most: float
) -> None:
    await kept(tmp_path)
    rewrite(tmp_path, at=time.time() - ago)
    assert least <= await wait_after(tmp_path) <= most


@pytest.mark.parametrize("at", [None, "now", [], True, 10**400, 1e300])
async def test_a_file_without_a_time_counts_as_none(tmp_path: Path, at: object) -> None:
    await kept(tmp_path)
    rewrite(tmp_path, at=at)
    assert await wait_after(tmp_path) == 0


BAD = {
    "empty": b"",
    "cut": b'{"version": 1, "at": 17',
    "binary": bytes(range(256)),
    "no object": b"[1, 2]",
    "deep": b"[" * 100_000,
    "other form": b'{"version": 99}',
    "of another program": b'{"name": "a"}',
    "large": b" " * (LARGEST + 1),
}


@pytest.mark.parametrize("content", BAD.values(), ids=list(BAD))
async def test_what_is_no_file_of_ours_is_kept_aside_and_told_once(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)
    assert await wait_after(tmp_path) == 0
    assert await wait_after(tmp_path) == 0
    assert [one.levelno for one in caplog.records] == [logging.WARNING]
    assert (tmp_path / f"{NAME}.bad").read_bytes() == content
    await kept(tmp_path)
    assert await wait_after(tmp_path) > 14


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
async def test_what_is_no_regular_file_is_not_followed(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, elsewhere = tmp_path / NAME, tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere)
        path.with_name(f"{NAME}.tmp").symlink_to(elsewhere)
    assert await wait_after(tmp_path) == 0
    assert len(caplog.records) == 1
    await kept(tmp_path)
    assert await wait_after(tmp_path) > 14
    assert elsewhere.read_text() == "untouched"


async def test_no_pacing_and_nonsense_in_it_count_as_none(tmp_path: Path) -> None:
    for pacing in (None, 5, {"urls": "?"}):
        values = {"at": time.time(), "pacing": pacing}
        await asyncio.to_thread(PrivateFile(tmp_path / NAME, 1).write, values)
        assert await wait_after(tmp_path) == 0


async def test_only_changes_are_written_and_soon(tmp_path: Path) -> None:
    pacer, path = a_pacer(), tmp_path / NAME
    task = asyncio.create_task(Paces(pacer, tmp_path).run())
    try:
        pacer.failed(URL, time.monotonic())
        await until(path.exists)
        path.unlink()
        pacer.note(URL, time.monotonic())
        await until(path.exists)
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert not path.with_name(f"{NAME}.tmp").exists()


async def test_a_place_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    pacer = a_pacer()
    paces = Paces(pacer, tmp_path / "file")
    for _ in range(3):
        pacer.failed(URL, time.monotonic())
        await paces.save()
    assert len(caplog.records) == 1
    (tmp_path / "file").unlink()
    await paces.save()
    assert await wait_after(tmp_path / "file") > 3
