"""One FFmpeg and its input: spawned, fed, listened to, ended.

Shared by the HLS writer and the pipe source. A run never restarts anything; it tells its owner why it ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import re
import signal
import sys
import termios
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Protocol

from m3u_proxy.errors import Closed, ProxyError, Unavailable
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.process.child import Child, Exit
from m3u_proxy.ffmpeg.process.confine import Confinement
from m3u_proxy.ffmpeg.process.progress import Progress, ProgressParser
from m3u_proxy.ffmpeg.process.speed import Speed
from m3u_proxy.ffmpeg.process.stderr import StderrLines, classify
from m3u_proxy.redact import redact

log = logging.getLogger(__name__)

Argv = Callable[[int, Input], Sequence[str]]
"""Makes a command line from the number of the progress pipe and the place to read."""

RETRY_AFTER = 5.0
COMPLETED = "completed"
"""Reason of a run that has come to the end of a finite input: no failure."""
SWITCHED = "switched"
"""Reason of a run whose source was replaced by another: no failure, and the next one begins at once."""
LONGEST_SILENCE = 60.0
"""Seconds without input and output that are put down to a source on the loopback: from there, a FFmpeg that
hangs and asks for no more looks the same. Longer than it takes to give up a source."""

_OUR_ADDRESS = "http://source"
"""What logs and viewers see instead: the real address is a secret as long as FFmpeg lives."""
_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^/\s'\"]+/)+")


class Lost(Unavailable):
    """A FFmpeg has failed, its source has not: another one may do better.

    ``reason`` is ``ffmpeg_`` and how it ended (``eof``, ``error``, ``signal``, ``oom``), ``stall``, or
    ``write_error`` for files that stay empty.
    """


class Tap(Protocol):
    """A viewer's place at a source, held by one FFmpeg from before its start to its end."""

    input: Input
    """Where FFmpeg finds it; valid until ``close()``."""
    ended: asyncio.Future[str]
    """Resolved with the reason when the source has failed, before FFmpeg can see the end of its input: to
    FFmpeg an input that was cut short has ended well."""

    @property
    def sent(self) -> int:
        """Bytes given so far."""

    def connect(self, stdin: int | None) -> None:
        """FFmpeg runs: feed it. ``stdin`` is its non-blocking pipe, ``None`` if the input is no pipe."""

    def close(self) -> None:
        """Stop feeding. Idempotent; also for a tap that was never connected."""


class Feed(Protocol):
    """Where FFmpeg's input comes from: a running thing of the pool, seen from below."""

    async def ready(self) -> None:
        """Wait until FFmpeg may start, for a relay with the first tables; raises why it may not."""

    @property
    def has_adts(self) -> bool:
        """Whether its audio is AAC in ADTS, which fragmented MP4 cannot hold as it is."""

    def tap(self) -> Tap:
        """A place for one FFmpeg, whose command line is made from its ``input``."""


@dataclass
class Ledger:
    """Integers about FFmpeg that runs add to and metrics read."""

    starts: Counter[str] = field(default_factory=Counter)
    restarts: Counter[str] = field(default_factory=Counter)
    """By kind: starts in the place of one that was lost."""
    exits: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    """Processes that we ended, by the signal that it took."""
    slow: Counter[str] = field(default_factory=Counter)
    """By kind: spans of ``speed.SPEED_SPAN`` in which one was slower than real time."""
    write_errors: Counter[str] = field(default_factory=Counter)
    running: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Kit:
    """What every run of FFmpeg needs, put together once."""

    confinement: Confinement
    ledger: Ledger
    term_kill: float
    """Seconds from SIGTERM to SIGKILL."""


class Run:
    """One FFmpeg from start to reaped.

    ``failure`` is resolved with the reason as soon as the run is known to be lost: the end of the process,
    which is a ``Lost``, a write error of ours on stderr, or the end of its feed. Or it is over: FFmpeg has
    read a finite input to its end, and the reason is ``COMPLETED``. ``kind`` is the metrics label.
    ``on_stderr`` is given all that FFmpeg says, as it comes.
    """

    def __init__(
        self,
        kit: Kit,
        feed: Feed,
        kind: str,
        stream: str,
        *,
        on_stderr: Callable[[bytes], None] | None = None,
    ) -> None:
        self._kit = kit
        self._feed = feed
        self._kind = kind
        self._who = {"stream": stream}
        self._tail = StderrLines(self._masked)
        self._listener = on_stderr
        self._progress = ProgressParser()
        self._speed = Speed()
        self._child: Child | None = None
        self._watch: asyncio.Task[None] | None = None
        self.tap: Tap | None = None
        self.failure: asyncio.Future[ProxyError] = asyncio.get_running_loop().create_future()

    @property
    def pid(self) -> int | None:
        """Process id while the child lives."""
        return self._child.pid if self._child else None

    @property
    def progress(self) -> Progress | None:
        """FFmpeg's own latest figures."""
        return self._progress.latest

    @property
    def media_info(self) -> dict[str, object]:
        """What editors show of its figures; nothing before the first report."""
        return self.progress.media_info if self.progress else {}

    @property
    def position(self) -> float | None:
        """Of its output, in seconds."""
        reached = self.progress.out_time_us if self.progress else None
        return None if reached is None else reached / 1e6

    @property
    def stdout_fd(self) -> int | None:
        """Non-blocking read end of FFmpeg's output, if it was asked for."""
        return self._child.stdout_fd if self._child else None

    @property
    def fed(self) -> int:
        """Bytes given to FFmpeg so far."""
        return self.tap.sent if self.tap else 0

    @property
    def unread(self) -> int:
        """Bytes that wait in FFmpeg's standard input; a FFmpeg that hangs leaves them there."""
        fd = self._child.stdin_fd if self._child else None
        if fd is None:
            return 0
        return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)

    @property
    def is_finite(self) -> bool:
        """Whether its input has an end, and thus a beginning that another run would go back to."""
        return self.tap is not None and self.tap.input.is_finite

    @property
    def has_waiting_input(self) -> bool:
        """Whether FFmpeg could go on at once; of a live source on the loopback that is not known."""
        return self.unread > 0 or (self.tap is not None and self.tap.input.is_paced)

    @property
    def is_fed_by_pipe(self) -> bool:
        """Whether its input comes through its standard input."""
        return self.tap is not None and self.tap.input.is_stdin

    @property
    def patience(self) -> float:
        """Seconds without input after which FFmpeg is to blame all the same; see ``unread``."""
        return inf if self.tap is None or self.tap.input.is_stdin else LONGEST_SILENCE

    def start(self, argv: Argv, cwd: Path, *, stdout: bool) -> None:
        """Spawn and feed; raises ``Unavailable`` with nothing started. Call ``stop`` in any other case."""
        tap = self._feed.tap()
        child = Child(
            lambda progress_fd: argv(progress_fd, tap.input),
            cwd=cwd,
            confinement=self._kit.confinement,
            stdin=tap.input.is_stdin,
            stdout=stdout,
            on_stderr=self._on_stderr,
            on_progress=self._progress.feed,
        )
        try:
            child.start()
        except BaseException:
            tap.close()
            raise
        self._child = child
        self._kit.ledger.starts[self._kind] += 1
        self._kit.ledger.running[self._kind] += 1
        self.tap = tap
        tap.ended.add_done_callback(self._on_feed_end)
        tap.connect(child.stdin_fd)
        self._watch = asyncio.get_running_loop().create_task(self._wait(child), name="ffmpeg-wait")
        log.info("ffmpeg started: pid %d, %s", child.pid, self._kind, extra=self._who)

    async def stop(self) -> None:
        """End and reap the process, whatever its state. Idempotent; nothing of the run is left afterwards."""
        if self.tap is not None:
            self.tap.close()
        child, self._child = self._child, None
        if child is None:
            return
        child.close_stdin()  # FFmpeg notices SIGTERM only when its read returns
        try:
            exit_ = await child.stop(self._kit.term_kill)
            self._count(exit_)
        finally:
            self._kit.ledger.running[self._kind] -= 1
            if self._watch is not None:
                self._watch.cancel()
                await asyncio.wait([self._watch])

    def look_at_speed(self, now: float) -> None:
        """Count and log a FFmpeg that does not keep up although input waits. Call it every second or so."""
        slow = self._speed.look(now, position=self.position, waiting=self.has_waiting_input)
        if slow is not None:
            self._kit.ledger.slow[self._kind] += 1
            log.warning("ffmpeg is too slow: %.2f of real time", slow, extra=self._who)

    def last_words(self) -> str:
        """The newest stderr line, redacted; empty if FFmpeg said nothing."""
        lines = self._tail.last(1)
        return lines[-1] if lines else ""

    def _count(self, exit_: Exit) -> None:
        self._kit.ledger.exits[exit_.reason] += 1
        if exit_.reason == "stopped":
            was_asked = exit_.code is not None or exit_.signal == signal.SIGTERM
            self._kit.ledger.kills["SIGTERM" if was_asked else "SIGKILL"] += 1
        log.info(
            "ffmpeg ended: %s, code %s, signal %s", exit_.reason, exit_.code, exit_.signal, extra=self._who
        )

    async def _wait(self, child: Child) -> None:
        exit_ = await child.wait()
        if exit_.reason == "eof" and self._is_input_whole:
            self._end(Closed("The film is over", reason=COMPLETED))
            return
        how = f"signal {exit_.signal}" if exit_.code is None else f"code {exit_.code}"
        self._end(self.lost("ffmpeg_" + exit_.reason, f"FFmpeg ended ({exit_.reason}, {how})"))

    def lost(self, reason: str, detail: str) -> Lost:
        """What a run that failed by itself has ended with: ``detail``, and what FFmpeg said last."""
        words = self.last_words()
        said = f"{detail}: {words}" if words else f"{detail} without a word"
        return Lost(_shown(said), reason=reason, retry_after=RETRY_AFTER)

    @property
    def _is_input_whole(self) -> bool:
        """Whether FFmpeg, when it ends by itself, has seen all there is."""
        return self.tap is not None and self.is_finite and not self.tap.ended.done()

    def _on_feed_end(self, ended: asyncio.Future[str]) -> None:
        if not ended.cancelled():
            self._lose(ended.result(), "The source has ended")

    def _masked(self, line: str) -> str:
        if self.tap is not None and not self.tap.input.is_stdin:
            line = line.replace(self.tap.input.folder, _OUR_ADDRESS)
        return redact(line)

    def _on_stderr(self, data: bytes) -> None:
        if self._listener is not None:
            self._listener(data)
        for line in self._tail.feed(data):
            diagnosis = classify(line)
            if diagnosis.pattern is None:
                log.debug("ffmpeg: %s", line, extra=self._who)
                continue
            log.warning("ffmpeg (%s side): %s", diagnosis.side, line, extra=self._who)
            if diagnosis.fatal:
                self._kit.ledger.write_errors[diagnosis.pattern] += 1
                self._lose("write_error", f"FFmpeg cannot write its output: {line}")

    def _lose(self, reason: str, detail: str) -> None:
        self._end(Unavailable(_shown(detail), reason=reason, retry_after=RETRY_AFTER))

    def _end(self, outcome: ProxyError) -> None:
        if not self.failure.done():
            self.failure.set_result(outcome)


def _shown(detail: str) -> str:
    """As viewers may read it: our folders are none of their business."""
    return _FOLDERS.sub("", detail)
