"""The description of the API: true, complete, and made from what validates requests."""

from __future__ import annotations

import inspect
import re
from typing import Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from m3u_proxy.web.openapi import document, said_of
from m3u_proxy.web.routes import ROUTES, Route
from tests.support.contract import PREFIX, PROTECTED, PUBLIC
from tests.support.daemon import Daemon
from tests.support.rawhttp import ask, head

PAGES = {("GET", "/docs"), ("GET", "/redoc"), ("GET", "/openapi.json")}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(ROUTES, root_path=PREFIX, version="1")


def test_it_is_valid_openapi(described: dict[str, Any]) -> None:
    errors = [error.message for error in OpenAPIV31SpecValidator(cast("Any", described)).iter_errors()]
    assert errors == []


def test_every_route_is_described_with_who_may_call_it(described: dict[str, Any]) -> None:
    found = {
        (method.upper(), path): "security" in operation
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }

    def plain(route: tuple[str, str]) -> tuple[str, str]:
        return route[0], re.sub(r"\{(\w+):.*?\}", r"{\1}", route[1])

    assert found.keys() == {plain(route) for route in PUBLIC | PROTECTED} - PAGES
    assert {route for route, guarded in found.items() if guarded} == {plain(route) for route in PROTECTED}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_says_what_its_handler_reads(route: Route) -> None:
    source = inspect.getsource(route.handler)
    read = {
        "read_model": re.search(r"read_model\(\s*request,\s*([\w.]+)", source),
        "read_query": re.search(r"read_query\(\s*request,\s*([\w.]+)", source),
    }
    for how, model in (("read_model", route.body), ("read_query", route.query)):
        found = read[how]
        assert (found and found[1].rpartition(".")[2]) == (model and model.__name__)
    summary, _ = said_of(route.handler)
    assert len(summary) > 10, f"the docstring of {route.handler.__name__} says nothing"
    assert "``" not in summary


def test_models_say_what_editors_may_send(described: dict[str, Any]) -> None:
    stream = described["components"]["schemas"]["StreamRequest"]
    assert stream["required"] == ["url"]
    assert {"type": "null"} in stream["properties"]["failover_urls"]["anyOf"]
    assert all(rule.get("description") for rule in stream["properties"].values())


@pytest.mark.asyncio(loop_scope="session")
async def test_it_is_served_without_a_token(guarded: Daemon) -> None:
    async with guarded.http.get("/openapi.json") as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        found = await response.json()
    assert found["servers"] == [{"url": PREFIX}]
    for path in ("/docs", "/redoc", f"{PREFIX}/docs"):
        reply = await ask(guarded.port, head(path))
        assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert f'content="{PREFIX}/openapi.json"'.encode() in reply.body
        assert not re.search(rb'(src|href)="https?:', reply.body)
