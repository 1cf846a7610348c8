"""Long answers in slices: made while they are sent, for readers who take them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aiohttp import web

from m3u_proxy.web.middleware import finish

PATIENCE = 30.0
"""Seconds in which a reader has to make room for the next slice; then its connection is cut."""


async def send_slices(
    request: web.Request, response: web.StreamResponse, slices: AsyncGenerator[bytes]
) -> web.StreamResponse:
    """Head and slices, and the turn of others after each; the head alone to HEAD.

    Who stops reading would keep alive what the answer is made of, a lineup of long ago for instance.
    """
    finish(request, response)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    async with aclosing(slices):
        async for piece in slices:
            try:
                async with asyncio.timeout(PATIENCE):
                    await response.write(piece)
            except TimeoutError:
                if request.transport is not None:
                    request.transport.abort()
                return response
            await asyncio.sleep(0)
    await response.write_eof()
    return response
