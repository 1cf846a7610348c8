"""Debian's nginx in front of the proxy, set up as editors ship theirs.

The main port publishes everything below ``/m3u-proxy/``; the other one is for players with a login and lets
only the two kinds of media path through, to the main port. Both take the *decoded* path apart, so that
slashes are merged and a blank is no request.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.nginx import NginxProcess, free_port

CONFIG = """
worker_processes 1;
pid {home}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;

    proxy_http_version 1.1;
    proxy_buffering off;
    proxy_request_buffering off;
    proxy_connect_timeout 75s;
    proxy_read_timeout 3600s;
    proxy_send_timeout 3600s;
    proxy_set_header Host $host;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";

    server {{
        listen 127.0.0.1:{main};
        location = /m3u-proxy {{ return 302 /m3u-proxy/; }}
        location ~ ^/m3u-proxy/(.*)$ {{
            proxy_pass http://127.0.0.1:{proxy}/$1$is_args$args;
            {added}
        }}
    }}

    server {{
        listen 127.0.0.1:{xtream};
        location ~ "^/m3u-proxy/stream/([A-Za-z0-9 -]+)$" {{
            proxy_pass http://127.0.0.1:{main}/m3u-proxy/stream/$1$is_args$args;
        }}
        location ~ "^/m3u-proxy/hls/([A-Za-z0-9 -]+)/([playist.m3u8egn]+)$" {{
            proxy_pass http://127.0.0.1:{main}/m3u-proxy/hls/$1/$2$is_args$args;
        }}
        location / {{ return 404; }}
    }}
}}
"""
ADDED = """add_header Access-Control-Allow-Origin * always;
            add_header Cache-Control "no-cache, no-store, must-revalidate" always;
            add_header Pragma no-cache always;"""


class EditorNginx(NginxProcess):
    """``async with EditorNginx(home, daemon.port) as front``; it writes below ``home`` only.

    ``url`` and ``xtream`` are the base addresses of its two ports.
    """

    def __init__(self, home: Path, proxy: int) -> None:
        home.mkdir(exist_ok=True)
        main, strict = free_port(), free_port()
        self.xtream = f"http://127.0.0.1:{strict}/m3u-proxy"
        text = CONFIG.format(home=home, proxy=proxy, main=main, xtream=strict, added=ADDED)
        super().__init__(home, main, text)
