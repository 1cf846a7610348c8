"""One request as bytes, one answer as it came: for what no client library would send."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

LIMIT = 1 << 20


@dataclass(frozen=True)
class Reply:
    """An answer. ``headers`` has names in lower case; ``raw`` is everything that came."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes
    closed: bool
    """Whether the server closed the connection."""

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def head(target: str, *lines: str, method: str = "GET") -> bytes:
    """A request without a body, to be answered and closed."""
    fields = ["Host: proxy.example", "Connection: close", *lines]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *fields, "", ""]).encode("latin-1")


def with_body(target: str, body: bytes, *lines: str) -> bytes:
    """A POST of JSON, whatever the body is."""
    fields = ["Content-Type: application/json", f"Content-Length: {len(body)}", *lines]
    return head(target, *fields, method="POST") + body


async def ask(port: int, data: bytes, within: float = 5.0) -> Reply:
    """Send ``data`` and read until the server closes or is silent for a moment after an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    raw, closed = b"", False
    try:
        writer.write(data)
        raw = await asyncio.wait_for(reader.read(65536), within)
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.3):
                while len(raw) < LIMIT:
                    piece = await reader.read(65536)
                    if not piece:
                        closed = True
                        break
                    raw += piece
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    top, _, body = raw.partition(b"\r\n\r\n")
    first, *rest = top.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
    return Reply(int(first.split(" ")[1]), fields, body, raw, closed)
