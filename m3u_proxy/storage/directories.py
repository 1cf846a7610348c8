"""Directories of ours under ``HLS_TEMP_DIR``: their names, their parent, and the claim a writer holds.

Each run of a writer has a fresh directory, locked for as long as the writer lives. The lock is a ``flock`` on
the directory itself: the kernel drops it when the process dies, and children do not inherit it. Only a holder
of that lock may delete here, and only files with our own names; ``recovery`` has the two other kinds of
deletion. Everything in this module blocks: call it off the loop, with ``asyncio.to_thread``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from m3u_proxy.errors import StartError, Unavailable

log = logging.getLogger(__name__)

PREFIX = "m3u_proxy_hls_"
MARKER = ".m3u_proxy"
MODE = 0o755
"""A reverse proxy running as another user reads what we write."""
LASTING_KINDS = frozenset({"recording", "cache"})
"""Kinds of directory whose files outlive a restart."""

CLAIM_TRIES = 8
CLEAR_PASSES = 5
"""Walks over one directory until one finds no file of ours: a writer that is just dying may add another."""
LEFT_NAMED = 20  # foreign files reported for one directory
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_STREAM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OWN_NAME = re.compile(
    r"(?:(?:index|live|live_vtt|master)\.m3u8|init\.mp4|\.m3u_proxy"
    r"|segment_[0-9]{1,20}\.(?:ts|m4s|aac|vtt)|segment_[0-9]{8}_[0-9]{6}_[0-9]{3,10}\.ts)(?:\.tmp)?"
)
_DATED_NAME = re.compile(r"segment_[0-9]{8}_[0-9]{6}_([0-9]{3,10})\.ts")


def is_own_name(name: str) -> bool:
    """Whether a file of this name inside a directory of ours can only be ours (and may go with it)."""
    return _OWN_NAME.fullmatch(name) is not None


def dated_number(name: str) -> int | None:
    """The number of a segment that is called by its date; ``None`` for any other name."""
    found = _DATED_NAME.fullmatch(name)
    return int(found[1]) if found else None


def prepare(root: Path) -> None:
    """Make ``root`` (``HLS_TEMP_DIR``) usable, or raise `StartError` naming it; there is no other place.

    Missing directories are created 0755, existing ones keep their mode; one claim proves that all works.
    A full disk is no reason to stay down: recovery may free it, and the disk guard refuses writers meanwhile.
    """
    root = root.absolute()
    try:
        _check_place(root)
        _create(root)
        _probe(root)
    except OSError as error:
        whose = _whose(root) if error.errno in {errno.EACCES, errno.EPERM} else ""
        raise StartError(
            f"{root} cannot be used as a directory for streams: {error.strerror}{whose}"
        ) from error


def _whose(root: Path) -> str:
    """Who could be allowed in, for a person: a volume often belongs to somebody else."""
    try:
        found = next(path for path in (root, *root.parents) if path.exists())
        return f"; {found} belongs to user {found.stat().st_uid}, this is user {os.geteuid()}"
    except OSError:
        return ""


def _check_place(root: Path) -> None:
    if root.exists() and root.samefile("/"):
        raise StartError(f"{root} is the root of the file system and cannot be a directory for streams")
    if root.is_symlink() and root.lstat().st_uid not in {0, os.geteuid()}:
        raise StartError(f"{root} is a symbolic link that belongs to another user")


def _create(root: Path) -> None:
    """Make ``root`` and its missing parents, readable for everybody whatever the umask."""
    missing = [path for path in (root, *root.parents) if not os.path.lexists(path)]
    for path in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(path, MODE)
            fd = open_directory(path)
            try:
                os.fchmod(fd, MODE)
            finally:
                os.close(fd)
    if not root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root))


def _probe(root: Path) -> None:
    """Claim a directory and clear it; killed half-way, it is a leftover like any other."""
    try:
        left = _attempt(root / _fresh_name("probe"), instance="", kind="probe").clear()
    except OSError as error:
        if error.errno not in FULL:
            raise
    else:
        if left:
            raise OSError(errno.EPERM, "what is written there cannot be removed")


def claim(root: Path, stream_id: str, *, instance: str, kind: str) -> Claim:
    """Make and lock a fresh directory for one run of a writer.

    The order is mkdir, open, lock, marker: whoever sees a marker without a lock knows that its owner is dead.
    ``root`` is made again if somebody removed it. Raises `Unavailable` (reason ``disk``) and leaves nothing
    behind when the disk is full, read-only or gone; `ValueError` for an id that cannot be part of a name.
    """
    if not _STREAM_ID.fullmatch(stream_id):
        raise ValueError("the stream id cannot be part of a directory name")
    root = root.absolute()
    cause: OSError | None = None
    for _ in range(CLAIM_TRIES):
        try:
            return _attempt(root / _fresh_name(stream_id), instance=instance, kind=kind)
        except OSError as error:
            cause = error
            if not isinstance(error, BlockingIOError | FileExistsError | FileNotFoundError):
                break  # otherwise a collector or a person was at the same place: another name is free
    log.warning("no directory can be claimed under %s: %s", root, cause)
    raise Unavailable("No directory for this stream", reason="disk", retry_after=5.0) from cause


def _attempt(path: Path, *, instance: str, kind: str) -> Claim:
    try:
        os.mkdir(path, MODE)
    except FileNotFoundError:
        _create(path.parent)
        raise
    fd = -1
    try:
        fd = open_directory(path)
        if not try_lock(fd):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        os.fchmod(fd, MODE)
        _write_marker(fd, _marker(instance, kind), lasting=kind in LASTING_KINDS)
    except BaseException:
        _undo(path, fd)
        raise
    return Claim(path, fd)


def _undo(path: Path, fd: int) -> None:
    """Take back a claim that failed; what cannot be removed is empty or marked, so it is found later."""
    if fd >= 0:
        with suppress(OSError):
            os.unlink(MARKER, dir_fd=fd)
        os.close(fd)
    with suppress(OSError):
        os.rmdir(path)


def _write_marker(fd: int, marker: bytes, *, lasting: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(MARKER, flags, 0o644, dir_fd=fd)
    try:
        if os.write(file, marker) != len(marker):
            raise OSError(errno.ENOSPC, "the marker was cut off")
        if lasting:
            os.fsync(file)  # after a power failure an empty marker would no longer protect the files
    finally:
        os.close(file)


def _marker(instance: str, kind: str) -> bytes:
    """Who made a directory. ``start_time`` counts clock ticks since boot (proc(5), stat field 22)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    owner = {
        "instance": instance,
        "kind": kind,
        "pid": os.getpid(),
        "start_time": int(fields[19]),
        "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
    }
    return json.dumps(owner).encode() + b"\n"


def _fresh_name(stream_id: str) -> str:
    return f"{PREFIX}{stream_id}_{secrets.token_hex(8)}"


class Claim:
    """A locked directory, from `claim` until `clear`; start-up recovery holds a dead owner's the same way.

    ``path`` is absolute, ``name`` its last part, ``fd`` the open directory that carries the lock. The other
    methods are not called while `clear` runs; after it they find nothing.
    """

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self.name = path.name
        self.fd = fd

    def __repr__(self) -> str:
        return f"<Claim {self.name}{'' if self.fd >= 0 else ' released'}>"

    def open(self, name: str) -> int:
        """Open one of our own regular files for reading; the caller closes the descriptor.

        Raises `OSError`: `FileNotFoundError` for a name that is not ours, whatever is there.
        """
        if not is_own_name(name):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=self.fd)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "not a regular file")
        return file

    def read(self, name: str, limit: int) -> bytes | None:
        """The whole file of at most ``limit`` bytes, or ``None`` when it is missing, longer or unreadable."""
        try:
            with open(self.open(name), "rb", buffering=0) as file:
                data = file.read(limit + 1)
        except OSError:
            return None
        return data if len(data) <= limit else None

    def trim(self, through: str) -> None:
        """Remove dated segments up to the one of that name, by their numbers. Raises nothing of files."""
        last = dated_number(through)
        try:
            for name in os.listdir(self.fd):
                number = dated_number(name)
                if number is not None and last is not None and number <= last:
                    os.unlink(name, dir_fd=self.fd)
        except OSError as error:
            log.warning("old segments in %r cannot be removed: %s", self.name, error.strerror)

    def clear(self) -> tuple[str, ...]:
        """Remove our own files, the marker last, then the directory, then let go of the lock. Idempotent.

        Returns (some of) the names that stay. Foreign files stay, and so does their directory, without its
        marker. Where a file of ours cannot be removed the marker stays as well and is among the names: the
        next start-up recovery goes on from there.
        """
        if self.fd < 0:
            return ()
        try:
            left = self._clear()
        except OSError as error:
            left = (MARKER,)
            log.warning("directory %r cannot be cleared: %s", self.name, error.strerror)
        finally:
            self.release()
        if left and MARKER not in left:
            log.warning("directory %r stays, it holds foreign files: %r", self.name, left)
        return left

    def release(self) -> None:
        """Let go of the lock and leave the files alone. Idempotent."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _clear(self) -> tuple[str, ...]:
        for _ in range(CLEAR_PASSES):
            removed, left = self._unlink_own()
            if removed:
                continue
            with suppress(FileNotFoundError):
                if stat.S_ISREG(os.stat(MARKER, dir_fd=self.fd, follow_symlinks=False).st_mode):
                    os.unlink(MARKER, dir_fd=self.fd)
            if left or remove_directory(self.path, self.fd):
                return left
        return tuple(os.listdir(self.fd)[:LEFT_NAMED])

    def _unlink_own(self) -> tuple[int, tuple[str, ...]]:
        """Unlink all of our own regular files but the marker: how many, and (some of) the foreign names."""
        removed = 0
        left: list[str] = []
        with os.scandir(self.fd) as entries:
            for entry in entries:
                if not (is_own_name(entry.name) and entry.is_file(follow_symlinks=False)):
                    left.append(entry.name)
                    del left[LEFT_NAMED:]
                elif entry.name != MARKER:
                    removed += 1
                    with suppress(FileNotFoundError):
                        os.unlink(entry.name, dir_fd=self.fd)
        return removed, tuple(sorted(left))


def open_directory(path: Path) -> int:
    """Open a directory that is not a symbolic link; children do not inherit the descriptor."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def try_lock(fd: int) -> bool:
    """Lock an open directory, unless it is locked through another descriptor, also one of this process."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_directory(path: Path, fd: int) -> bool:
    """Remove ``path`` if it is empty and still the directory that is open as ``fd``.

    False: it is not empty. True: it is gone, or was replaced by something that is none of our business.
    """
    try:
        if os.path.samestat(os.lstat(path), os.fstat(fd)):
            os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise
        return False
    return True
