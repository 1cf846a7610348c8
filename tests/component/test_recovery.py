"""What dead runs left: start-up recovery and the periodic collector, and everything they must not touch."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from m3u_proxy.storage.directories import MARKER, PREFIX, claim, prepare
from m3u_proxy.storage.recovery import Collection, Recovery, collect_periodically, recover, sweep
from tests.support.trees import FUTURE, OLD, age, plant_canaries, snapshot

STREAM = "1e504d534b5eac4979fb73c871810a37"
PROJECT = Path(__file__).parents[2]
HOUR = 3600.0

OWNER = """
import sys
from pathlib import Path
from m3u_proxy.storage.directories import claim
held = claim(Path(sys.argv[1]), "b" * 32, instance=sys.argv[2], kind=sys.argv[3])
print(held.path, flush=True)
sys.stdin.read()
"""

KILLED_WHILE_RECOVERING = """
import os, signal, sys
from pathlib import Path
from m3u_proxy.storage.recovery import recover

countdown = int(sys.argv[2])

def deadly(call):
    def wrapped(*args, **kwargs):
        global countdown
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        countdown -= 1
        return call(*args, **kwargs)
    return wrapped

os.unlink, os.rmdir = deadly(os.unlink), deadly(os.rmdir)
recover(Path(sys.argv[1]), instance="run-2")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "hls"
    prepare(path)
    return path


@contextmanager
def owner(root: Path, *, kind: str = "hls") -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Another process that holds a claim until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(root), "run-1", kind],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().rstrip())
    finally:
        process.kill()
        process.communicate()


def leftover(root: Path, *, kind: str = "hls", instance: str = "run-1", files: int = 3) -> Path:
    """What a run that was killed leaves."""
    held = claim(root, STREAM, instance=instance, kind=kind)
    (held.path / "index.m3u8").write_text("#EXTM3U\n")
    for number in range(files - 1):
        (held.path / f"segment_{number}.ts").write_bytes(b"G" * 188)
    held.release()
    return held.path


def empty(root: Path, name: str, when: float = OLD) -> Path:
    path = root / f"{PREFIX}{name}"
    path.mkdir()
    os.utime(path, (when, when))
    return path


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


# recovery


def test_a_living_owner_is_left_alone_and_a_killed_one_is_recovered(root: Path) -> None:
    """F65, F73: by the lock alone."""
    with owner(root) as (process, path):
        (path / "segment_0.ts").write_bytes(b"G" * 188)
        before = snapshot(root)
        assert recover(root, instance="run-2") == Recovery(locked=1)
        assert snapshot(root) == before
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert recover(root, instance="run-2") == Recovery(recovered=1)
    assert names(root) == set()


def test_kinds_that_outlive_a_restart_are_left_alone(root: Path) -> None:
    leftover(root, kind="recording")
    leftover(root, kind="cache")
    before = snapshot(root)
    assert recover(root, instance="run-2") == Recovery(lasting=2)
    assert snapshot(root) == before


def test_directories_of_this_run_are_their_owners_business(root: Path) -> None:
    leftover(root, instance="run-2")
    before = snapshot(root)
    assert recover(root, instance="run-2") == Recovery(locked=1)
    assert snapshot(root) == before


def test_foreign_files_stay_with_their_directory_and_are_named_once(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """F65: a file of foreign name."""
    path = leftover(root)
    (path / "holiday.ts").write_text("foreign")
    with caplog.at_level(logging.WARNING):
        assert recover(root, instance="run-2") == Recovery(foreign=(path.name,))
        assert names(path) == {"holiday.ts"}
        assert recover(root, instance="run-3") == Recovery(unmarked=1)
    assert names(path) == {"holiday.ts"}
    assert caplog.text.count("holiday.ts") == 1
    (path / "holiday.ts").unlink()
    assert sweep(root, now_wall=time.time() + HOUR, age=60).removed == (path.name,)


def test_an_unfinished_marker_is_ours(root: Path) -> None:
    path = leftover(root)
    (path / MARKER).write_bytes(b"")
    assert recover(root, instance="run-2") == Recovery(recovered=1)
    assert names(root) == set()


@pytest.mark.parametrize(
    "marker",
    [b"null", b"[]", b"{}", b"\xff\xfe", b'{"instance": 7}', b"[" * 4000, b" " * 5000, b'{"instance": "x"'],
)
def test_a_marker_that_we_never_wrote_protects_its_directory(root: Path, marker: bytes) -> None:
    """F73: a forged marker."""
    path = leftover(root)
    (path / MARKER).write_bytes(marker)
    before = snapshot(root)
    assert recover(root, instance="run-2") == Recovery(unmarked=1)
    assert snapshot(root) == before


def test_a_marker_with_a_reused_pid_is_judged_by_its_lock_alone(root: Path) -> None:
    """F73: a reused pid."""
    path = leftover(root)
    marker = json.loads((path / MARKER).read_text())
    (path / MARKER).write_text(json.dumps({**marker, "pid": os.getpid()}))
    assert recover(root, instance="run-2") == Recovery(recovered=1)


@pytest.mark.parametrize("deletions", range(6))
def test_killed_at_any_deletion_the_next_start_finishes(root: Path, tmp_path: Path, deletions: int) -> None:
    """F65: killed in the middle of recovery. Four files and the marker, then the directory: six deletions."""
    path = leftover(root, files=4)
    plant_canaries(root, tmp_path / "beside", PREFIX)
    canaries = {key: node for key, node in snapshot(tmp_path).items() if not key.startswith(str(path))}
    canaries.pop(str(root))
    script = [sys.executable, "-c", KILLED_WHILE_RECOVERING, str(root), str(deletions)]
    assert subprocess.run(script, cwd=PROJECT, check=False).returncode == -signal.SIGKILL
    left = names(path)
    assert len(left) == 5 - deletions
    assert MARKER in left or not left
    recover(root, instance="run-3")
    if not left:
        age(path)
        sweep(root, now_wall=time.time(), age=HOUR)
    after = snapshot(tmp_path)
    after.pop(str(root))
    assert after == canaries


def test_ten_thousand_segments_are_gone_within_three_seconds(root: Path) -> None:
    """F71: a large directory."""
    path = leftover(root, files=1)
    for number in range(10_000):
        os.close(os.open(path / f"segment_{number}.ts", os.O_CREAT | os.O_WRONLY))
    started = time.monotonic()
    assert recover(root, instance="run-2") == Recovery(recovered=1)
    assert time.monotonic() - started < 3
    assert names(root) == set()


# the collector


def test_only_old_empty_unlocked_directories_go(root: Path) -> None:
    now = OLD + 2 * HOUR
    empty(root, "old")
    empty(root, "exactly", now - HOUR)
    empty(root, "young", now - HOUR + 1)
    empty(root, "future", FUTURE)
    full = empty(root, "full")
    (full / "segment_0.ts").write_bytes(b"G")
    os.utime(full, (OLD, OLD))
    held = claim(root, STREAM, instance="run-1", kind="hls")
    (held.path / MARKER).unlink()
    os.utime(held.path, (OLD, OLD))
    found = sweep(root, now_wall=now, age=HOUR)
    assert set(found.removed) == {f"{PREFIX}old", f"{PREFIX}exactly"}
    assert found.skipped == {
        f"{PREFIX}young": "too_young",
        f"{PREFIX}future": "too_young",
        f"{PREFIX}full": "not_empty",
        held.name: "active",
    }
    assert names(root) == set(found.skipped)
    held.clear()


def test_a_lock_of_another_process_protects_an_empty_directory(root: Path) -> None:
    with owner(root) as (process, path):
        (path / MARKER).unlink()
        age(path)
        assert sweep(root, now_wall=time.time(), age=HOUR).skipped == {path.name: "active"}
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert sweep(root, now_wall=time.time(), age=HOUR).removed == (path.name,)


@pytest.mark.parametrize("jump", [-365 * 24 * HOUR, 365 * 24 * HOUR])
def test_a_jump_of_the_clock_touches_no_living_directory(root: Path, jump: float) -> None:
    held = claim(root, STREAM, instance="run-1", kind="hls")
    assert sweep(root, now_wall=time.time() + jump, age=HOUR) == Collection((), {held.name: "active"})
    assert held.clear() == ()


def test_what_cannot_be_removed_is_an_error_and_the_others_go_on(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty(root, "a")
    empty(root, "b")
    rmdir = os.rmdir

    def refuse(path: Path) -> None:
        if path.name.endswith("a"):
            raise PermissionError(1, "Operation not permitted")
        rmdir(path)

    monkeypatch.setattr(os, "rmdir", refuse)
    assert sweep(root, now_wall=time.time(), age=HOUR) == Collection((f"{PREFIX}b",), {f"{PREFIX}a": "error"})


# everything else


def test_nothing_else_is_ever_deleted(root: Path, tmp_path: Path) -> None:
    plant_canaries(root, tmp_path / "beside", PREFIX)
    before = snapshot(tmp_path)
    prepare(root)
    held = claim(root, STREAM, instance="run-2", kind="hls")
    found = recover(root, instance="run-2")
    assert found == Recovery(locked=1, unmarked=3)
    for clock in (time.time(), OLD + HOUR, FUTURE):
        sweep(root, now_wall=clock, age=1.0)
    assert held.clear() == ()
    after = snapshot(tmp_path)
    del before[str(root)], after[str(root)]
    assert after == before


def test_a_missing_parent_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        recover(tmp_path / "nowhere", instance="run-2")
    with pytest.raises(FileNotFoundError):
        sweep(tmp_path / "nowhere", now_wall=0, age=0)


# the loop around the collector


@pytest.fixture
def old_and_full(root: Path) -> Path:
    empty(root, "old")
    full = empty(root, "full")
    (full / "foreign").write_text("x")
    age(full)
    return root


async def test_the_collector_goes_round_and_says_what_it_did(
    old_and_full: Path, caplog: pytest.LogCaptureFixture
) -> None:
    results: asyncio.Queue[Collection] = asyncio.Queue()
    with caplog.at_level(logging.INFO):
        task = asyncio.create_task(
            collect_periodically(old_and_full, interval=0.01, age=HOUR, on_result=results.put_nowait)
        )
        try:
            first, second = await results.get(), await results.get()
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert first == Collection((f"{PREFIX}old",), {f"{PREFIX}full": "not_empty"})
    assert second == Collection((), {f"{PREFIX}full": "not_empty"})
    assert caplog.text.count(f"removed the empty directory '{PREFIX}old'") == 1
    assert "1 removed, kept {'not_empty': 1}" in caplog.text


class Told(logging.Handler):
    """Sets an event when something is logged in the loop's thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.event = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.event.set()


async def test_a_missing_parent_does_not_end_the_collector(tmp_path: Path) -> None:
    told = Told()
    logger = logging.getLogger("m3u_proxy.storage.recovery")
    logger.addHandler(told)
    results: asyncio.Queue[Collection] = asyncio.Queue()
    task = asyncio.create_task(
        collect_periodically(tmp_path / "hls", interval=0.01, age=HOUR, on_result=results.put_nowait)
    )
    try:
        await asyncio.wait_for(told.event.wait(), 5)
        await asyncio.to_thread((tmp_path / "hls").mkdir)
        assert await asyncio.wait_for(results.get(), 5) == Collection((), {})
    finally:
        logger.removeHandler(told)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
