"""Players: one that reads an endless body, one that follows a playlist."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urljoin

import aiohttp


async def polls(every: float) -> AsyncIterator[None]:
    """The moments at which a player that polls asks again, for ever."""
    while True:
        yield
        await asyncio.sleep(every)


async def read_some(http: aiohttp.ClientSession, path: str, size: int, within: float = 20.0) -> bytes:
    """The first ``size`` bytes of an endless body, which must answer 200."""
    data = bytearray()
    async with asyncio.timeout(within), http.get(path) as response:
        assert response.status == 200, await response.text()
        async for piece in response.content.iter_any():
            data += piece
            if len(data) >= size:
                break
    return bytes(data)


@dataclass
class HlsViewer:
    """Follows a playlist for a while and notes whatever a player would stumble over."""

    http: aiohttp.ClientSession
    path: str
    errors: list[str] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    media: bytearray = field(default_factory=bytearray)
    segments: list[str] = field(default_factory=list)
    first_playlist: float = 0.0
    """Seconds from the first request to the first playlist."""

    async def watch(self, seconds: float, poll: float = 0.5) -> None:
        """Poll and fetch; answers other than 200, empty bodies and a falling sequence are errors."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            text = await self._get_text(self.path)
            if text is not None:
                self.first_playlist = self.first_playlist or time.monotonic() - began
                await self._follow(text)
            await asyncio.sleep(poll)

    async def _get_text(self, path: str) -> str | None:
        async with self.http.get(path) as response:
            body = await response.text()
            if response.status != 200 or not body.startswith("#EXTM3U"):
                self.errors.append(f"playlist: {response.status} {body[:80]!r}")
                return None
            return body

    async def _follow(self, text: str) -> None:
        found = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text)
        sequence = int(found[1]) if found else 0
        if self.sequences and sequence < self.sequences[-1]:
            self.errors.append(f"sequence fell from {self.sequences[-1]} to {sequence}")
        self.sequences.append(sequence)
        if "#EXT-X-ENDLIST" in text:
            self.errors.append("ENDLIST on a live stream")
        for line in text.splitlines():
            if line and not line.startswith("#") and line not in self.segments:
                self.segments.append(line)
                await self._fetch(urljoin(self.path, line))

    async def _fetch(self, path: str) -> None:
        async with self.http.get(path) as response:
            body = await response.read()
            if response.status != 200 or not body:
                self.errors.append(f"segment: {response.status}, {len(body)} bytes")
            self.media += body
