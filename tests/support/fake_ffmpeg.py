"""A stand-in for FFmpeg: an executable that misbehaves as told.

``FakeFFmpeg(directory)`` installs ``directory/ffmpeg``, which runs ``fake_ffmpeg_body``, and its knobs
beside it in ``ffmpeg.json``: a child's environment is scrubbed and cannot carry them. Each run appends a
line to ``ffmpeg.runs``: what it was given and in which state it found itself.

With its knobs at rest it takes its input, writes HLS if its last argument is a playlist, reports progress if
asked, and exits with 0 at the end of its input and with 255 on SIGTERM, as FFmpeg does.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from tests.support.patience import patience


class Knobs(TypedDict, total=False):
    """Times are seconds since the start. ``None`` means never."""

    version: str
    encoders: list[str]
    hwaccels: list[str]
    query_exit: int  # exit code of -version and its like
    query_hang: bool

    exit_after: float | None
    exit_code: int
    exit_signal: int | None  # instead of the code
    stop_itself_after: float | None  # SIGSTOP
    ignore_sigterm: bool

    stdin: Literal["drain", "echo", "ignore"]  # echo: to stdout
    close_stdin_after: float | None
    close_stdout_after: float | None
    stdout_bytes: int

    segments: int | None  # how many to write; None: no end
    segment_every: float
    segment_bytes: int
    freeze_after: int | None  # the playlist stays as it is after so many segments
    endlist: bool  # even if omit_endlist was asked for
    wait_for_input: bool  # no segment before the first byte of input

    lines: list[tuple[float, str]]  # (pause before it, line for stderr)
    flood_bytes: int
    flood_pattern: str  # latin-1, repeated; may hold "\r", escapes and what is no UTF-8
    flood_rate: float | None  # bytes per second
    progress_every: float

    grandchildren: int
    deaf_grandchildren: bool  # they ignore SIGTERM
    eat_bytes: int


REST: Knobs = {
    "version": "5.1.9-fake",
    "encoders": ["libx264", "aac"],
    "hwaccels": [],
    "query_exit": 0,
    "query_hang": False,
    "exit_after": None,
    "exit_code": 0,
    "exit_signal": None,
    "stop_itself_after": None,
    "ignore_sigterm": False,
    "stdin": "drain",
    "close_stdin_after": None,
    "close_stdout_after": None,
    "stdout_bytes": 0,
    "segments": None,
    "segment_every": 0.1,
    "segment_bytes": 188 * 20,
    "freeze_after": None,
    "endlist": False,
    "wait_for_input": False,
    "lines": [],
    "flood_bytes": 0,
    "flood_pattern": "frame= 1\r",
    "flood_rate": None,
    "progress_every": 0.2,
    "grandchildren": 0,
    "deaf_grandchildren": False,
    "eat_bytes": 0,
}


_ROOT = Path(__file__).parents[2]
_EXECUTABLE = """#!{python} -IS
import sys
sys.path.insert(0, {root!r})
from tests.support.fake_ffmpeg_body import main
main()
"""


class FakeFFmpeg:
    """The test's end of it."""

    def __init__(self, directory: Path, name: str = "ffmpeg", **knobs: Unpack[Knobs]) -> None:
        self.path = directory / name
        self._runs = Path(f"{self.path}.runs")
        self.path.write_text(_EXECUTABLE.format(python=sys.executable, root=str(_ROOT)))
        self.path.chmod(0o755)
        self.set(**knobs)

    def set(self, **knobs: Unpack[Knobs]) -> None:
        """Knobs of the runs to come; those not named are at rest."""
        control = Path(f"{self.path}.json")
        draft = control.with_suffix(".draft")
        draft.write_text(json.dumps({**REST, **knobs}))
        draft.rename(control)

    def runs(self) -> list[dict[str, Any]]:
        """What each run found: pid, grandchildren, sid, argv, environ, cwd, umask, fds."""
        if not self._runs.exists():
            return []
        whole, _, _ = self._runs.read_text().rpartition("\n")  # the last one may be half written
        return [json.loads(line) for line in whole.splitlines()]

    async def run(self, number: int = 1, within: float = 15.0) -> dict[str, Any]:
        """The record of the ``number``-th run, once there is one."""
        await until(lambda: len(self.runs()) >= number, within)
        return self.runs()[number - 1]


async def until(condition: Callable[[], bool], within: float = 15.0) -> None:
    """Look every 5 ms; TimeoutError after ``within`` seconds."""
    async with patience(within):
        while not condition():
            await asyncio.sleep(0.005)


def state(pid: int) -> str:
    """The letter of proc(5): R, S, D, T (stopped), Z (zombie); empty when there is no such process."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    found = re.search(r"^State:\s+(\w)", status, re.MULTILINE)
    return found[1] if found else ""


def alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not, although ``kill -0`` finds it."""
    return state(pid) not in ("", "Z", "X")


def children_of(pid: int) -> list[int]:
    """Pids of a process's children, zombies too."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
