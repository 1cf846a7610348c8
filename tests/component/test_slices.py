"""Long answers in slices: who does not read them is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from m3u_proxy.web import slices as module
from m3u_proxy.web.slices import send_slices
from tests.support.fake_ffmpeg import until


async def test_who_stops_reading_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    is_over = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield bytes(1 << 16)
        finally:
            is_over.set()

    is_cut: list[bool] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        response = await send_slices(request, web.StreamResponse(), endless())
        is_cut.append(request.transport is None or request.transport.is_closing())
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        _, writer = await asyncio.open_connection(*runner.addresses[0][:2], limit=1 << 16)
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await asyncio.wait_for(is_over.wait(), 20)
        await until(lambda: is_cut == [True])
        writer.transport.abort()
    finally:
        await runner.cleanup()
