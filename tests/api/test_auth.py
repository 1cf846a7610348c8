"""Who may call what."""

from __future__ import annotations

import pytest

from tests.support.contract import PREFIX, PROTECTED, PUBLIC, both_forms
from tests.support.daemon import Daemon
from tests.support.origin import Origin
from tests.support.rawhttp import ask, head, with_body

pytestmark = pytest.mark.asyncio(loop_scope="session")

ID = "0" * 32
MISSING = {"detail": "API token required. Provide token via X-API-Token header or api_token query parameter."}
WRONG = {"detail": "Invalid API token"}


def concrete(path: str) -> str:
    return path.format(id=ID, name="ui.css", client="nobody", key="none", segment="none", job="none")


async def test_a_protected_route_needs_the_token(guarded: Daemon, token: str) -> None:
    """A1, A2: without one 401, with a wrong one 403."""
    for method, path in sorted(both_forms(PROTECTED)):
        for headers, status, body in (
            ({}, 401, MISSING),
            ({"Authorization": "Basic dTpw"}, 401, MISSING),
            ({"X-API-Token": "wrong"}, 403, WRONG),
            ({"X-API-Token": token + "x"}, 403, WRONG),
            ({"X-API-Token": "\xff\xfe"}, 403, WRONG),
            ({"Authorization": "Bearer wrong"}, 403, WRONG),
        ):
            async with guarded.http.request(method, concrete(path), headers=headers) as response:
                assert response.status == status, (method, path, headers)
                assert response.headers["WWW-Authenticate"] == "Bearer"
                if method != "HEAD":
                    assert await response.json() == body
        async with guarded.http.request(method, concrete(path), headers={"X-API-Token": token}) as response:
            assert response.status not in (401, 403), (method, path)


async def test_other_methods_get_nothing_either(guarded: Daemon) -> None:
    for path in sorted({path for _, path in both_forms(PROTECTED)}):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            async with guarded.http.request(method, concrete(path)) as response:
                assert response.status in (401, 405), (method, path)


async def test_a_public_route_ignores_any_token(guarded: Daemon) -> None:
    for method, path in sorted(both_forms(PUBLIC)):
        if path.removeprefix(PREFIX) in ("/", "/health"):
            continue
        for headers in ({}, {"X-API-Token": "wrong"}):
            async with guarded.http.request(method, concrete(path), headers=headers) as response:
                status = response.status
        missing = "/stream/" in path or "/hls/" in path or "/hls_streams/" in path or "/xmltv" in path
        assert status == (404 if missing else 200), (method, path)


@pytest.mark.parametrize(
    "path", [f"/stream/{ID}", f"/hls/{ID}/playlist.m3u8", f"/hls/{ID}/segment.ts", f"/hls/{ID}/segment"]
)
async def test_an_open_route_with_a_url_needs_the_token(
    guarded: Daemon, origin: Origin, token: str, path: str
) -> None:
    target = f"{path}?url={origin.url('/live.ts')}"
    for method in ("GET", "HEAD"):
        for headers, status in (({}, 401), ({"X-API-Token": "wrong"}, 403)):
            async with guarded.http.request(method, target, headers=headers) as response:
                assert response.status == status
                assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not origin.connections
    if "segment" in path:
        async with guarded.http.get(f"{target}&api_token={token}") as response:
            assert response.status == 404
    assert not origin.connections


async def test_the_first_source_of_a_token_decides(guarded: Daemon, token: str) -> None:
    cases: list[tuple[str, dict[str, str], int]] = [
        ("/streams", {"X-API-Token": token}, 200),
        (f"/streams?api_token={token}", {}, 200),
        ("/streams", {"Authorization": f"Bearer {token}"}, 200),
        ("/streams", {"Authorization": f"bearer {token}"}, 200),
        (f"/streams?api_token={token}", {"X-API-Token": "wrong"}, 403),
        ("/streams?api_token=wrong", {"X-API-Token": token}, 200),
        ("/streams?api_token=wrong", {"Authorization": f"Bearer {token}"}, 403),
        (f"/streams?api_token={token}", {"Authorization": "Basic dTpw"}, 200),
    ]
    for path, headers, status in cases:
        async with guarded.http.get(path, headers=headers) as response:
            assert response.status == status, (path, headers)
            assert response.headers["Referrer-Policy"] == "no-referrer"


async def test_nothing_of_a_body_is_waited_for_without_the_token(guarded: Daemon) -> None:
    """A1: not even of 100 MB."""
    for extra in ((), ("Expect: 100-continue",)):
        fields = ("Content-Type: application/json", "Content-Length: 100000000", *extra)
        reply = await ask(guarded.port, head("/streams", *fields, method="POST"), within=5.0)
        assert reply.status == 401
        assert reply.raw.count(b"HTTP/1.1") == 1


async def test_health_is_short_without_the_token(guarded: Daemon, token: str) -> None:
    async with guarded.http.get("/health") as response:
        assert (response.status, await response.json()) == (200, {"status": "healthy"})
    async with guarded.http.get("/health", headers={"X-API-Token": "wrong"}) as response:
        assert (response.status, await response.json()) == (403, WRONG)
    async with guarded.http.get(f"/health?api_token={token}") as response:
        health = await response.json()
    assert health.keys() == {
        *("status", "root_path", "version", "uptime_seconds"),
        *("active_streams", "active_clients", "total_bytes_served", "stats"),
    }
    assert (health["status"], health["root_path"]) == ("healthy", "/m3u-proxy")
    assert health["stats"].keys() == {
        *("total_streams", "active_streams", "total_clients", "active_clients"),
        *("total_bytes_served", "total_segments_served", "uptime_seconds"),
    }
    assert all(type(value) is int for value in health["stats"].values())


async def test_the_root_is_a_word_for_programs_and_a_page_for_people(guarded: Daemon, token: str) -> None:
    for path in ("/", "/m3u-proxy/"):
        async with guarded.http.get(path) as response:
            assert response.status == 401
        async with guarded.http.get(path, headers={"Accept": "text/html"}, allow_redirects=False) as response:
            assert response.status == 302
            assert response.headers["Location"] == "/m3u-proxy/ui"
        async with guarded.http.get(path, headers={"X-API-Token": token}) as response:
            answer = await response.json()
        assert answer.keys() == {"status", "message", "version", "uptime", "stats"}
        assert (answer["status"], answer["message"]) == ("running", "m3u proxy is running")
        assert type(answer["uptime"]) is int


async def test_a_token_in_the_query_reaches_no_answer(guarded: Daemon, token: str) -> None:
    """A4: nor, by the fixture, the log."""
    reply = await ask(guarded.port, with_body(f"/streams?api_token={token}", b'{"url":"ftp://x/"}'))
    assert reply.status == 422
    assert token.encode() not in reply.raw
    reply = await ask(guarded.port, head(f"/metrics?api_token={token}"))
    assert reply.status == 200
    assert token.encode() not in reply.raw
