"""The disk guard on real filesystems, filled and freed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from m3u_proxy.errors import Unavailable
from m3u_proxy.storage import disk
from m3u_proxy.storage.disk import DiskGuard, Space, judge, look
from tests.support.trees import ballast, remount, tmpfs

MIB = 1024 * 1024
ROOMY = Space(90 * MIB, 100 * MIB, 1000, 1000)
FULL = Space(1 * MIB, 100 * MIB, 1000, 1000)
LOW = Space(15 * 1024 * MIB, 100 * 1024 * MIB, 1000, 1000)

Change = tuple[bool, Space]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with tmpfs(tmp_path / "disk", size="100m", nr_inodes=1000) as mounted:
        yield mounted


@pytest.fixture
def changes() -> list[Change]:
    return []


@pytest.fixture
def guard(changes: list[Change], tmp_path: Path) -> DiskGuard:
    return DiskGuard(tmp_path, on_change=lambda pressure, space: changes.append((pressure, space)))


def script(monkeypatch: pytest.MonkeyPatch, *looks: Space | OSError) -> None:
    """Replace the filesystem's answers."""
    answers = iter(looks)

    def answer(path: Path) -> Space:
        found = next(answers)
        if isinstance(found, OSError):
            raise found
        return found

    monkeypatch.setattr(disk, "look", answer)


@pytest.mark.needs("root", "tmpfs")
def test_a_look_tells_bytes_and_inodes(small_disk: Path) -> None:
    assert look(small_disk) == Space(100 * MIB, 100 * MIB, 999, 1000)
    ballast(small_disk / "ballast", 40 * MIB)
    assert look(small_disk) == Space(60 * MIB, 100 * MIB, 998, 1000)


def test_a_look_at_a_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        look(tmp_path / "nowhere")


@pytest.mark.needs("root", "tmpfs")
def test_inodes_run_out_before_bytes(small_disk: Path) -> None:
    for number in range(950):
        os.mknod(small_disk / str(number))
    assert judge(look(small_disk)) == "full"


@pytest.mark.needs("root", "tmpfs")
async def test_a_filled_disk_refuses_writers_until_it_is_free_again(
    small_disk: Path, changes: list[Change]
) -> None:
    guard = DiskGuard(small_disk, on_change=lambda pressure, space: changes.append((pressure, space)))
    await guard.refresh()
    guard.allow_writer()

    filler = await asyncio.to_thread(ballast, small_disk / "ballast", 50 * MIB)
    await guard.refresh()
    assert guard.pressure
    assert guard.space == Space(50 * MIB, 100 * MIB, 998, 1000)
    with pytest.raises(Unavailable) as caught:
        guard.allow_writer()
    assert caught.value.reason == "disk_full"
    assert caught.value.retry_after is not None

    await asyncio.to_thread(filler.unlink)
    await guard.refresh()
    await guard.refresh()
    guard.allow_writer()
    assert [pressure for pressure, _ in changes] == [True, False]


@pytest.mark.needs("root", "tmpfs")
async def test_a_disk_that_grows_is_free_again(small_disk: Path, changes: list[Change]) -> None:
    guard = DiskGuard(small_disk, on_change=lambda pressure, space: changes.append((pressure, space)))
    await asyncio.to_thread(ballast, small_disk / "ballast", 90 * MIB)
    await guard.refresh()
    assert guard.pressure
    await asyncio.to_thread(remount, small_disk, "size=400m")
    await guard.refresh()
    await guard.refresh()
    assert not guard.pressure


async def test_pressure_starts_at_once_and_ends_when_it_is_over_for_good(
    guard: DiskGuard, changes: list[Change], monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, ROOMY, FULL, ROOMY, FULL, ROOMY, ROOMY, ROOMY)
    seen = []
    for _ in range(7):
        await guard.refresh()
        seen.append(guard.pressure)
    assert seen == [False, True, True, True, True, False, False]
    assert changes == [(True, FULL), (False, ROOMY)]


async def test_a_level_is_logged_when_it_changes(
    guard: DiskGuard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script(monkeypatch, ROOMY, LOW, LOW, FULL, FULL, ROOMY)
    with caplog.at_level(logging.INFO):
        for _ in range(6):
            await guard.refresh()
    assert [(record.levelname, record.getMessage().split(":")[0]) for record in caplog.records] == [
        ("WARNING", "disk warn"),
        ("WARNING", "disk full"),
        ("INFO", "disk ok"),
    ]


def test_space_is_told_in_words() -> None:
    assert str(FULL) == "1.0 of 100.0 MiB and 1000 of 1000 inodes are free"


async def test_a_path_that_cannot_be_looked_at_is_told_once_and_decides_nothing(
    guard: DiskGuard, changes: list[Change], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = FileNotFoundError(2, "No such file or directory")
    script(monkeypatch, FULL, gone, gone, ROOMY, ROOMY)
    await guard.refresh()
    caplog.clear()
    await guard.refresh()
    await guard.refresh()
    assert guard.space is None
    assert guard.pressure
    assert len(caplog.records) == 1
    await guard.refresh()
    await guard.refresh()
    assert changes == [(True, FULL), (False, ROOMY)]


async def test_before_the_first_look_a_writer_may_try(guard: DiskGuard) -> None:
    assert guard.space is None
    guard.allow_writer()
    assert not guard.pressure


async def test_run_keeps_looking_until_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(monkeypatch, ROOMY, FULL, ROOMY, ROOMY, *[ROOMY] * 1000)
    told: asyncio.Queue[bool] = asyncio.Queue()
    guard = DiskGuard(tmp_path, on_change=lambda pressure, _: told.put_nowait(pressure), interval=0.001)
    task = asyncio.create_task(guard.run())
    try:
        assert await asyncio.wait_for(told.get(), 5)
        assert not await asyncio.wait_for(told.get(), 5)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
