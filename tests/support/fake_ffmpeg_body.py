"""What the stand-in for FFmpeg does; see ``fake_ffmpeg``. It runs in a process of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing, pathlib and the like would double the time this takes to start
    from collections.abc import Callable

    from tests.support.fake_ffmpeg import Knobs


def main() -> None:
    """Be FFmpeg."""
    me = os.path.abspath(sys.argv[0])
    with open(f"{me}.json") as file:
        knobs: Knobs = json.load(file)
    if answer_query(knobs):
        return
    end: queue.SimpleQueue[int] = queue.SimpleQueue()
    grandchildren = spawn_grandchildren(knobs)
    ignored = signal.SIG_IGN if knobs["ignore_sigterm"] else None
    signal.signal(signal.SIGTERM, ignored or (lambda *_: end.put(255)))
    record(f"{me}.runs", grandchildren)
    got_input = threading.Event()
    start(say, knobs)
    start(flood, knobs)
    start(misbehave, knobs, end)
    start(take_input, knobs, end, got_input)
    if "-progress" in sys.argv:
        start(progress, knobs, int(option("-progress", "").removeprefix("pipe:")))
    if knobs["eat_bytes"]:
        start(eat, knobs["eat_bytes"], end)
    playlist = Playlist(knobs) if sys.argv[-1].endswith(".m3u8") else None
    if playlist is not None:
        start(playlist.run, got_input)
    code = end.get()
    if playlist is not None:
        playlist.finish()
    os._exit(code)


def start(target: Callable[..., None], *args: object) -> None:
    threading.Thread(target=target, args=args, daemon=True).start()


def option(name: str, default: str) -> str:
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def answer_query(knobs: Knobs) -> bool:
    answers = {
        "-version": f"ffmpeg version {knobs['version']} Copyright (c) the fake developers\n",
        "-encoders": "Encoders:\n V..... = Video\n ------\n"
        + "".join(f" V....D {name}   an encoder\n" for name in knobs["encoders"]),
        "-hwaccels": "Hardware acceleration methods:\n" + "".join(f"{n}\n" for n in knobs["hwaccels"]) + "\n",
    }
    if sys.argv[-1] not in answers:
        return False
    if knobs["query_hang"]:
        signal.pause()
    sys.stdout.write(answers[sys.argv[-1]])
    sys.exit(knobs["query_exit"])


def record(path: str, grandchildren: list[int]) -> None:
    umask = os.umask(0)
    os.umask(umask)
    fds = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            fds[int(number)] = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the descriptor of the listing itself
            continue
    found = {
        "pid": os.getpid(),
        "grandchildren": grandchildren,
        "sid": os.getsid(0),
        "argv": sys.argv,
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "umask": umask,
        "fds": fds,
    }
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(fd, json.dumps(found).encode() + b"\n")
    os.close(fd)


def spawn_grandchildren(knobs: Knobs) -> list[int]:
    if knobs["deaf_grandchildren"]:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # inherited
    sleeper = ["/bin/sleep", "1000"]
    return [os.posix_spawn(sleeper[0], sleeper, os.environ) for _ in range(knobs["grandchildren"])]


def misbehave(knobs: Knobs, end: queue.SimpleQueue[int]) -> None:
    """Do what has its moment, in the order of the moments."""

    def leave() -> None:
        if knobs["exit_signal"] is not None:
            os.kill(os.getpid(), knobs["exit_signal"])
        end.put(knobs["exit_code"])

    moments: list[tuple[float | None, Callable[[], None]]] = [
        (knobs["stop_itself_after"], lambda: os.kill(os.getpid(), signal.SIGSTOP)),
        (knobs["close_stdin_after"], lambda: os.close(0)),
        (knobs["close_stdout_after"], lambda: os.close(1)),
        (knobs["exit_after"], leave),
    ]
    began = time.monotonic()
    for moment, act in sorted(((m, a) for m, a in moments if m is not None), key=lambda pair: pair[0]):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        act()


def take_input(knobs: Knobs, end: queue.SimpleQueue[int], got_input: threading.Event) -> None:
    left = knobs["stdout_bytes"]
    while left > 0:
        left -= os.write(1, (b"\x47" + bytes(187)) * min(348, left // 188 + 1))
    if knobs["stdin"] == "ignore" or os.readlink("/proc/self/fd/0") == os.devnull:
        return
    try:
        while data := os.read(0, 1 << 16):
            got_input.set()
            while knobs["stdin"] == "echo" and data:
                data = data[os.write(1, data) :]
    except OSError:  # closed by misbehave()
        return
    end.put(knobs["exit_code"])


def say(knobs: Knobs) -> None:
    for pause, line in knobs["lines"]:
        time.sleep(pause)
        os.write(2, line.encode() + b"\n")


def flood(knobs: Knobs) -> None:
    left, rate = knobs["flood_bytes"], knobs["flood_rate"]
    pattern = knobs["flood_pattern"].encode("latin-1")
    block = pattern * max(1, (1 << 16) // len(pattern))
    while left > 0:
        written = os.write(2, block[:left])
        left -= written
        if rate is not None:
            time.sleep(written / rate)


def progress(knobs: Knobs, fd: int) -> None:
    for number in range(1, 1 << 30):
        time.sleep(knobs["progress_every"])
        report = f"frame={25 * number}\nout_time_us={1_000_000 * number}\nspeed=1.0x\nprogress=continue\n"
        os.write(fd, report.encode())


def eat(size: int, end: queue.SimpleQueue[int]) -> None:
    eaten = bytearray()
    try:
        while len(eaten) < size:
            eaten += b"\xff" * (1 << 20)
    except MemoryError:
        os.write(2, b"Error while filtering: Cannot allocate memory\n")
        end.put(1)


class Playlist:
    """HLS as FFmpeg's muxer writes it, with empty packets for media."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._path = sys.argv[-1]
        self._flags = option("-hls_flags", "").split("+")
        self._duration = float(option("-hls_time", "2"))
        self._size = int(option("-hls_list_size", "5"))
        self._kept = self._size + int(option("-hls_delete_threshold", "1"))
        self._first = int(option("-start_number", "0"))
        self._fmp4 = option("-hls_segment_type", "mpegts") == "fmp4"
        self._init = option("-hls_fmp4_init_filename", "init.mp4")
        self._written: list[str] = []
        self._lock = threading.Lock()

    def run(self, got_input: threading.Event) -> None:
        if self._knobs["wait_for_input"]:
            got_input.wait()
        wanted = self._knobs["segments"]
        if self._fmp4 and wanted != 0:
            self._put(
                os.path.join(os.path.dirname(self._path), self._init), b"\0\0\0\x18ftypiso5" + bytes(12)
            )
        while wanted is None or len(self._written) < wanted:
            time.sleep(self._knobs["segment_every"])
            with self._lock:
                self._segment()

    def finish(self) -> None:
        with self._lock:
            if self._written and (self._knobs["endlist"] or "omit_endlist" not in self._flags):
                self._write("#EXT-X-ENDLIST\n")

    def _segment(self) -> None:
        number = self._first + len(self._written)
        pattern = option("-hls_segment_filename", self._path.removesuffix(".m3u8") + "%d.ts")
        if option("-strftime", "0") == "1":
            pattern = time.strftime(pattern)
        path = pattern % number if "%" in pattern else pattern
        head = b"\0\0\0\x18stypmsdh" + bytes(12) if self._fmp4 else b"\x47\x1f\xff\x10" + b"\xff" * 184
        size = self._knobs["segment_bytes"]
        self._put(path, (head * (size // len(head) + 1))[:size])
        self._written.append(path)
        if "delete_segments" in self._flags and self._size and len(self._written) > self._kept:
            os.unlink(self._written[-self._kept - 1])
        freeze = self._knobs["freeze_after"]
        if freeze is None or len(self._written) <= freeze:
            self._write("")

    def _write(self, tail: str) -> None:
        listed = self._written[-self._size :] if self._size else self._written
        skipped = len(self._written) - len(listed)
        lines = ["#EXTM3U", f"#EXT-X-VERSION:{7 if self._fmp4 else 3}"]
        lines += [f"#EXT-X-TARGETDURATION:{-int(-self._duration // 1)}"]
        lines += [f"#EXT-X-MEDIA-SEQUENCE:{self._first + skipped}"]
        if "discont_start" in self._flags and not skipped:
            lines += ["#EXT-X-DISCONTINUITY"]
        if self._fmp4:
            lines += [f'#EXT-X-MAP:URI="{self._init}"']
        for path in listed:
            lines += [f"#EXTINF:{self._duration:.6f},", os.path.basename(path)]
        self._put(self._path, ("\n".join(lines) + "\n" + tail).encode())

    def _put(self, path: str, data: bytes) -> None:
        draft = f"{path}.tmp" if "temp_file" in self._flags else path
        with open(draft, "wb") as file:
            file.write(data)
        if draft != path:
            os.rename(draft, path)
