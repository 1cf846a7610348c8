"""Trees of files that must not change, and small filesystems that can be filled or turned read-only."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OLD = 1_000_000_000.0
"""Unix time of everything planted: September 2001."""
FUTURE = 10_000_000_000.0

Node = tuple[int, int, str | bytes | None]


def snapshot(*roots: Path) -> dict[str, Node]:
    """Everything below ``roots`` by path: mode with type, mtime in ns, and content or target of a link."""
    found: dict[str, Node] = {}
    for root in roots:
        for path in root.rglob("*"):
            status = path.lstat()
            content: str | bytes | None = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def age(root: Path, when: float = OLD) -> None:
    """Set the times of everything below ``root``, and of itself; links are not followed."""
    for path in [*root.rglob("*"), root]:
        os.utime(path, (when, when), follow_symlinks=False)


def plant_canaries(inside: Path, beside: Path, prefix: str) -> None:
    """Old things that look removable and are not ours: some in ``inside``, some where its links lead."""
    (beside / "empty").mkdir(parents=True)
    (beside / f"{prefix}empty").mkdir()
    full = beside / f"{prefix}full"
    full.mkdir()
    for name in ("index.m3u8", "segment_1.ts", ".m3u_proxy"):
        (full / name).write_text("{}")

    (inside / "empty").mkdir(parents=True)
    (inside / "broadcast_7").mkdir()
    (inside / "broadcast_7" / "live.m3u8").write_text("#EXTM3U\n")
    (inside / "nested" / f"{prefix}empty").mkdir(parents=True)
    (inside / "index.m3u8").write_text("#EXTM3U\n")
    (inside / "segment_1.ts").write_bytes(b"G" * 188)
    (inside / ".m3u_proxy").write_text("{}")
    (inside / prefix.upper()).mkdir()
    (inside / prefix.rstrip("_")).mkdir()
    (inside / f"{prefix}file").write_text("not a directory")
    (inside / f"{prefix}link_to_empty").symlink_to(beside / f"{prefix}empty")
    (inside / f"{prefix}link_to_full").symlink_to(full)
    (inside / f"{prefix}dangling").symlink_to(beside / "nowhere")
    os.mkfifo(inside / f"{prefix}fifo")
    other = inside / f"{prefix}x8k_2p1q"
    other.mkdir()
    for name in ("index.m3u8", "segment_000.ts", "stream.m3u8"):
        (other / name).write_text("of another program")
    forged = inside / f"{prefix}forged"
    forged.mkdir()
    (forged / ".m3u_proxy").write_text("[" * 4000)
    (forged / "segment_1.ts").write_text("forged")
    alias = inside / f"{prefix}alias"
    alias.mkdir()
    (alias / ".m3u_proxy").symlink_to(full / ".m3u_proxy")
    (alias / "segment_1.ts").write_text("marker is a link")
    age(inside)
    age(beside)
    tomorrow = inside / f"{prefix}tomorrow"
    tomorrow.mkdir()
    os.utime(tomorrow, (FUTURE, FUTURE))


@contextmanager
def tmpfs(path: Path, **options: object) -> Iterator[Path]:
    """A fresh tmpfs on ``path`` (``size=``, ``nr_inodes=``), gone at the end. Needs root."""
    path.mkdir()
    given = ",".join(f"{key}={value}" for key, value in options.items())
    subprocess.run(["mount", "-t", "tmpfs", "-o", given, "tmpfs", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    """Change a live mount: ``ro``, ``rw``, ``size=…``."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


def ballast(path: Path, size: int) -> Path:
    """Occupy ``size`` bytes of the filesystem without writing them."""
    with path.open("wb") as file:
        if size:
            os.posix_fallocate(file.fileno(), 0, size)
    return path
