"""A scriptable editor at the other end of a webhook, as a real server in the loop of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Self

from aiohttp import web

from tests.support.patience import patience

Script = Callable[[web.Request], Awaitable[web.StreamResponse]]
TOO_MUCH = 10 * 1024 * 1024


@dataclass(frozen=True)
class Received:
    """One event as it arrived. ``at`` is monotonic."""

    at: float
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.body["event_type"])

    @property
    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = self.body["data"]
        return data


async def takes(_: web.Request) -> web.StreamResponse:
    """What the editor always answers."""
    return web.json_response({"status": "ok"})


async def hangs(_: web.Request) -> web.StreamResponse:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


async def talks(request: web.Request) -> web.StreamResponse:
    """Answers with 10 MB."""
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(TOO_MUCH // 65536):
        await response.write(b"x" * 65536)
    return response


def says(status: int, **headers: str) -> Script:
    """Answers with a status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    return answer


class Receiver:
    """``async with Receiver() as editor: editor.url; editor.events``."""

    def __init__(self, script: Script = takes) -> None:
        self.script = script
        self.events: list[Received] = []
        self._paths: list[str] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/api/webhooks"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.events.append(Received(monotonic(), dict(request.headers), body))
        self._news.set()
        return await self.script(request)

    def of(self, stream_id: str) -> list[Received]:
        """Events about one stream, in the order of their arrival."""
        return [one for one in self.events if one.body["stream_id"] == stream_id]

    def types(self, stream_id: str) -> list[str]:
        return [one.type for one in self.of(stream_id)]

    async def until(self, true: Callable[[], bool], within: float = 15.0) -> None:
        """Wait for events until something holds; TimeoutError after ``within`` seconds."""
        async with patience(within):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def until_told(self, stream_id: str, *types: str, within: float = 15.0) -> list[Received]:
        """Wait until this stream has been told of exactly these, in this order; what was told."""
        try:
            await self.until(lambda: self.types(stream_id)[-len(types) :] == list(types), within)
        except TimeoutError:
            raise AssertionError(f"told: {self.types(stream_id)}, wanted: {types}") from None
        return self.of(stream_id)
