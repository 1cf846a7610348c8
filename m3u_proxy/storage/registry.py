"""What outlives the process: rows of JSON under a table and a key, in SQLite.

Reading happens once, before anything runs. Writes are noted in the loop and carried out by one thread, at
once; what comes while it is at work is its next transaction, in which each row is written once. A registry
that cannot be kept is none: everything goes on, and only a restart shows the difference.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from threading import Condition, Thread
from typing import Any, TypeVar

from m3u_proxy.storage.database import NotLasting, open_database

log = logging.getLogger(__name__)

NAME = "registry.sqlite3"
RETRY = 5.0
"""Seconds until a failed transaction is tried again."""
PENDING = 50_000
"""Rows of a table that may wait to be written; more only gather when the disk takes none."""
PENDING_BULK = 500_000
"""The same for rows that are not made before they are written."""
CLOSE_PATIENCE = 1.0
"""Seconds for the last transaction at the end."""

Row = Mapping[str, object]
T = TypeVar("T")


class Table(StrEnum):
    """Kinds of rows."""

    STREAMS = "streams"
    """Definitions, by stream id."""
    RUNS = "runs"
    """Runs of streams whose end nobody was told yet, by the id of the event that told their start."""
    WEBHOOKS = "webhooks"
    """Who wants to be told of events, by URL."""
    CHANNELS = "channels"
    """The lineup, by key of the channel; under the empty key what is said of it as a whole."""


_Pending = dict[Table, dict[str, object]]
"""By table and key, the row that is to stand there or what it is made of; ``None`` is to be deleted."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A row as it is written."""

    row: Row


class Registry:
    """Rows at the start, and a thread that keeps them up to date; ``close`` must follow."""

    def __init__(self, connection: sqlite3.Connection | None) -> None:
        """``connection`` belongs to the registry from now on; with ``None`` nothing lasts."""
        self._connection = connection
        self._rows: dict[Table, list[tuple[str, Row]]] = {table: [] for table in Table}
        self._pending: _Pending = {}
        self._row_of: dict[Table, Callable[[Any], Row | None]] = {}
        """What makes the rows of a table that are noted as something else."""
        self._changed = Condition()
        self._closing = self._failing = False
        self._thread: Thread | None = None
        if connection is not None:
            self._load(connection)
            self._thread = Thread(target=self._run, args=(connection,), name="registry", daemon=True)
            self._thread.start()

    @classmethod
    def open(cls, directory: Path) -> Registry:
        """The registry in ``directory`` (``STATE_DIR``), or one that does not last. Blocks, never raises."""
        path = directory.absolute() / NAME
        try:
            return cls(open_database(path))
        except NotLasting as why:
            log.warning("registry %s %s: streams and webhooks will not outlive this process", path, why)
            return cls(None)

    @property
    def lasts(self) -> bool:
        """Whether a restart finds what is written."""
        return self._connection is not None

    def rows(self, table: Table) -> list[tuple[str, Row]]:
        """Keys and rows as they were at the start, oldest first."""
        return self._rows[table]

    def take_rows(self, table: Table) -> list[tuple[str, Row]]:
        """The same for a table that is large: the registry forgets them."""
        rows, self._rows[table] = self._rows[table], []
        return rows

    def put(self, table: Table, key: str, row: Row) -> None:
        """Write a row, soon. ``row`` is JSON and is not changed any more."""
        self._note(table, key, row)

    def delete(self, table: Table, key: str) -> None:
        """Delete a row, soon; one that does not exist is none."""
        self._note(table, key, None)

    def put_all(self, table: Table, rows: Mapping[str, T], row_of: Callable[[T], Row | None]) -> None:
        """Write and delete many rows, soon and in one transaction; what they hold is not changed any more.

        The thread makes each row by ``row_of``, the same for every call about a table, when it writes it;
        ``None``, in ``rows`` or from it, is to be deleted.
        """
        if self._connection is None:
            return
        with self._changed:
            pending = self._pending.setdefault(table, {})
            if len(pending) < PENDING_BULK:
                self._row_of[table] = row_of
                pending.update(rows)
                self._changed.notify()

    def close(self, patience: float = CLOSE_PATIENCE) -> None:
        """Write what is pending and close the file. Blocks for at most ``patience`` seconds; idempotent."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(patience)
            if self._thread.is_alive():
                log.warning("the registry takes too long to write; its last changes may be lost")

    def _note(self, table: Table, key: str, row: Row | None) -> None:
        if self._connection is None:
            return
        with self._changed:
            pending = self._pending.setdefault(table, {})
            if len(pending) < PENDING or key in pending:
                pending[key] = _Made(row) if row is not None else None
                self._changed.notify()

    def _load(self, connection: sqlite3.Connection) -> None:
        unreadable = 0
        for table in Table:
            query = f"SELECT key, body FROM {table} ORDER BY rowid"  # noqa: S608  # our own names
            for key, body in connection.execute(query):
                try:
                    row = json.loads(body)
                    if not isinstance(row, dict):
                        raise TypeError
                    self._rows[table].append((key.decode(), row))
                except (ValueError, TypeError, AttributeError, RecursionError):
                    unreadable += 1
        if unreadable:
            log.warning("%d entries of the registry cannot be read and are left out", unreadable)

    def _run(self, connection: sqlite3.Connection) -> None:
        """The thread: gather, write, until there is nothing left and the end has come."""
        try:
            while pending := self._gather():
                self._write(connection, pending)
        finally:
            connection.close()

    def _gather(self) -> _Pending:
        """What is to be written next; nothing only at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing)
            if self._failing:
                self._changed.wait_for(lambda: self._closing, RETRY)
            pending, self._pending = self._pending, {}
            return pending

    def _write(self, connection: sqlite3.Connection, pending: _Pending) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                for table, noted in pending.items():
                    for key, one in noted.items():
                        self._write_row(connection, table, key, one)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            if not self._failing:
                log.warning("the registry cannot be written, and is tried again: %s", error)
            self._failing = True
            with self._changed:
                if not self._closing:
                    self._put_back(pending)
            return
        if self._failing:
            log.info("the registry is written again")
        self._failing = False

    def _write_row(self, connection: sqlite3.Connection, table: Table, key: str, noted: Any) -> None:
        try:
            if isinstance(noted, _Made):
                noted = noted.row
            elif noted is not None:
                noted = self._row_of[table](noted)
            _apply(connection, table, key, noted)
        except (TypeError, ValueError):  # a defect, which must not cost every other row as well
            log.exception("an entry of %s cannot be written and is left out", table)

    def _put_back(self, pending: _Pending) -> None:
        """It is written with what came meanwhile, which is newer."""
        for table, noted in pending.items():
            self._pending[table] = noted | self._pending.get(table, {})


def _apply(connection: sqlite3.Connection, table: Table, key: str, row: Row | None) -> None:
    if row is None:
        connection.execute(f"DELETE FROM {table} WHERE key = ?", (key,))  # noqa: S608  # our own names
        return
    connection.execute(
        f"INSERT INTO {table} (key, body) VALUES (?, ?)"  # noqa: S608
        " ON CONFLICT (key) DO UPDATE SET body = excluded.body",
        (key, json.dumps(row)),
    )
