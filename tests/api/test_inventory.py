"""No route was forgotten, and no fault of ours is told to a stranger."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from m3u_proxy.web.context import CONTEXT, Context, WebConfig
from m3u_proxy.web.middleware import Handler, answer
from m3u_proxy.web.routes import application
from tests.support.contract import PREFIX, PROTECTED, PUBLIC, both_forms


def _context() -> Context:
    """With nobody behind it."""
    config = WebConfig(PREFIX, "token", "agent", 1.0, 1024, 1.0, "0")
    needed = [one for one in fields(Context) if one.default is MISSING and one.default_factory is MISSING]
    return Context(config, *[cast("Any", None)] * (len(needed) - 1))


def _serving(handler: Handler) -> web.Application:
    app = web.Application(middlewares=[answer])
    app[CONTEXT] = _context()
    app.router.add_get("/", handler)
    return app


def test_every_route_is_public_or_protected() -> None:
    """A6."""
    app = application(_context())
    found = set()
    for route in app.router.routes():
        assert route.resource is not None
        found.add((route.method, route.resource.canonical))
    read_by_players = ("/stream/", "/hls/", "/hls_streams/", "m3u", "/xmltv")
    paths = {path.removeprefix(PREFIX) for _, path in PUBLIC}
    played = {path for path in paths if any(part in path for part in read_by_players)}
    media = both_forms({("OPTIONS", path) for path in played})
    bare = {("GET", PREFIX), ("HEAD", PREFIX)}
    assert found == both_forms(PUBLIC | PROTECTED) | media | bare


async def _faulty(request: web.Request) -> web.Response:
    raise RuntimeError("CANARY http://user:CANARY@provider.example/")


async def _breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 100
    await response.prepare(request)
    await response.write(b"half")
    raise RuntimeError("CANARY")


async def _written_to_nobody(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError("Cannot write to closing transport")


async def test_a_peer_that_has_gone_is_no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    app = _serving(_written_to_nobody)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(server.make_url("/"))
    assert not [record for record in caplog.records if record.name.startswith("m3u_proxy")]


async def test_an_unexpected_fault_is_a_neutral_500() -> None:
    """A112."""
    app = _serving(_faulty)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession(headers={"Accept": "text/html"}) as http,
        http.get(server.make_url("/")) as response,
    ):
        assert response.status == 500
        body = await response.json()
    assert body.keys() == {"detail", "id"}
    assert body["detail"] == "internal error"
    assert "CANARY" not in str(body)


async def test_a_body_that_breaks_off_does_not_look_complete() -> None:
    app = _serving(_breaks_off)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as http,
        http.get(server.make_url("/")) as response,
    ):
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
