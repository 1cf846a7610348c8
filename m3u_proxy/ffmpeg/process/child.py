"""One child: started, drained, reaped.

Whoever starts a ``Child`` ends it with ``stop()``, also when it has exited by itself: only then are the media
pipes closed. All it prints is read, in small turns, whether anyone cares or not: FFmpeg with a full stderr
pipe stops dead and then ignores SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m3u_proxy.errors import Unavailable
from m3u_proxy.ffmpeg.process import confine
from m3u_proxy.ffmpeg.process.confine import Confinement

MEDIA_PIPE_SIZES = (1 << 20, 1 << 18)
"""Capacities of the media pipes, best first; an unprivileged user's share of pipe pages may be used up."""
READ_BYTES = 1 << 16
TURN_BYTES = 1 << 18
"""Most bytes read from one pipe before the loop gets its turn."""
TERM_KILL = 2.0
"""Seconds from SIGTERM to SIGKILL."""
KILL_WAIT = 1.0
"""Seconds a killed child gets to vanish; one stuck in a driver or on a dead disk takes longer."""

_TAIL_BYTES = 4096

Argv = Sequence[str] | Callable[[int], Sequence[str]]
OnBytes = Callable[[bytes], None]

log = logging.getLogger(__name__)


Ending = Literal["eof", "error", "signal", "oom", "stopped"]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a child ended: by ``code`` or by ``signal``; neither when nobody could tell."""

    code: int | None
    signal: int | None
    reason: Ending
    """``eof`` is code 0, which says nothing about success. ``stopped``: we ended it."""


class Child:
    """A process in its own session, with its pipes.

    ``argv`` is the command, or a function from the number of the progress pipe's descriptor to the command.
    ``on_stderr`` and ``on_progress`` are called in the loop with at most 64 KiB, cut anywhere. ``stdin`` and
    ``stdout`` ask for a media pipe; without one the child has ``/dev/null``. ``stdin_fd`` and ``stdout_fd``
    are their near ends, non-blocking: write, read, splice and watch them, but let ``close_stdin()`` and
    ``stop()`` close them. What is in stdout can be read after the exit.
    """

    def __init__(
        self,
        argv: Argv,
        *,
        cwd: Path,
        confinement: Confinement,
        stdin: bool,
        stdout: bool,
        on_stderr: OnBytes,
        on_progress: OnBytes,
    ) -> None:
        self.stdin_fd: int | None = None
        self.stdout_fd: int | None = None
        self._argv = argv
        self._cwd = cwd
        self._confinement = confinement
        self._wants_stdin = stdin
        self._wants_stdout = stdout
        self._on_stderr = on_stderr
        self._on_progress = on_progress
        self._popen: subprocess.Popen[bytes] | None = None
        self._exited: asyncio.Future[Exit] | None = None
        self._drains: list[_Drain] = []
        self._pidfd = -1
        self._tail = b""
        self._oom_kills = 0
        self._stopping = False

    def __repr__(self) -> str:
        if self._popen is None or self._exited is None:
            return "<Child not started>"
        return f"<Child {self.pid} {self._exited.result() if self._exited.done() else 'running'}>"

    @property
    def pid(self) -> int:
        """Process id, and id of its group and session; RuntimeError before ``start()``."""
        if self._popen is None:
            raise RuntimeError("the child was not started")
        return self._popen.pid

    def start(self) -> None:
        """Start the process and begin to drain it. The loop stands still for about 1 ms.

        Raises:
            Unavailable: ``ffmpeg_missing``, there is no such executable; ``spawn``, the system refused.
            RuntimeError: called twice, or outside the main thread, whose end alone is our end.
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("only the main thread may start a child")
        if self._popen is not None:
            raise RuntimeError("a child starts once")
        loop = asyncio.get_running_loop()
        try:
            self._spawn(loop)
        except BaseException as error:
            self._abandon()
            if isinstance(error, OSError):
                detail = f"ffmpeg could not be started: {error.strerror}"
                raise Unavailable(detail, reason="spawn") from error
            raise
        self._exited = loop.create_future()
        loop.add_reader(self._pidfd, self._on_exit)

    async def wait(self) -> Exit:
        """The end of the child, when it comes. Any number may wait; a cancelled one disturbs nobody."""
        if self._exited is None:
            raise RuntimeError("the child was not started")
        return await asyncio.shield(self._exited)

    async def stop(self, term_kill: float = TERM_KILL) -> Exit:
        """End the child and its group, reap it and close every pipe. Stop watching the media pipes first.

        SIGTERM, after ``term_kill`` seconds SIGKILL; SIGKILL at once when the caller is cancelled. Takes at
        most ``term_kill`` + ``KILL_WAIT``. May be called again, by several, and when the start failed.
        """
        exited = self._exited
        if exited is None:
            return Exit(None, None, "stopped")
        if not self._stopping:
            self._stopping = True
            self._signal(signal.SIGTERM)
        try:
            await asyncio.wait([exited], timeout=term_kill)
        finally:
            self.kill_now()
            try:
                await asyncio.wait([exited], timeout=KILL_WAIT)
            finally:
                self._close_pipes()
        if exited.done():
            return exited.result()
        log.error("child %d has not died of SIGKILL within %.1f s", self.pid, KILL_WAIT)
        return Exit(None, None, "stopped")

    def kill_now(self) -> None:
        """SIGKILL to the group, without waiting. The loop reaps it if it still runs; else our end does."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    def close_stdin(self) -> None:
        """Tell the child that its input has ended. Stop watching ``stdin_fd`` first."""
        if self.stdin_fd is not None:
            os.close(self.stdin_fd)
            self.stdin_fd = None

    def _spawn(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.ExitStack() as far_ends:
            stdin = stdout = subprocess.DEVNULL
            if self._wants_stdin:
                self.stdin_fd, stdin = _pipe(far_ends, near="write", sizes=MEDIA_PIPE_SIZES)
            if self._wants_stdout:
                self.stdout_fd, stdout = _pipe(far_ends, near="read", sizes=MEDIA_PIPE_SIZES)
            near, stderr = _pipe(far_ends, near="read")
            self._drains.append(_Drain(loop, near, self._take_stderr))
            passed: tuple[int, ...] = ()
            argv = self._argv
            if callable(argv):
                near, progress = _pipe(far_ends, near="read")
                self._drains.append(_Drain(loop, near, self._on_progress))
                argv, passed = argv(progress), (progress,)
            self._oom_kills = confine.oom_kills()
            # Popen calls vfork, whose price does not grow with our memory as fork's does.
            self._popen = subprocess.Popen(
                confine.wrap(argv),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                cwd=self._cwd,
                env=confine.environment(os.environ, self._confinement.marker),
                umask=self._confinement.umask,
                start_new_session=True,
                close_fds=True,
                pass_fds=passed,
            )
        confine.limit(self._popen.pid, self._confinement)
        self._pidfd = os.pidfd_open(self._popen.pid)

    def _abandon(self) -> None:
        """Undo a start that failed half-way."""
        self._signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()
        self._close_pipes()

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group, but never after the reaping, when the number may belong to somebody else."""
        if self._popen is not None and self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    def _on_exit(self) -> None:
        """The pidfd is readable: the process is a zombie, or a tracer is about to let go of one."""
        assert self._popen is not None
        assert self._exited is not None
        self._signal(signal.SIGKILL)  # whatever it has forked; its own pid is ours until we reap it
        returncode = self._popen.poll()
        if returncode is None:
            return
        self._exited.get_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        try:
            for drain in self._drains:
                drain.turn()
        finally:
            for drain in self._drains:
                drain.close()
            self._exited.set_result(self._verdict(returncode))

    def _verdict(self, returncode: int) -> Exit:
        code, number = (returncode, None) if returncode >= 0 else (None, -returncode)
        if self._stopping:
            return Exit(code, number, "stopped")
        kernel_acted = number == signal.SIGKILL and confine.oom_kills() > self._oom_kills
        if kernel_acted or (code != 0 and confine.out_of_memory(self._confinement, self._tail)):
            return Exit(code, number, "oom")
        if number is not None:
            return Exit(code, number, "signal")
        return Exit(code, number, "eof" if code == 0 else "error")

    def _take_stderr(self, data: bytes) -> None:
        self._tail = (self._tail + data[-_TAIL_BYTES:])[-_TAIL_BYTES:]
        self._on_stderr(data)

    def _close_pipes(self) -> None:
        for drain in self._drains:
            drain.close()
        self.close_stdin()
        if self.stdout_fd is not None:
            os.close(self.stdout_fd)
            self.stdout_fd = None


class _Drain:
    """Reads one pipe to its end, a bounded piece per turn of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, sink: OnBytes) -> None:
        self._loop = loop
        self._fd: int | None = fd
        self._sink = sink
        loop.add_reader(fd, self.turn)

    def turn(self) -> None:
        taken = 0
        while self._fd is not None and taken < TURN_BYTES:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self.close()
                return
            taken += len(data)
            self._sink(data)

    def close(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            self._loop.remove_reader(fd)
            os.close(fd)


def _pipe(
    far_ends: contextlib.ExitStack, *, near: Literal["read", "write"], sizes: Sequence[int] = ()
) -> tuple[int, int]:
    """A pipe as (near end, non-blocking; far end, closed with ``far_ends``)."""
    read, write = os.pipe2(os.O_CLOEXEC)
    near_end, far_end = (read, write) if near == "read" else (write, read)
    far_ends.callback(os.close, far_end)
    os.set_blocking(near_end, False)
    for size in sizes:
        with contextlib.suppress(OSError):
            fcntl.fcntl(near_end, fcntl.F_SETPIPE_SZ, size)
            break
    return near_end, far_end
