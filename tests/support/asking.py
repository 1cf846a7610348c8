"""Questions at an even pace, and how long the answers took."""

from __future__ import annotations

import asyncio
import time

import aiohttp


async def waits(http: aiohttp.ClientSession, path: str, count: int) -> list[float]:
    """Ask ``count`` times within a second; seconds that each took, the longest last."""

    async def ask(at: float) -> float:
        await asyncio.sleep(at)
        began = time.monotonic()
        async with http.get(path) as response:
            await response.read()
        return time.monotonic() - began

    return sorted(await asyncio.gather(*(ask(number / count) for number in range(count))))
