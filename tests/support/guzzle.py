"""Requests as an editor's HTTP client writes them, byte by byte, and its answers read from the wire."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tests.support.rawhttp import Reply

PATIENCE = 5.0
"""Seconds after which an editor takes the answer for zero."""


def php_json(value: object) -> bytes:
    """JSON as PHP's ``json_encode`` writes it: ASCII, no blanks, slashes escaped; an empty map is ``[]``."""
    return json.dumps(value, separators=(",", ":")).replace("/", r"\/").encode()


def behind_nginx(address: str = "198.51.100.7", *hops: str) -> tuple[str, ...]:
    """What a reverse proxy adds to the request of a player at ``address``; ``hops`` were there before."""
    return (
        f"X-Real-IP: {address}",
        f"X-Forwarded-For: {', '.join([address, *hops])}",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: editor.example",
        "X-Forwarded-Port: 443",
        "Connection: upgrade",
    )


def request(
    method: str, target: str, *lines: str, body: object = None, host: str = "m3u-proxy:38085", token: str = ""
) -> bytes:
    """One request. ``body`` is sent as JSON unless it is None; ``lines`` are further header fields."""
    fields = [f"{method} {target} HTTP/1.1", f"Host: {host}", "User-Agent: GuzzleHttp/7"]
    content = b"" if body is None else php_json(body)
    if body is not None:
        fields += ["Content-Type: application/json"]
    fields += ["Accept: application/json"]
    fields += [f"X-API-Token: {token}"] if token else []
    fields += lines
    fields += [f"Content-Length: {len(content)}"] if body is not None else []
    return "\r\n".join([*fields, "", ""]).encode() + content


async def exchange(port: int, data: bytes, within: float = PATIENCE) -> Reply:
    """Send one request and read its answer, whose length is known; raises TimeoutError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(within):
            writer.write(data)
            top = await reader.readuntil(b"\r\n\r\n")
            first, *rest = top.decode("latin-1").rstrip().split("\r\n")
            pairs = (line.partition(":") for line in rest)
            fields = {name.lower(): value.strip() for name, _, value in pairs}
            size = 0 if data.startswith(b"HEAD ") else int(fields.get("content-length", "0"))
            content = await reader.readexactly(size)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return Reply(int(first.split(" ")[1]), fields, content, top + content, closed=False)


class Guzzle:
    """An editor's calls to the proxy at ``url``: each on a connection of its own, as PHP makes them."""

    def __init__(self, url: str, token: str = "", *lines: str) -> None:
        target = urlsplit(url)
        assert target.port is not None
        self._port = target.port
        self._token = token
        self._lines = lines

    async def send(self, method: str, target: str, body: object = None) -> Reply:
        """The answer, whatever its status."""
        data = request(method, target, *self._lines, body=body, token=self._token)
        return await exchange(self._port, data)

    async def call(self, method: str, target: str, body: object = None) -> Any:
        """JSON of an answer, which must be a success."""
        reply = await self.send(method, target, body)
        assert 200 <= reply.status < 300, reply.raw
        return reply.json()

    async def post(self, target: str, **body: object) -> Mapping[str, Any]:
        """The same for an object."""
        answer: Mapping[str, Any] = await self.call("POST", target, body)
        return answer
