"""Logging that costs the loop nothing and gives nothing away.

Root logger -> filter (repeats) -> bounded queue -> daemon thread -> file descriptor 1, one line per record.
A blocked pipe costs log lines, which are counted, and never a turn of the loop. Records say whom they concern
with ``extra={"stream": id, "viewer": id, "peer": address}``: an address belongs there, not in the message.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import select
import threading
import time
from collections.abc import Callable
from logging.handlers import QueueHandler
from typing import Final, Literal, Self

from m3u_proxy.logline import Line, json_line, line_of, text_line

QUEUE_RECORDS: Final = 2_000
REPEATS: Final = 10
"""Records of one template that are let through, per second and logger."""
TEMPLATES: Final = 1_000
"""Templates that are counted at a time; records of any further one pass."""
STOP_SECONDS: Final = 1.0
_PLACE: Final = re.compile(r"%[-+ #0-9.]*[a-zA-Z]")
"""Where a template takes a value."""


class Repeats(logging.Filter):
    """Lets at most ``limit`` records of one template through per second; ``summaries`` tells the rest."""

    def __init__(self, limit: int = REPEATS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str, str], tuple[float, int]] = {}
        self._ended: list[tuple[tuple[str, str, str], int]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        key = (record.name, record.levelname, str(record.msg)[:200])
        now = self._clock()
        with self._lock:
            start, seen = self._windows.get(key, (now, 0))
            if now - start >= 1:
                self._ended.append((key, seen - self._limit))
                start, seen = now, 0
            if key in self._windows or len(self._windows) < TEMPLATES:
                self._windows[key] = start, seen + 1
            return seen < self._limit

    def summaries(self, *, final: bool = False) -> list[Line]:
        """Return a line for every template of which records were held back in a second that is over."""
        now = self._clock()
        with self._lock:
            over = [key for key, (start, _) in self._windows.items() if final or now - start >= 1]
            ended = self._ended + [(key, self._windows.pop(key)[1] - self._limit) for key in over]
            self._ended = []
        at = time.time()
        return [
            Line(at, level, name, f"{n} suppressed: {_PLACE.sub('…', text)}")
            for (name, level, text), n in ended
            if n > 0
        ]


class BoundedHandler(QueueHandler):
    """Puts a ``Line`` in the queue, or counts it as ``dropped``. Never waits, never raises, never prints."""

    def __init__(self, lines: queue.Queue[Line | None], anonymize: bool) -> None:
        super().__init__(lines)
        self._anonymize = anonymize
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> Line:
        return line_of(record, anonymize=self._anonymize)

    def enqueue(self, record: Line) -> None:  # type: ignore[override]  # prepare() made a Line of it
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        """Count a record that cannot be formatted; logging would print it, unredacted, to standard error."""
        self.dropped += 1


class Logs:
    """The log of the process while entered, once: ``with Logs("info", "json") as logs: ...``.

    ``level`` is a name in any case, ``fd`` where lines go. ``anonymize`` cuts viewers' addresses to their
    network; credentials are masked always. On exit what is queued is written, within ``STOP_SECONDS``.
    """

    def __init__(
        self, level: str, style: Literal["text", "json"] = "text", *, anonymize: bool = True, fd: int = 1
    ) -> None:
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self._level_before = logging.NOTSET
        self._render = json_line if style == "json" else text_line
        self._fd = fd
        self._lines: queue.Queue[Line | None] = queue.Queue(QUEUE_RECORDS)
        self._handler = BoundedHandler(self._lines, anonymize)
        self._repeats = Repeats()
        self._handler.addFilter(self._repeats)
        self._unwritten = 0
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)

    @property
    def dropped(self) -> int:
        """Records lost so far: the queue was full, or nobody reads the other end."""
        return self._handler.dropped + self._unwritten

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level_before = root.level
        root.setLevel(self._level)
        root.addHandler(self._handler)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level_before)
        end = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=STOP_SECONDS)
            self._thread.join(max(0.0, end - time.monotonic()))
        self._given_up = True

    def _run(self) -> None:
        """Write lines until ``None`` comes; once a second also what was suppressed or dropped."""
        told, due = 0, time.monotonic() + 1
        while not self._given_up:
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=max(0.0, due - time.monotonic()))
                if line is None:
                    break
                self._write(line)
            if time.monotonic() >= due:
                told, due = self._tell(told), time.monotonic() + 1
        self._tell(told, final=True)

    def _tell(self, told: int, *, final: bool = False) -> int:
        for line in self._repeats.summaries(final=final):
            self._write(line)
        if (dropped := self.dropped) > told:
            self._write(Line(time.time(), "WARNING", __name__, f"{dropped - told} log records dropped"))
        return self.dropped

    def _write(self, line: Line) -> None:
        # The descriptor itself: a thread that dies inside sys.stdout would leave its lock held at exit.
        left = memoryview(self._render(line).encode("utf-8", "backslashreplace") + b"\n")
        try:
            while left and not self._given_up:
                try:
                    left = left[os.write(self._fd, left) :]
                except BlockingIOError:
                    select.select((), (self._fd,), ())
        except OSError:
            self._unwritten += 1
