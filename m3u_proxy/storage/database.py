"""The file of the registry: opened, judged and brought up to date; what is no registry is set aside.

Everything here blocks: call it off the loop. One process at a time uses a file: SQLite's lock on it is kept
for as long as the connection is open, and the kernel drops it when the process dies.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

FILE_MODE = 0o600
DIRECTORY_MODE = 0o700
"""The addresses and headers in it hold the credentials of providers."""
APPLICATION = 0x6D337570
"""``PRAGMA application_id``: nobody else's SQLite file is taken for ours."""
MIGRATIONS = (
    """
    CREATE TABLE streams (key TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE runs (key TEXT PRIMARY KEY, body TEXT NOT NULL);
    CREATE TABLE webhooks (key TEXT PRIMARY KEY, body TEXT NOT NULL);
    """,
    "CREATE TABLE channels (key TEXT PRIMARY KEY, body TEXT NOT NULL);",
)
"""Step n leads from version n to version n + 1; a step that was released is never changed."""
TABLES = ("streams", "runs", "webhooks", "channels")
LOCK_PATIENCE = 2.0
"""Seconds in which a predecessor that is just ending lets go of the file."""

_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_NOMEM,
    }
)
"""Failures that say nothing about what the file holds."""


class NotLasting(Exception):
    """There is no lasting registry at this place now; the text says why."""


class _Unsound(Exception):
    """The file cannot be read as a registry of this version; the text says why."""


def open_database(path: Path) -> sqlite3.Connection:
    """The registry at ``path``, sound and of our version; made if missing. Raises ``NotLasting``.

    What is corrupt, cut, empty, foreign or of a newer version is renamed to ``.bad``, with one warning.
    """
    try:
        _make_parent(path.parent)
        try:
            return _open(path)
        except _Unsound as why:
            set_aside(path)
            log.warning("registry %s %s; it is kept as %s and a new one is begun", path, why, _bad(path).name)
        return _open(path)
    except _Unsound as why:
        raise NotLasting(str(why)) from None
    except OSError as error:
        raise NotLasting(f"cannot be used: {error.strerror}") from error


def set_aside(path: Path) -> None:
    """Rename the file and its write-ahead log to ``.bad``, over what was set aside before."""
    bad = _bad(path)
    if bad.is_dir() and not bad.is_symlink():  # a directory cannot be replaced by a file
        os.rename(bad, bad.with_name(f"{bad.name}.{os.getpid()}"))
    os.replace(path, bad)
    for suffix in ("-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", f"{bad}{suffix}")


def _bad(path: Path) -> Path:
    return path.with_name(path.name + ".bad")


def _make_parent(directory: Path) -> None:
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            os.mkdir(one, DIRECTORY_MODE)


def _open(path: Path) -> sqlite3.Connection:
    is_new = _prepare_file(path)
    connection = None
    try:
        connection = sqlite3.connect(
            path, timeout=LOCK_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=16
        )
        connection.text_factory = bytes  # a flipped bit need not leave UTF-8
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA secure_delete=ON")
        if not is_new:
            _judge(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        _migrate(connection)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.Error):
            raise _meaning(error) from error
        raise
    return connection


def _prepare_file(path: Path) -> bool:
    """Whether the file was made now; nobody but the owner may read it, whatever the umask."""
    with suppress(FileExistsError):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        os.close(fd)
        for suffix in ("-wal", "-shm", "-journal"):  # of a file that somebody has removed
            with suppress(FileNotFoundError):
                os.unlink(f"{path}{suffix}")
        return True
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise _Unsound("is no file")
    if status.st_size == 0:
        raise _Unsound("is empty")
    if status.st_mode & 0o077:
        os.chmod(path, FILE_MODE)
    return False


def _judge(connection: sqlite3.Connection) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION:
        raise _Unsound("is no registry of this program")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(MIGRATIONS):
        raise _Unsound(f"was written by a newer program (version {version} of its tables)")
    if connection.execute("PRAGMA integrity_check(1)").fetchone() != (b"ok",):
        raise _Unsound("is damaged")


def _migrate(connection: sqlite3.Connection) -> None:
    """Bring it to our version in one step for each version, then try that it can be read and written."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for number, step in enumerate(MIGRATIONS[version:], version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE; {step}; PRAGMA application_id={APPLICATION};"
            f" PRAGMA user_version={number}; COMMIT"
        )
    for table in TABLES:
        connection.execute(f"SELECT key, body FROM {table} LIMIT 1").fetchall()  # noqa: S608  # our own names
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("COMMIT")


def _meaning(error: sqlite3.Error) -> Exception:
    """Whether what SQLite says is about the file or about the moment."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return NotLasting("is in use by another process")
    if code in _PASSING:
        return NotLasting(f"cannot be used: {error}")
    return _Unsound(f"cannot be read ({error})")
