"""A handler for which there is no memory left."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from m3u_proxy.web.middleware import answer


async def _starve(request: web.Request) -> web.StreamResponse:
    del request
    raise MemoryError


async def _answer(request: web.Request) -> web.StreamResponse:
    del request
    return web.Response(text="well")


async def test_one_request_fails_and_the_next_one_is_answered() -> None:
    """F83."""
    app = web.Application(middlewares=[answer])
    app.router.add_get("/large", _starve)
    app.router.add_get("/small", _answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as http:
            for _ in range(3):
                async with http.get("/large") as response:
                    assert response.status == 503
                    assert response.headers["Retry-After"]
                    assert "memory" in (await response.json())["detail"]
                async with http.get("/small") as response:
                    assert await response.text() == "well"
    finally:
        await runner.cleanup()
