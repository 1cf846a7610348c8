"""The measure: Debian's nginx, one worker, sendfile, on a free port; with plain files, or as a cache."""

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
    {http}
    server {{
        listen 127.0.0.1:{port} backlog=2048;
        {server}
    }}
}}
"""
# use_temp_path off: a segment is written once, where it stays. The key is what all viewers have in common.
_CACHE = """
    proxy_cache_path {prefix}/cache levels=1:2 keys_zone=hls:10m max_size=1g inactive=60s use_temp_path=off;
    upstream provider { server 127.0.0.1:{provider}; keepalive 16; }
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_cache hls;
    proxy_cache_key $uri;
    proxy_cache_lock on;
    proxy_cache_lock_timeout 15s;
    proxy_cache_lock_age 15s;
    proxy_ignore_headers Cache-Control Expires;
"""
_CACHED = """
        location / { proxy_pass http://provider; proxy_cache_valid 200 60s; }
        location ~ \\.m3u8$ {
            proxy_pass http://provider;
            proxy_cache_valid 200 1s;
            proxy_cache_use_stale updating error timeout;
        }
"""
_SHM = Path("/dev/shm")


def files(folder: Path) -> Nginx:
    """Serves a folder at ``/files/``."""
    return Nginx(f"location /files/ {{ alias {folder}/; }}")


def paced(clip: Path) -> Nginx:
    """Serves ``clip`` at ``/paced.ts`` at its own bit rate."""
    return Nginx(f"location = /paced.ts {{ alias {clip}; limit_rate {RATE // 8}; }}")


def cache(provider: int) -> Nginx:
    """Caches what the provider on that port sends: a playlist for 1 s, a segment for 60 s, one fetch each.

    While a playlist is fetched again, viewers get the old one.
    """
    return Nginx(_CACHED, _CACHE.replace("{provider}", str(provider)))


class Nginx:
    """From ``with`` to its end, ``port`` and ``pid`` hold inside; raises ``Missing`` if it is not installed.

    ``server`` goes into its server block, ``http`` beside it, where ``{prefix}`` is a folder of its own, in
    memory where there is a place for that.
    """

    def __init__(self, server: str, http: str = "") -> None:
        self._server = server
        self._http = http

    def __enter__(self) -> Self:
        binary = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if binary is None:
            raise Missing("nginx is not installed")
        self._prefix = tempfile.TemporaryDirectory(
            prefix="m3u-proxy-bench-nginx-", dir=_SHM if _SHM.is_dir() else None
        )
        prefix = self._prefix.name
        self.port = _free_port()
        config = Path(prefix, "nginx.conf")
        config.write_text(
            _CONFIG.format(
                user="user root;" if os.geteuid() == 0 else "",
                prefix=prefix,
                port=self.port,
                http=self._http.replace("{prefix}", prefix),
                server=self._server,
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
