"""What other sites may read, base paths, and HEAD."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.support.contract import PROTECTED, PUBLIC
from tests.support.daemon import Daemon
from tests.support.rawhttp import ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

ID = "0" * 32
MEDIA = [path.format(id=ID) for _, path in sorted(PUBLIC) if "/stream/" in path or "/hls/" in path]
CONTROL = [
    "/streams",
    f"/streams/{ID}",
    "/transcode",
    "/transcode/profiles",
    "/metrics",
    "/health",
    "/",
    "/ui",
]
STREAMED = ("/playlist.m3u", "/api/v1/channels", "/api/v1/channels/static-hls-m3u")
WORDS = (
    "Stream not found",
    "Channel not found",
    "No such check",
    "The lineup names no guide",
)
ORIGIN = "Origin: https://evil.example"


def cors(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def visible(headers: dict[str, str], ignored: set[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in ignored}


@pytest.mark.parametrize("prefix", ["", "/m3u-proxy"])
async def test_media_routes_may_be_read_by_any_page(daemon: Daemon, prefix: str) -> None:
    """A20, Trap 49: one value for the origin."""
    for path in MEDIA:
        for method in ("GET", "HEAD"):
            reply = await ask(daemon.port, head(prefix + path, ORIGIN, method=method))
            assert reply.status == 404
            assert reply.raw.lower().count(b"access-control-allow-origin") == 1
            assert cors(reply.headers) == {
                "access-control-allow-origin": "*",
                "access-control-allow-methods": "GET, HEAD, OPTIONS",
                "access-control-allow-headers": "*",
                "access-control-expose-headers": "*",
            }
            assert reply.headers["cache-control"] == "no-cache, no-store, must-revalidate"


async def test_a_preflight_of_a_media_route(daemon: Daemon) -> None:
    wanted = ("Access-Control-Request-Method: GET", "Access-Control-Request-Headers: range, x-own")
    for path in MEDIA:
        reply = await ask(daemon.port, head(path, ORIGIN, *wanted, method="OPTIONS"))
        assert (reply.status, reply.body) == (200, b"")
        assert cors(reply.headers) == {
            "access-control-allow-origin": "*",
            "access-control-allow-methods": "GET, HEAD, OPTIONS",
            "access-control-allow-headers": "range, x-own",
            "access-control-expose-headers": "*",
            "access-control-max-age": "600",
        }
        reply = await ask(daemon.port, head(path, ORIGIN, wanted[0], method="OPTIONS"))
        assert reply.headers["access-control-allow-headers"] == "*"


async def test_plain_options_of_a_media_route(daemon: Daemon) -> None:
    for path in MEDIA:
        reply = await ask(daemon.port, head(path, method="OPTIONS"))
        assert (reply.status, reply.body) == (204, b"")


async def test_management_routes_may_be_read_by_no_other_page(daemon: Daemon) -> None:
    """A20: nor asked for by a preflight."""
    preflight = (ORIGIN, "Access-Control-Request-Method: POST")
    for path in CONTROL:
        for data in (head(path, ORIGIN), head(path, *preflight, method="OPTIONS")):
            reply = await ask(daemon.port, data)
            assert cors(reply.headers) == {}, path


async def test_head_is_get_without_a_body(daemon: Daemon) -> None:
    made = await daemon.post("/streams", url="http://provider.example/head.ts")
    for _, path in sorted(PUBLIC | {row for row in PROTECTED if row[0] == "GET"}):
        if path == "/stream/{id}":
            continue  # an endless body has no length to compare
        target = path.format(id=made["stream_id"], name="ui.js", key="none", segment="none", job="none")
        methods = ("GET", "HEAD", "GET")
        got, headed, again = [await ask(daemon.port, head(target, method=method)) for method in methods]
        assert headed.body == b""
        assert headed.status == got.status, target
        ignored = {"date"}
        changes = path in ("/metrics", "/streams") or len(got.body) != len(again.body)
        if got.body == b"" or changes:
            ignored.add("content-length")
        if path in STREAMED:  # RFC 9110 §9.3.2
            ignored.add("transfer-encoding")
        assert visible(headed.headers, ignored) == visible(got.headers, ignored), target


async def test_every_route_answers_under_both_paths(daemon: Daemon) -> None:
    """Trap 38: with and without the prefix."""
    for method, path in sorted(PUBLIC | PROTECTED):
        target = path.format(id=ID, name="ui.css", client="nobody", key="none", segment="none", job="none")
        plain, prefixed = [
            await ask(daemon.port, head(prefix + target, method=method)) for prefix in ("", "/m3u-proxy")
        ]
        if path == "/api/v1/channels/check":  # 409 if the one begun a moment ago is not over yet
            assert plain.status in {202, 409}
            assert prefixed.status in {202, 409}
            continue
        assert plain.status == prefixed.status, target
        assert plain.status != 405
        if plain.status == 404:
            assert plain.json()["detail"] in WORDS, target


async def test_the_bare_prefix_leads_to_the_root(daemon: Daemon) -> None:
    for method in ("GET", "HEAD"):
        reply = await ask(daemon.port, head("/m3u-proxy", method=method))
        assert (reply.status, reply.headers["location"], reply.body) == (307, "/m3u-proxy/", b"")


async def test_another_root_path_and_none(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path
) -> None:
    async with launch(tmp_path / "a", ROOT_PATH="/tv/proxy") as daemon:
        for path, status in (("/tv/proxy/livez", 200), ("/livez", 200), ("/m3u-proxy/livez", 404)):
            assert (await ask(daemon.port, head(path))).status == status
        assert (await ask(daemon.port, head("/tv/proxy"))).headers["location"] == "/tv/proxy/"
        made = await daemon.post("/tv/proxy/streams", url="http://provider.example/a.ts")
        assert made["stream_endpoint"] == f"/stream/{made['stream_id']}"
        reply = await ask(daemon.port, head(f"/hls/{made['stream_id']}/playlist.m3u8?u=a%20b"))
        assert (reply.status, reply.headers["location"]) == (
            302,
            f"/tv/proxy/stream/{made['stream_id']}?u=a%20b",
        )
    async with launch(tmp_path / "b", ROOT_PATH="/") as daemon:
        assert (await ask(daemon.port, head("/livez"))).status == 200
        assert (await ask(daemon.port, head("/m3u-proxy/livez"))).status == 404
        made = await daemon.post("/streams", url="http://provider.example/a.ts")
        reply = await ask(daemon.port, head(f"/hls/{made['stream_id']}/playlist.m3u8"))
        assert reply.headers["location"] == f"/stream/{made['stream_id']}"
