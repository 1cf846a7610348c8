"""The registry: what was written is there after a restart, whatever happened to the file meanwhile."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import stat
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from m3u_proxy.storage import registry as module
from m3u_proxy.storage.database import APPLICATION, MIGRATIONS
from m3u_proxy.storage.registry import NAME, Registry, Table

SECRET = "http://provider.example/live/u/p/101.ts"


def opened(path: Path) -> closing[Registry]:
    return closing(Registry.open(path))


def filled(home: Path, rows: int = 3) -> Path:
    """The file of a registry that holds some streams and a webhook, closed."""
    with opened(home) as registry:
        for number in range(rows):
            registry.put(Table.STREAMS, f"s{number}", {"url": SECRET, "text": "x" * 300})
        registry.put(Table.WEBHOOKS, "http://editor.example/", {"events": ["stream_stopped"]})
    return home / NAME


def test_what_was_written_is_there_again_in_its_order(tmp_path: Path) -> None:
    with opened(tmp_path) as registry:
        assert registry.lasts
        for key in ("c", "a", "b"):
            registry.put(Table.STREAMS, key, {"url": "first"})
        registry.put(Table.STREAMS, "c", {"url": "second"})
        registry.put(Table.WEBHOOKS, "a", {"events": []})
        registry.delete(Table.STREAMS, "a")
        registry.delete(Table.STREAMS, "never there")
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == [("c", {"url": "second"}), ("b", {"url": "first"})]
        assert registry.rows(Table.WEBHOOKS) == [("a", {"events": []})]
        assert registry.rows(Table.RUNS) == []


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with opened(tmp_path / "made" / "state") as registry:
            registry.put(Table.RUNS, "a", {})
            kept = list((tmp_path / "made" / "state").iterdir())
            assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
            assert stat.S_IMODE((tmp_path / "made" / "state").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_a_file_that_everybody_may_read_is_narrowed(tmp_path: Path) -> None:
    path = filled(tmp_path)
    path.chmod(0o644)
    with opened(tmp_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_deleted_cannot_be_read_in_the_file(tmp_path: Path) -> None:
    path = filled(tmp_path)
    assert SECRET.encode() in path.read_bytes()
    with opened(tmp_path) as registry:
        for number in range(3):
            registry.delete(Table.STREAMS, f"s{number}")
    assert SECRET.encode() not in path.read_bytes()


def _foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE streams (key TEXT, body TEXT)")


def _newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")


def _without_a_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE webhooks")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "somebody's").write_text("file")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_bytes(b"not a database\n" * 100), "cannot be read"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), ""),
        (_foreign, "is no registry of this program"),
        (_newer, "written by a newer program"),
        (_without_a_table, "cannot be read"),
        (_directory, "is no file"),
    ],
    ids=["empty", "text", "cut", "foreign", "newer", "table", "directory"],
)
def test_what_is_no_registry_is_set_aside_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], object], says: str
) -> None:
    """F74."""
    path = filled(tmp_path)
    damage(path)
    with opened(tmp_path) as registry:
        assert registry.lasts
        assert registry.rows(Table.STREAMS) == registry.rows(Table.WEBHOOKS) == []
        registry.put(Table.STREAMS, "new", {"url": "x"})
    (warning,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert says in warning.getMessage()
    assert "registry.sqlite3.bad" in warning.getMessage()
    assert (tmp_path / (NAME + ".bad")).exists()
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == [("new", {"url": "x"})]


def test_what_a_newer_program_wrote_is_kept_as_it_was(tmp_path: Path) -> None:
    path = filled(tmp_path)
    _newer(path)
    before = path.read_bytes()
    with opened(tmp_path):
        assert (tmp_path / (NAME + ".bad")).read_bytes() == before


@pytest.mark.parametrize("seed", range(20))
def test_a_mutated_file_never_keeps_the_daemon_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    rng = random.Random(seed)
    path = filled(tmp_path, rows=60)
    body = bytearray(path.read_bytes())
    kind = seed % 4
    if kind == 0:  # the header, which SQLite believes
        body[rng.randrange(100)] ^= 1 << rng.randrange(8)
    elif kind == 1:
        for _ in range(200):
            body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        del body[rng.randrange(len(body)) :]
    else:
        start = rng.randrange(len(body))
        body[start : start + 4096] = rng.randbytes(4096)
    path.write_bytes(body)

    with opened(tmp_path) as registry:
        assert registry.lasts
        registry.put(Table.STREAMS, "new", {"url": "x"})
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) <= 1
    with opened(tmp_path) as registry:
        assert ("new", {"url": "x"}) in registry.rows(Table.STREAMS)


def test_an_entry_that_is_no_json_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as other:
        for key, body in (("s0", "[1]"), ("s1", "{"), ("s2", b"\xff\xfe")):
            other.execute("UPDATE streams SET body = ? WHERE key = ?", (body, key))
        other.commit()
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == []
        assert len(registry.rows(Table.WEBHOOKS)) == 1
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == [
        "3 entries of the registry cannot be read and are left out"
    ]


def test_a_directory_that_cannot_be_made_costs_only_what_would_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    with opened(tmp_path / "file" / "state") as registry:
        assert not registry.lasts
        registry.put(Table.STREAMS, "a", {})
        assert registry.rows(Table.STREAMS) == []
    (warning,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert "will not outlive this process" in warning.getMessage()


def test_two_processes_never_write_one_registry(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m3u_proxy.storage.database.LOCK_PATIENCE", 0.05)
    path = filled(tmp_path)
    with opened(tmp_path) as first:
        with opened(tmp_path) as second:
            assert not second.lasts
        assert "in use by another process" in caplog.text
        first.put(Table.STREAMS, "later", {})
    assert not path.with_name(NAME + ".bad").exists()
    with opened(tmp_path) as registry:
        assert ("later", {}) in registry.rows(Table.STREAMS)


def test_a_file_without_our_mark_is_foreign_even_with_our_tables(tmp_path: Path) -> None:
    path = filled(tmp_path)
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION,)
        other.execute("PRAGMA application_id=0")
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == []


def test_a_thousand_writes_to_a_row_are_few_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    real = Registry._write

    def write(self: Registry, connection: sqlite3.Connection, batch: dict[tuple[Table, str], object]) -> None:
        assert threading.current_thread().name == "registry"
        written.append(len(batch))
        real(self, connection, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Registry, "_write", write)
    with opened(tmp_path) as registry:
        for number in range(1000):
            registry.put(Table.STREAMS, "a", {"n": number})
    assert written[-1] == 1
    assert len(written) < 20
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == [("a", {"n": 999})]


def test_a_disk_that_takes_nothing_for_a_while_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("m3u_proxy.storage.registry.RETRY", 0.01)
    failures = iter([True, True, True])
    failed = threading.Event()
    real = module._apply

    def apply(connection: sqlite3.Connection, table: Table, key: str, row: object) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("database or disk is full")
        real(connection, table, key, row)  # type: ignore[arg-type]
        failed.set()

    monkeypatch.setattr(module, "_apply", apply)
    with opened(tmp_path) as registry:
        registry.put(Table.STREAMS, "a", {"n": 1})
        assert failed.wait(5)
    assert caplog.text.count("cannot be written") == 1
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == [("a", {"n": 1})]


def test_a_table_written_at_once_keeps_its_place_among_single_rows(tmp_path: Path) -> None:
    with opened(tmp_path) as registry:
        registry.put(Table.CHANNELS, "a", {"n": 1})
        registry.put(Table.CHANNELS, "gone", {"n": 1})
        registry.put_all(Table.CHANNELS, {"a": 2, "b": 2, "gone": None}, lambda n: {"n": n} if n else None)
        registry.put(Table.CHANNELS, "b", {"n": 3})
        registry.put_all(Table.CHANNELS, {"c": 4}, lambda n: {"n": n})
    with opened(tmp_path) as registry:
        assert registry.take_rows(Table.CHANNELS) == [("a", {"n": 2}), ("b", {"n": 3}), ("c", {"n": 4})]
        assert registry.take_rows(Table.CHANNELS) == []


def test_a_table_is_written_in_order_when_the_disk_lets_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("m3u_proxy.storage.registry.RETRY", 0.01)
    failures = iter([True, True, True])
    written = threading.Event()
    real = module._apply

    def apply(connection: sqlite3.Connection, table: Table, key: str, row: object) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("database or disk is full")
        real(connection, table, key, row)  # type: ignore[arg-type]
        if row == {"n": 3}:
            written.set()

    monkeypatch.setattr(module, "_apply", apply)
    with opened(tmp_path) as registry:
        registry.put(Table.CHANNELS, "a", {"n": 1})
        registry.put_all(Table.CHANNELS, {"a": 2, "b": 2}, lambda n: {"n": n})
        registry.put(Table.CHANNELS, "b", {"n": 3})
        assert written.wait(5)
    with opened(tmp_path) as registry:
        assert registry.rows(Table.CHANNELS) == [("a", {"n": 2}), ("b", {"n": 3})]


def test_many_changes_while_the_disk_is_slow_are_all_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, go_on = threading.Event(), threading.Event()
    real = module._apply

    def apply(connection: sqlite3.Connection, table: Table, key: str, row: object) -> None:
        writing.set()
        assert go_on.wait(5)
        real(connection, table, key, row)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_apply", apply)

    def row_of(number: int | None) -> dict[str, object]:
        return {"n": number}

    with opened(tmp_path) as registry:
        registry.put_all(Table.CHANNELS, {"large": 0}, row_of)
        assert writing.wait(5)
        for number in range(30):
            registry.put_all(Table.CHANNELS, {f"c{number % 20}": number}, row_of)
            registry.put(Table.STREAMS, "s", {"n": number})
        registry.put_all(Table.CHANNELS, {"c0": None, "c19": None}, row_of)
        go_on.set()
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == [("s", {"n": 29})]
        found = dict(registry.rows(Table.CHANNELS))
        newest = {f"c{number % 20}": {"n": number} for number in range(30) if number % 20 not in (0, 19)}
        assert found == newest | {"large": {"n": 0}}


def test_a_row_that_cannot_be_written_costs_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as registry:
        registry.put(Table.STREAMS, "bad", {"is": object()})
        registry.put(Table.STREAMS, "no \udc80 text", {})
        registry.put(Table.STREAMS, "good", {"n": 1})
    assert caplog.text.count("an entry of streams cannot be written") == 2
    with opened(tmp_path) as registry:
        assert registry.rows(Table.STREAMS) == [("good", {"n": 1})]
