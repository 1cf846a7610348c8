"""Where directories of streams are made, and how they are claimed: real files, real processes, real disks."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3u_proxy.errors import StartError, Unavailable
from m3u_proxy.storage.directories import MARKER, PREFIX, Claim, claim, open_directory, prepare, try_lock
from m3u_proxy.storage.recovery import recover, sweep
from tests.support.trees import ballast, plant_canaries, remount, snapshot, tmpfs

STREAM = "1e504d534b5eac4979fb73c871810a37"
PROJECT = Path(__file__).parents[2]

KILLED_WHILE_CLAIMING = """
import fcntl, os, signal, sys
from pathlib import Path
from m3u_proxy.storage.directories import claim

countdown = int(sys.argv[2])

def deadly(call):
    def wrapped(*args, **kwargs):
        global countdown
        if countdown == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        countdown -= 1
        return call(*args, **kwargs)
    return wrapped

fcntl.flock = deadly(fcntl.flock)
for name in ("mkdir", "open", "fchmod", "write", "close"):
    setattr(os, name, deadly(getattr(os, name)))
claim(Path(sys.argv[1]), "a" * 32, instance="dead", kind="hls")
os.kill(os.getpid(), signal.SIGKILL)
"""

OUT_OF_DESCRIPTORS = """
import os, resource, sys
from pathlib import Path
from m3u_proxy.errors import Unavailable
from m3u_proxy.storage.directories import claim

root, spare = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
taken = []
try:
    while True:
        taken.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for fd in taken[:spare]:
    os.close(fd)
try:
    claim(root, "a" * 32, instance="i", kind="hls")
except Unavailable as error:
    print(error.reason)
else:
    print("claimed")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "hls"
    prepare(path)
    return path


@pytest.fixture
def held(root: Path) -> Iterator[Claim]:
    one = claim(root, STREAM, instance="run-1", kind="hls")
    yield one
    one.clear()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# prepare


def test_prepare_makes_every_missing_directory_readable_whatever_the_umask(tmp_path: Path) -> None:
    root = tmp_path / "state" / "m3u" / "hls"
    old = os.umask(0o077)
    try:
        prepare(root)
    finally:
        os.umask(old)
    assert [mode_of(path) for path in (root, root.parent, root.parent.parent)] == [0o755] * 3
    assert list(root.iterdir()) == []


def test_prepare_leaves_an_existing_directory_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "hls"
    plant_canaries(root, tmp_path / "beside", PREFIX)
    root.chmod(0o700)
    before = snapshot(tmp_path)
    prepare(root)
    after = snapshot(tmp_path)
    assert after.pop(str(root))[0] == before.pop(str(root))[0]
    assert after == before


@pytest.mark.parametrize("spelling", ["/", "//", "/proc/..", "/./"])
def test_the_root_of_the_file_system_is_refused(spelling: str) -> None:
    with pytest.raises(StartError, match="root of the file system"):
        prepare(Path(spelling))


def test_a_link_to_the_root_of_the_file_system_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hls").symlink_to("/")
    with pytest.raises(StartError, match="root of the file system"):
        prepare(tmp_path / "hls")


def test_a_file_a_dangling_link_and_a_place_without_permission_name_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("keep")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for place in (tmp_path / "file", tmp_path / "file" / "hls", tmp_path / "dangling", Path("/proc/hls")):
        with pytest.raises(StartError) as caught:
            prepare(place)
        assert str(place) in caught.value.detail
    assert (tmp_path / "file").read_text() == "keep"
    assert not (tmp_path / "nowhere").exists()


def test_a_link_made_by_the_operator_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "hls").symlink_to(tmp_path / "disk")
    prepare(tmp_path / "hls")
    held = claim(tmp_path / "hls", STREAM, instance="run-1", kind="hls")
    assert [path.name for path in (tmp_path / "disk").iterdir()] == [held.name]
    assert held.clear() == ()


@pytest.mark.needs("root")
def test_a_link_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "hls").symlink_to(tmp_path / "disk")
    os.lchown(tmp_path / "hls", 12345, 12345)
    with pytest.raises(StartError, match="another user"):
        prepare(tmp_path / "hls")


@pytest.mark.needs("root", "tmpfs")
def test_a_read_only_disk_fails_the_start_and_a_full_one_does_not(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size="64k") as disk:
        ballast(disk / "ballast", 64 * 1024)
        prepare(disk)
        assert [path.name for path in disk.iterdir()] == ["ballast"]
        remount(disk, "ro")
        with pytest.raises(StartError, match="Read-only"):
            prepare(disk)


# claim


def test_a_claim_is_a_marked_and_locked_directory_of_its_own(root: Path) -> None:
    old = os.umask(0o077)
    try:
        held = claim(root, STREAM, instance="run-1", kind="hls")
    finally:
        os.umask(old)
    other = claim(root, STREAM, instance="run-1", kind="hls")
    try:
        assert held.path != other.path
        assert held.path.parent == root
        assert held.name == held.path.name
        assert held.name.startswith(f"{PREFIX}{STREAM}_")
        assert mode_of(held.path) == 0o755
        again = open_directory(held.path)
        assert not try_lock(again)
        os.close(again)
        marker = json.loads((held.path / MARKER).read_text())
        assert (marker["instance"], marker["kind"], marker["pid"]) == ("run-1", "hls", os.getpid())
        assert marker["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        started = marker["start_time"] / os.sysconf("SC_CLK_TCK")
        assert 0 < started <= time.clock_gettime(time.CLOCK_BOOTTIME)
    finally:
        assert (held.clear(), other.clear()) == ((), ())
    assert list(root.iterdir()) == []


def test_children_do_not_inherit_the_lock(held: Claim) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    try:
        held.release()
        again = open_directory(held.path)
        deadline = time.monotonic() + 5.0
        while not try_lock(again):  # exec lets the parent go on just before it closes the descriptors
            assert time.monotonic() < deadline
        os.close(again)
    finally:
        child.communicate(b"\n")


@pytest.mark.parametrize("stream_id", ["", "../x", "a/b", "a b", "a\n", "ü", "x" * 65, ".", "a\0"])
def test_an_id_that_could_be_a_path_is_refused(root: Path, stream_id: str) -> None:
    with pytest.raises(ValueError, match="stream id"):
        claim(root, stream_id, instance="run-1", kind="hls")
    assert list(root.iterdir()) == []


def test_a_removed_parent_is_made_again(root: Path) -> None:
    root.rmdir()
    held = claim(root, STREAM, instance="run-1", kind="hls")
    assert mode_of(root) == 0o755
    assert held.clear() == ()


def test_a_parent_that_became_a_file_is_said_without_its_path(root: Path) -> None:
    root.rmdir()
    root.write_text("keep")
    with pytest.raises(Unavailable) as caught:
        claim(root, STREAM, instance="run-1", kind="hls")
    assert caught.value.reason == "disk"
    assert str(root) not in caught.value.detail
    assert root.read_text() == "keep"


@pytest.mark.needs("root", "tmpfs")
@pytest.mark.parametrize("limit", ["inodes for the directory", "an inode for the marker", "bytes"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, limit: str) -> None:
    inodes = {"inodes for the directory": 2, "an inode for the marker": 3, "bytes": 50}[limit]
    with tmpfs(tmp_path / "disk", size="64k", nr_inodes=inodes) as disk:
        ballast(disk / "ballast", 64 * 1024 if limit == "bytes" else 0)
        with pytest.raises(Unavailable) as caught:
            claim(disk, STREAM, instance="run-1", kind="hls")
        assert caught.value.reason == "disk"
        assert [path.name for path in disk.iterdir()] == ["ballast"]


@pytest.mark.parametrize("spare", [0, 1])
def test_running_out_of_descriptors_leaves_nothing_behind(root: Path, spare: int) -> None:
    script = [sys.executable, "-c", OUT_OF_DESCRIPTORS, str(root), str(spare)]
    done = subprocess.run(script, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "disk\n"
    assert list(root.iterdir()) == []


def test_two_descriptors_are_enough_for_a_claim(root: Path) -> None:
    script = [sys.executable, "-c", OUT_OF_DESCRIPTORS, str(root), "2"]
    done = subprocess.run(script, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "claimed\n"


@pytest.mark.parametrize("calls", range(9))
def test_killed_at_any_call_of_a_claim_the_leftover_is_found(root: Path, calls: int) -> None:
    script = [sys.executable, "-c", KILLED_WHILE_CLAIMING, str(root), str(calls)]
    assert subprocess.run(script, cwd=PROJECT, check=False).returncode == -signal.SIGKILL
    recover(root, instance="run-2")
    sweep(root, now_wall=time.time() + 10, age=1)
    assert list(root.iterdir()) == []


def test_collector_and_recovery_of_others_never_take_a_claim_that_is_being_made(root: Path) -> None:
    """With an age of zero every empty directory is old: the one just made as well."""
    stop = threading.Event()

    def meddle() -> None:
        while not stop.is_set():
            sweep(root, now_wall=time.time() + 10, age=0)
            recover(root, instance="run-2")

    meddler = threading.Thread(target=meddle)
    meddler.start()
    try:
        for _ in range(200):
            held = claim(root, STREAM, instance="run-1", kind="hls")
            (held.path / "segment_0.ts").write_bytes(b"G")
            assert held.read(MARKER, 4096)
            assert held.clear() == ()
    finally:
        stop.set()
        meddler.join()
    assert list(root.iterdir()) == []
