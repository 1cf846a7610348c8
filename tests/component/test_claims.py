"""What the owner of a claimed directory may do with it: read, and clear."""

from __future__ import annotations

import errno
import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from m3u_proxy.storage.directories import MARKER, Claim, claim, open_directory, prepare
from m3u_proxy.storage.recovery import recover
from tests.support.trees import remount, tmpfs

STREAM = "1e504d534b5eac4979fb73c871810a37"


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Claim]:
    prepare(tmp_path / "hls")
    one = claim(tmp_path / "hls", STREAM, instance="run-1", kind="hls")
    yield one
    one.clear()


# reading


def test_own_files_are_read_through_the_directory_and_not_through_its_path(held: Claim) -> None:
    (held.path / "index.m3u8").write_bytes(b"#EXTM3U\n")
    moved = held.path.rename(held.path.with_name("elsewhere"))
    held.path.mkdir()
    try:
        assert held.read("index.m3u8", 8) == b"#EXTM3U\n"
        fd = held.open("index.m3u8")
        assert not os.get_inheritable(fd)
        assert os.read(fd, 100) == b"#EXTM3U\n"
        os.close(fd)
    finally:
        held.path.rmdir()
        moved.rename(held.path)


def test_a_missing_a_long_and_an_empty_file(held: Claim) -> None:
    assert held.read("index.m3u8", 100) is None
    (held.path / "index.m3u8").write_bytes(b"x" * 101)
    assert held.read("index.m3u8", 100) is None
    assert held.read("index.m3u8", 101) == b"x" * 101
    (held.path / "index.m3u8").write_bytes(b"")
    assert held.read("index.m3u8", 100) == b""


@pytest.mark.parametrize("name", ["secret", "../secret", "/etc/hostname", "", ".", "..", "sub/segment_1.ts"])
def test_only_own_names_are_opened(held: Claim, name: str) -> None:
    (held.path / "secret").write_text("secret")
    (held.path.parent / "secret").write_text("secret")
    with pytest.raises(FileNotFoundError):
        held.open(name)
    assert held.read(name, 100) is None
    (held.path / "secret").unlink()


def test_links_pipes_and_directories_are_not_opened(held: Claim, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (held.path / "segment_1.ts").symlink_to(tmp_path / "secret")
    os.mkfifo(held.path / "segment_2.ts")
    (held.path / "segment_3.ts").mkdir()
    seen = {}
    for name in ("segment_1.ts", "segment_2.ts", "segment_3.ts"):
        assert held.read(name, 100) is None
        with pytest.raises(OSError, match=r".") as caught:
            held.open(name)
        seen[name] = caught.value.errno
    assert seen == {"segment_1.ts": errno.ELOOP, "segment_2.ts": errno.EINVAL, "segment_3.ts": errno.EINVAL}


def test_nothing_is_read_after_the_end(held: Claim) -> None:
    assert held.clear() == ()
    assert held.fd == -1
    assert held.read(MARKER, 4096) is None
    with pytest.raises(OSError, match="Bad file descriptor"):
        held.open(MARKER)


# clear


def test_old_dated_segments_are_removed_by_their_numbers_and_nothing_else(held: Claim) -> None:
    names = {f"segment_20260501_235959_{number:03}.ts" for number in (8, 9, 10, 998, 1000)}
    others = {
        "segment_3.ts",
        "index.m3u8",
        "segment_20260501_235959_004.ts.tmp",
        "segment_20260501_2359_005.ts",
    }
    for name in names | others:
        (held.path / name).write_bytes(b"x")
    held.trim("segment_20260502_000003_010.ts")  # whatever its date
    left = {f"segment_20260501_235959_{number:03}.ts" for number in (998, 1000)}
    assert {path.name for path in held.path.iterdir()} == left | others | {MARKER}
    held.trim("segment_3.ts")
    assert {path.name for path in held.path.iterdir()} == left | others | {MARKER}
    (held.path / "segment_20260501_2359_005.ts").unlink()  # no name of ours


def test_clear_removes_own_files_unfinished_ones_too_and_nothing_twice(held: Claim) -> None:
    for name in ("index.m3u8", "index.m3u8.tmp", "segment_1.ts", "segment_2.m4s.tmp", "init.mp4"):
        (held.path / name).write_bytes(b"x")
    assert held.clear() == ()
    assert not held.path.exists()
    held.path.mkdir()
    assert held.clear() == ()
    assert held.path.exists()
    held.path.rmdir()


def test_foreign_files_stay_and_so_does_the_directory(
    held: Claim, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "target").write_text("of somebody")
    (held.path / "segment_1.ts").write_bytes(b"ours")
    (held.path / "segment_2.ts").symlink_to(tmp_path / "target")
    (held.path / "segment_3.ts").mkdir()
    (held.path / "notes\n.txt").write_text("foreign")
    with caplog.at_level(logging.WARNING):
        left = held.clear()
    assert left == ("notes\n.txt", "segment_2.ts", "segment_3.ts")
    assert sorted(path.name for path in held.path.iterdir()) == list(left)
    assert (tmp_path / "target").read_text() == "of somebody"
    assert len(caplog.records) == 1
    assert held.name in caplog.text
    assert "notes\n" not in caplog.text


def test_a_directory_that_somebody_put_in_our_place_stays(held: Claim) -> None:
    moved = held.path.rename(held.path.with_name("moved"))
    held.path.mkdir()
    assert held.clear() == ()
    assert held.path.is_dir()
    assert list(moved.iterdir()) == []


def test_a_directory_that_is_gone_is_no_error(held: Claim) -> None:
    (held.path / MARKER).unlink()
    held.path.rmdir()
    assert held.clear() == ()


@pytest.mark.needs("root", "tmpfs")
def test_on_a_read_only_disk_everything_stays_for_the_next_start(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", size="1m") as disk:
        held = claim(disk, STREAM, instance="run-1", kind="hls")
        (held.path / "segment_1.ts").write_bytes(b"ours")
        remount(disk, "ro")
        assert MARKER in held.clear()
        assert sorted(path.name for path in held.path.iterdir()) == [MARKER, "segment_1.ts"]
        remount(disk, "rw")
        assert recover(disk, instance="run-2").recovered == 1
        assert list(disk.iterdir()) == []


def test_a_marker_that_somebody_made_a_link_is_foreign(held: Claim, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("of somebody")
    (held.path / MARKER).unlink()
    (held.path / MARKER).symlink_to(tmp_path / "target")
    assert held.clear() == (MARKER,)
    assert (held.path / MARKER).is_symlink()
    assert (tmp_path / "target").exists()


def test_a_directory_is_not_opened_through_a_link(held: Claim) -> None:
    link = held.path.with_name("link")
    link.symlink_to(held.path)
    with pytest.raises(NotADirectoryError):
        open_directory(link)


@pytest.mark.parametrize("moment", ["segment_1.ts", MARKER])
def test_a_writer_that_is_just_dying_may_add_a_file(
    held: Claim, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Its last segment appears while we delete; the marker still goes after every file seen before it."""
    unlink = os.unlink
    deleted: list[str] = []

    def unlink_beside_a_writer(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        deleted.append(name)
        if name == moment:
            (held.path / "segment_2.ts").write_bytes(b"G")

    (held.path / "segment_1.ts").write_bytes(b"G")
    monkeypatch.setattr(os, "unlink", unlink_beside_a_writer)
    assert held.clear() == ()
    assert not held.path.exists()
    late = ["segment_2.ts", MARKER] if moment == "segment_1.ts" else [MARKER, "segment_2.ts"]
    assert deleted == ["segment_1.ts", *late]


def test_a_writer_that_does_not_die_keeps_its_directory_for_the_next_start(
    held: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = os.unlink
    count = itertools.count()

    def unlink_beside_a_writer(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        (held.path / f"segment_{next(count)}.ts").write_bytes(b"G")

    (held.path / "index.m3u8").write_bytes(b"#EXTM3U\n")
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", unlink_beside_a_writer)
        assert MARKER in held.clear()
    assert recover(held.path.parent, instance="run-2").recovered == 1
