"""The measure: Debian's nginx, one worker, sendfile, serving plain files on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import Self

from benchmarks.clip import RATE, Missing

START_PATIENCE = 5.0
STOP_PATIENCE = 5.0

_CONFIG = """\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid {prefix}/pid;
error_log {prefix}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    types {{ video/mp2t ts; application/vnd.apple.mpegurl m3u8; }}
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        location /files/ {{ alias {files}/; }}
        location = /paced.ts {{ alias {clip}; limit_rate {rate}; }}
    }}
}}
"""


class Nginx:
    """Serves the folder ``files`` at ``/files/``, and ``clip`` at ``/paced.ts`` at its own bit rate.

    From ``with`` to its end; raises ``Missing`` when nginx is not installed.
    """

    def __init__(self, files: Path, clip: Path) -> None:
        self._files = files
        self._clip = clip

    def __enter__(self) -> Self:
        binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if binary is None:
            raise Missing("nginx is not installed")
        self._prefix = tempfile.TemporaryDirectory(prefix="m3u-proxy-bench-nginx-")
        prefix = self._prefix.name
        self.port = _free_port()
        config = Path(prefix, "nginx.conf")
        config.write_text(
            _CONFIG.format(
                user="user root;" if os.geteuid() == 0 else "",
                prefix=prefix,
                port=self.port,
                files=self._files,
                clip=self._clip,
                rate=RATE // 8,
            ),
            encoding="utf-8",
        )
        self._process = subprocess.Popen(
            [binary, "-p", prefix, "-e", f"{prefix}/error.log", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid
        self._wait()
        return self

    def _wait(self) -> None:
        deadline = monotonic() + START_PATIENCE
        while monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                sleep(0.02)
            else:
                return
        self._process.kill()
        raise RuntimeError("nginx did not start: " + self._process.communicate()[1])

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._prefix.cleanup()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
