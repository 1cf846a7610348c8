"""Our own address as whoever asks knows it: for lineups, which need absolute URLs, and for nothing else."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from aiohttp import web

from m3u_proxy.web.context import CONTEXT

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?P<port>:[0-9]{1,5})?")
_PORTS = {"http": "80", "https": "443"}


def base_url(request: web.Request) -> str:
    """Without a slash at its end.

    ``PUBLIC_URL``, with the root path where it has no path of its own; else what ``X-Forwarded-Proto``,
    ``-Host`` and ``-Port`` of the proxy in front say, or the request itself, with the root path.
    """
    config = request.app[CONTEXT].config
    if config.public_url is not None:
        has_path = bool(urlsplit(config.public_url).path)
        return config.public_url if has_path else config.public_url + config.root_path
    scheme = _first(request, "X-Forwarded-Proto").lower()
    if scheme not in _PORTS:
        scheme = request.scheme
    return f"{scheme}://{_authority(request, scheme)}{config.root_path}"


def _authority(request: web.Request, scheme: str) -> str:
    """Host, and port unless it is that of the scheme."""
    for given in (_first(request, "X-Forwarded-Host"), request.headers.get("Host", "").strip()):
        match = _HOST.fullmatch(given)
        if match is None:
            continue
        if match["port"]:
            return given.removesuffix(":" + _PORTS[scheme])
        port = _first(request, "X-Forwarded-Port")
        is_port = port.isascii() and port.isdecimal() and 0 < len(port) <= 5
        return f"{given}:{port}" if is_port and port != _PORTS[scheme] else given
    host, port = request.get_extra_info("sockname", ("127.0.0.1", 80))[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _first(request: web.Request, name: str) -> str:
    """The entry of the outermost proxy."""
    return request.headers.get(name, "").partition(",")[0].strip()
