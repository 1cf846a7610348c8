"""The proxy in a process of its own, started as a user would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

from benchmarks.clip import PACKET

START_PATIENCE = 20.0
STOP_PATIENCE = 15.0
_LISTENS = re.compile(r"listens on \S+ port (\d+)")
_INHERITED = ("PATH", "HOME", "LANG", "TMPDIR")
COPY = "-i {input_url} -c copy -f hls index.m3u8"
"""A profile that only cuts: what FFmpeg does then is not to be seen in the figures of the proxy."""


class Daemon:
    """From ``with`` to its end; ``port`` and ``pid`` hold inside. Raises ``RuntimeError`` with its output."""

    def __enter__(self) -> Self:
        self._home = tempfile.TemporaryDirectory(prefix="m3u-proxy-bench-")
        home = Path(self._home.name)
        home.chmod(0o755)  # nginx's worker reads below it
        self.segments = home / "hls"
        environ = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environ |= {
            "HOST": "127.0.0.1",
            "PORT": "0",
            "STATE_DIR": str(home),
            "ALLOW_LOOPBACK_TARGETS": "true",
        }
        self._lines: list[str] = []
        self._listening = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "m3u_proxy"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self.port = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._listening.wait(START_PATIENCE) or not self.port:
            self.__exit__()
            raise RuntimeError("the daemon did not start:\n" + "\n".join(self._lines))
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._home.cleanup()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._lines.append(line.rstrip())
                if found := _LISTENS.search(line):
                    self.port = int(found[1])
                    self._listening.set()
        self._listening.set()  # it ended without a word: do not wait for it

    def live(self, url: str, *failovers: str) -> str:
        """Define a live stream, or one whose playlist is passed through; its path."""
        return self._define("/streams", url=url, failover_urls=list(failovers))

    def hls(self, url: str, profile: str = COPY) -> str:
        """Define a stream that FFmpeg turns into HLS; the path of its playlist."""
        return self._define("/transcode", url=url, profile=profile)

    def _define(self, where: str, **body: Any) -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{where}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["stream_endpoint"])

    def delete(self, path: str) -> None:
        """Forget the stream behind a path and end what runs for it."""
        url = f"http://127.0.0.1:{self.port}/streams/{path.split('/')[2]}"
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE"), timeout=10).close()

    def wait_warm(self, path: str) -> None:
        """Open a stream and return with its first bytes, or with a playlist whose segment can be fetched.

        Raises ``OSError``, or ``RuntimeError`` for a playlist or segment that cannot be played.
        """
        base = f"http://127.0.0.1:{self.port}"
        with urllib.request.urlopen(base + path, timeout=START_PATIENCE) as answer:
            if not path.endswith(".m3u8"):
                answer.read(PACKET)
                return
            lines = answer.read().decode().splitlines()
        segment = next((line for line in lines if line and not line.startswith("#")), None)
        if segment is None:
            raise RuntimeError("a playlist without a segment")
        with urllib.request.urlopen(urljoin(base + path, segment), timeout=START_PATIENCE) as answer:
            if answer.read(1) != b"G":  # the sync byte, ISO/IEC 13818-1 §2.4.3.3
                raise RuntimeError("a segment that is not MPEG-TS")

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            rows = answer.read().decode().splitlines()
        wanted = re.compile(rf"m3u_proxy_{name}(\{{|\s)")
        return sum(float(row.rsplit(" ", 1)[1]) for row in rows if wanted.match(row))

    def newest_directory(self) -> Path:
        """Where the writer that started last keeps its files."""
        playlists = list(self.segments.glob("**/index.m3u8"))
        return max(playlists, key=lambda path: path.stat().st_ctime).parent
