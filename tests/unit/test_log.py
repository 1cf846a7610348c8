"""One line per record whatever it says, nothing secret in it, and never a wait for whoever reads it."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.log import QUEUE_RECORDS, STOP_SECONDS, BoundedHandler, Logs, Repeats
from m3u_proxy.logline import MESSAGE_CHARS, Line, clean, cut, json_line, network_of, text_line

log = logging.getLogger("test.log")


class Pipe:
    """A pipe of one page: ``read`` closes the writing end and returns the lines."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)

    def read(self) -> list[str]:
        os.close(self.writer)
        self.writer = -1
        with os.fdopen(self.reader, encoding="utf-8", newline="\n") as lines:
            self.reader = -1
            return lines.read().splitlines()

    def close(self) -> None:
        for fd in (self.reader, self.writer):
            if fd >= 0:
                os.close(fd)
        self.reader = self.writer = -1


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def failure(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as error:
        return error


def test_text_says_when_how_bad_who_and_about_whom(pipe: Pipe) -> None:
    with Logs("info", "text", fd=pipe.writer):
        log.info("opened %s", "it", extra={"stream": "1e50", "viewer": "c7"})
    (line,) = pipe.read()
    at, rest = line.split(" ", 1)
    assert rest == "INFO test.log: opened it stream=1e50 viewer=c7"
    assert datetime.fromisoformat(at).utcoffset() == timedelta(0)


def test_json_is_one_object_per_line(pipe: Pipe) -> None:
    """A115."""
    with Logs("info", "json", fd=pipe.writer):
        log.warning("opened\r\n%s", "it", extra={"stream": "1e50", "viewer": "c7"})
        log.error("plain")
    first, second = (json.loads(line) for line in pipe.read())
    at = datetime.fromisoformat(first.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert first == {
        "level": "WARNING",
        "logger": "test.log",
        "message": r"opened\r\nit",
        "stream": "1e50",
        "viewer": "c7",
    }
    assert set(second) == {"at", "level", "logger", "message"}


@pytest.mark.parametrize("style", ["text", "json"])
def test_nothing_secret_in_message_exception_or_context(pipe: Pipe, style: Any) -> None:
    """A108."""
    with Logs("debug", style, fd=pipe.writer):
        error = failure("http://bob:CANARY@provider.example/live/CANARY/CANARY/1.ts?x=CANARY")
        log.error("lost %s", error, exc_info=error, extra={"stream": "/live/CANARY/CANARY/1.ts"})
        log.debug("Authorization: Bearer CANARY")
    lines = pipe.read()
    assert len(lines) == 2
    assert "provider.example" in lines[0]
    assert "ValueError" in lines[0]
    assert "CANARY" not in "".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("abc\u202egpj", r"abc\u202egpj"),
        ("zero\u200bwidth\u2028line\x85next", r"zero\u200bwidth\u2028line\x85next"),
        ("lone\udc80surrogate", r"lone\udc80surrogate"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("Télé 日本 🎬", "Télé 日本 🎬"),
    ],
)
def test_characters_that_forge_lines_are_spelt_out(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text())
def test_every_text_is_one_line_in_both_formats(text: str) -> None:
    line = Line(0.0, "INFO", "a", text, (("viewer", text),))
    assert len(text_line(line).splitlines()) == 1
    assert len(json_line(line).splitlines()) == 1
    assert text_line(line).encode()
    assert json.loads(json_line(line))["at"] == "1970-01-01T00:00:00.000+00:00"


def test_an_exception_stays_on_the_line_of_its_record(pipe: Pipe) -> None:
    with Logs("info", fd=pipe.writer):
        try:
            raise KeyError("k")
        except KeyError:
            log.exception("failed")
        log.error("no exception here", exc_info=True)
    first, second = pipe.read()
    assert r"ERROR test.log: failed | Traceback (most recent call last):\n" in first
    assert r'raise KeyError("k")\nKeyError: ' in first
    assert second.endswith("ERROR test.log: no exception here")


def test_long_messages_are_cut_before_a_half_url() -> None:
    url = "http://bob:" + "secret" * MESSAGE_CHARS
    text = "a " * (MESSAGE_CHARS // 2 - 50) + url + "@provider.example/"
    assert cut("x" * MESSAGE_CHARS) == "x" * MESSAGE_CHARS
    assert "secret" not in cut(text)
    assert len(cut(text)) < MESSAGE_CHARS + 40
    assert cut(url) == f"… ({len(url)} more characters)"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("unknown", None),
    ],
)
def test_an_address_becomes_its_network(address: str, network: str | None) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(("anonymize", "shown"), [(True, "203.0.113.0/24"), (False, "203.0.113.77")])
def test_addresses_of_viewers_are_shown_only_on_request(pipe: Pipe, anonymize: bool, shown: str) -> None:
    with Logs("info", anonymize=anonymize, fd=pipe.writer):
        log.info("joined", extra={"peer": "203.0.113.77"})
        logging.getLogger("aiohttp.server").error("Error handling request from %s", "203.0.113.77")
        log.info("listening on 0.0.0.0:8085")
    joined, fault, listening = pipe.read()
    assert joined.endswith(f"joined peer={shown}")
    assert fault.endswith(f"from {shown}")
    assert listening.endswith("listening on 0.0.0.0:8085")


def test_a_forged_forwarded_address_is_hidden(pipe: Pipe) -> None:
    with Logs("info", fd=pipe.writer):
        log.info("joined", extra={"peer": "bob@home"})
    assert pipe.read()[0].endswith("joined peer=***")


@pytest.mark.parametrize("name", ["WARNING", "warning", "Warn"])
def test_level_in_any_case(pipe: Pipe, name: str) -> None:
    root, before = logging.getLogger(), logging.getLogger().level
    with Logs(name, fd=pipe.writer):
        log.info("quiet")
        log.warning("loud")
    assert [line.partition(": ")[2] for line in pipe.read()] == ["loud"]
    assert root.level == before
    assert not [handler for handler in root.handlers if "Bounded" in type(handler).__name__]


def test_a_record_that_cannot_be_formatted_is_counted(capfd: pytest.CaptureFixture[str]) -> None:
    lines: queue.Queue[Line | None] = queue.Queue()
    handler = BoundedHandler(lines, anonymize=True)
    handler.handle(log.makeRecord(log.name, logging.INFO, "f", 1, "%d CANARY", ("x",), None))
    assert handler.dropped == 1
    assert lines.empty()
    assert capfd.readouterr() == ("", "")


class TestRepeats:
    def setup_method(self) -> None:
        self.now = 100.0
        self.repeats = Repeats(limit=10, clock=lambda: self.now)

    def send(self, count: int, template: str = "viewer %s left", name: str = "pool") -> int:
        records = [logging.LogRecord(name, logging.INFO, "f", 1, template, (n,), None) for n in range(count)]
        return sum(self.repeats.filter(record) for record in records)

    def test_ten_a_second_of_one_template_and_logger(self) -> None:
        assert self.send(15) == 10
        assert self.send(5, template="another") == 5
        assert self.send(12, name="web") == 10
        self.now += 1
        assert self.send(15) == 10

    def test_says_how_many_were_held_once_the_second_is_over(self) -> None:
        self.send(15)
        assert self.repeats.summaries() == []
        self.now += 1
        self.send(3)
        (line,) = self.repeats.summaries()
        assert (line.logger, line.level, line.message) == ("pool", "INFO", "5 suppressed: viewer … left")
        self.now += 1
        assert self.repeats.summaries() == []

    def test_says_it_at_the_end_without_waiting(self) -> None:
        self.send(11)
        assert [line.message for line in self.repeats.summaries(final=True)] == [
            "1 suppressed: viewer … left"
        ]

    def test_does_not_grow_without_bound(self) -> None:
        assert sum(self.send(1, template=f"text {n}") for n in range(5_000)) == 5_000
        self.now += 1
        self.repeats.summaries()
        assert self.send(11, template="text 4999") == 10


def test_repeats_are_told_at_the_end(pipe: Pipe) -> None:
    with Logs("info", fd=pipe.writer):
        for n in range(30):
            log.info("again %d", n)
    *lines, last = pipe.read()
    assert len(lines) == 10
    assert last.endswith("INFO test.log: 20 suppressed: again …")


def test_a_blocked_pipe_costs_lines_and_no_time(pipe: Pipe) -> None:
    templates = [f"line {n} {'x' * 100}" for n in range(2 * QUEUE_RECORDS)]
    start = time.monotonic()
    with Logs("info", fd=pipe.writer) as logs:
        for template in templates:
            log.info(template)
        logged = time.monotonic() - start
        # The pipe holds a page, the thread one line, the queue its bound; the rest is lost.
        assert QUEUE_RECORDS - 60 <= logs.dropped <= QUEUE_RECORDS
        start = time.monotonic()
    assert time.monotonic() - start < STOP_SECONDS + 0.5
    assert logged < 2
    pipe.close()
    for thread in threading.enumerate():
        if thread.name == "log":
            thread.join(5)
            assert not thread.is_alive()


def test_a_reader_that_went_away_is_survived() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Logs("info", fd=writer) as logs:
        log.info("one")
        log.info("two")
    os.close(writer)
    assert logs.dropped >= 2


def test_a_pipe_in_non_blocking_mode_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    with Logs("info", fd=pipe.writer):
        for n in range(100):
            log.info(f"line {n} " + "x" * 100)  # noqa: G003
        got = b""
        while got.count(b"\n") < 100:
            got += os.read(pipe.reader, 65536)
    assert got.decode().splitlines()[99].partition(": ")[2].startswith("line 99 xxx")


def test_a_process_whose_output_is_stuck_still_exits() -> None:
    program = (
        "import logging, m3u_proxy.log\n"
        "with m3u_proxy.log.Logs('info'):\n"
        "    for n in range(3000): logging.getLogger('a').info(f'{n}' + 'x' * 1000)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.wait(timeout=10) == 0
    assert child.stdout
    assert child.stderr
    with child.stdout, child.stderr:
        assert child.stderr.read() == b""
