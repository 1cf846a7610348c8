"""One FFmpeg fed by a relay: spawned, fed, listened to, ended.

Shared by the HLS writer and the pipe source. A run never restarts anything; it tells its owner why it ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import re
import sys
import termios
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from m3u_proxy.errors import ProxyError, Unavailable
from m3u_proxy.ffmpeg.process import Child, Confinement, Exit
from m3u_proxy.ffmpeg.progress import Progress, ProgressParser
from m3u_proxy.ffmpeg.stderr import Tail, classify
from m3u_proxy.redact import redact

log = logging.getLogger(__name__)

RETRY_AFTER = 5.0

_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^/\s'\"]+/)+")


class Tap(Protocol):
    """A viewer's place at a relay, held by FFmpeg."""

    ended: asyncio.Future[str]

    @property
    def sent(self) -> int:
        """Bytes given so far."""

    def close(self) -> None:
        """Stop feeding. Idempotent."""


class Feed(Protocol):
    """Where FFmpeg's input comes from: a relay, seen from below."""

    async def ready(self) -> None:
        """Wait for the source's first tables; raises why there are none."""

    @property
    def has_adts(self) -> bool:
        """Whether its audio is AAC in ADTS, which fragmented MP4 cannot hold as it is."""

    def attach_pipe(self, fd: int) -> Tap:
        """Write the stream to a non-blocking pipe from the newest random-access point on."""


@dataclass
class Ledger:
    """Integers about FFmpeg that runs add to and metrics read."""

    starts: Counter[str] = field(default_factory=Counter)
    exits: Counter[str] = field(default_factory=Counter)
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

    ``failure`` is resolved with the reason as soon as the run is known to be lost: a write error of ours on
    stderr, the end of the process, or the end of its feed. ``kind`` is the metrics label.
    """

    def __init__(self, kit: Kit, feed: Feed, kind: str, stream: str) -> None:
        self._kit = kit
        self._feed = feed
        self._kind = kind
        self._who = {"stream": stream}
        self._tail = Tail(redact)
        self._progress = ProgressParser()
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

    def start(self, argv: Callable[[int], Sequence[str]], cwd: Path, *, stdout: bool) -> None:
        """Spawn and feed; raises ``Unavailable`` with nothing started. Call ``stop`` in any other case."""
        child = Child(
            argv,
            cwd=cwd,
            confinement=self._kit.confinement,
            stdin=True,
            stdout=stdout,
            on_stderr=self._on_stderr,
            on_progress=self._progress.feed,
        )
        child.start()
        self._child = child
        self._kit.ledger.starts[self._kind] += 1
        self._kit.ledger.running[self._kind] += 1
        assert child.stdin_fd is not None
        self.tap = self._feed.attach_pipe(child.stdin_fd)
        self.tap.ended.add_done_callback(self._on_feed_end)
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

    def last_words(self) -> str:
        """The newest stderr line, redacted; empty if FFmpeg said nothing."""
        lines = self._tail.last(1)
        return lines[-1] if lines else ""

    def _count(self, exit_: Exit) -> None:
        self._kit.ledger.exits[exit_.reason] += 1
        log.info(
            "ffmpeg ended: %s, code %s, signal %s", exit_.reason, exit_.code, exit_.signal, extra=self._who
        )

    async def _wait(self, child: Child) -> None:
        exit_ = await child.wait()
        words = self.last_words()
        said = f": {words}" if words else " without a word"
        self._lose("ffmpeg_" + exit_.reason, f"FFmpeg ended ({exit_.reason}, code {exit_.code}){said}")

    def _on_feed_end(self, ended: asyncio.Future[str]) -> None:
        if not ended.cancelled():
            self._lose(ended.result(), "The source has ended")

    def _on_stderr(self, data: bytes) -> None:
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
        if not self.failure.done():
            shown = _FOLDERS.sub("", detail)  # viewers read it, and our folders are none of their business
            self.failure.set_result(Unavailable(shown, reason=reason, retry_after=RETRY_AFTER))
