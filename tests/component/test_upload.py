"""A lineup that is sent to us: it must come to an end."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from m3u_proxy.web.context import Context
from m3u_proxy.web.editors import channels as module


async def test_a_lineup_that_trickles_in_for_ever_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    context = cast("Context", SimpleNamespace(config=SimpleNamespace(body_timeout=20.0)))

    async def handler(request: web.Request) -> web.Response:
        async for _ in module._body(context, request):
            pass
        return web.Response()

    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0][:2])
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        answer = asyncio.create_task(reader.readline())
        while not (await asyncio.wait([answer], timeout=0.05))[0]:
            writer.write(b"#")
        assert b" 408 " in await answer
        writer.transport.abort()
    finally:
        await runner.cleanup()
