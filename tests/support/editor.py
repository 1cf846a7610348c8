"""A stand-in for the editor: it calls the proxy back while it answers, and takes its time.

``async with Editor(daemon.url) as editor:`` gives ``resolver_url`` and ``webhook_url``. Every call that it
makes on the way is timed: who is held up by a callback shows in ``calls``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self
from urllib.parse import urlencode

from aiohttp import web

from tests.support import strict_editor
from tests.support.guzzle import Guzzle
from tests.support.receiver import Received

RESOLVER = "/api/m3u-proxy/failover-resolver"
WEBHOOKS = "/api/m3u-proxy/webhooks"
EVENTS = ("client_connected", "client_disconnected", "stream_started", "stream_stopped")


@dataclass(frozen=True)
class Call:
    """A call back into the proxy, and the seconds it took."""

    method: str
    target: str
    seconds: float


@dataclass
class Doors:
    """How many are inside of a handler, and how many were at most at the same time."""

    inside: int = 0
    peak: int = 0

    def __enter__(self) -> None:
        self.inside += 1
        self.peak = max(self.peak, self.inside)

    def __exit__(self, *_: object) -> None:
        self.inside -= 1


@dataclass
class Editor:
    """The editor of the proxy at ``url``. ``nap`` is how long each handler sleeps, in seconds.

    ``next_url`` answers the resolver's question: URL in use → the next, None where there is none. What
    ``on_event`` does, it does inside the handler of the webhook.
    """

    url: str
    token: str = ""
    nap: float = 0.0
    next_url: dict[str, str | None] = field(default_factory=dict)
    on_event: Callable[[Editor, Received], Awaitable[None]] | None = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    events: list[Received] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    resolving: Doors = field(default_factory=Doors)
    told: Doors = field(default_factory=Doors)

    async def __aenter__(self) -> Self:
        self._guzzle = Guzzle(self.url, self.token)
        app = web.Application()
        app.router.add_post(RESOLVER, self._resolve)
        app.router.add_post(WEBHOOKS, self._hear)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.resolver_url, self.webhook_url = base + RESOLVER, base + WEBHOOKS
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def register(self) -> None:
        """As the editor does it every few minutes."""
        body = {"url": self.webhook_url, "events": list(EVENTS), "timeout": 5, "retry_attempts": 2}
        await self.call("POST", "/webhooks", body)

    async def call(self, method: str, target: str, body: object = None) -> Any:
        """A call to the proxy, timed; its answer must be a success."""
        began = monotonic()
        answer = await self._guzzle.call(method, target, body)
        self.calls.append(Call(method, target, monotonic() - began))
        return answer

    async def by_metadata(self, name: str, value: str) -> list[strict_editor.Row]:
        """Watched streams by what is in their metadata."""
        query = urlencode({"field": name, "value": value, "active_only": 1})
        return strict_editor.matching(await self.call("GET", f"/streams/by-metadata?{query}"))

    async def count(self, name: str, *values: str) -> dict[str, int]:
        """Watched streams for each value."""
        query = urlencode({"field": name, "values": ",".join(values), "active_only": 1})
        return strict_editor.counts(await self.call("GET", f"/streams/counts-by-metadata?{query}"), *values)

    async def end_oldest(self, name: str, value: str) -> int:
        """Make room: how many it was."""
        query = urlencode({"field": name, "value": value})
        return strict_editor.deleted(await self.call("DELETE", f"/streams/oldest-by-metadata?{query}"))

    async def streams(self) -> list[strict_editor.Row]:
        """The monitor page."""
        return strict_editor.streams(await self.call("GET", "/streams"))

    def of(self, stream_id: str) -> list[str]:
        """Types of the events about a stream, in their order."""
        return [one.type for one in self.events if one.body["stream_id"] == stream_id]

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        question = await request.json()
        self.asked.append(question)
        with self.resolving:
            await self.by_metadata("playlist_uuid", question["metadata"]["playlist_uuid"])
            await asyncio.sleep(self.nap)
            await self.by_metadata("playlist_uuid", question["metadata"]["playlist_uuid"])
        return web.json_response({"next_url": self.next_url.get(question["current_url"])})

    async def _hear(self, request: web.Request) -> web.StreamResponse:
        event = Received(monotonic(), dict(request.headers), await request.json())
        self.events.append(event)
        with self.told:
            if self.on_event is not None:
                await self.on_event(self, event)
            await asyncio.sleep(self.nap)
        return web.json_response({"status": "ok"})
