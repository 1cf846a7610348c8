"""Ids, names and addresses that strangers choose: in paths, answers and the log."""

from __future__ import annotations

import re

import pytest

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

IDS = [
    *(
        "..%2fx",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "%252e%252e",
        "{}",
        "%7Bid%7D",
        "<script>",
        "%3Cscript%3E",
        "*",
    ),
    *(
        "%0a",
        "%00",
        "%20",
        "%ff",
        "%C3%A9",
        "by-metadata%20",
        "streams",
        "-i",
        "0" * 31,
        "F" * 32,
        "a" * 4000,
    ),
]


@pytest.mark.parametrize("path", ["/streams/{}", "/stream/{}", "/hls/{}/playlist.m3u8", "/hls/{}/segment.ts"])
async def test_an_id_that_is_none_of_ours_is_404(daemon: Daemon, path: str) -> None:
    """A107."""
    for name in IDS:
        reply = await ask(daemon.port, head(path.replace("{}", name)))
        assert reply.status == 404, name
        assert reply.json()["detail"] in ("Stream not found", "Not Found")
        assert len(reply.raw) < 1000


async def test_an_id_of_a_megabyte_is_no_request(daemon: Daemon) -> None:
    reply = await ask(daemon.port, head("/streams/" + "a" * (1 << 20)))
    assert (reply.status, reply.closed) == (400, True)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "../routes.py",
            "..%2froutes.py",
            "%2e%2e/routes.py",
            "..%5croutes.py",
            "/etc/passwd",
            "%2fetc%2fpasswd",
        ),
        *("ui.css%00", "%252e%252e%252froutes.py", ".", "..", "", "ui.css/", "UI.CSS", "routes.py"),
    ],
)
async def test_static_files_are_a_fixed_table(daemon: Daemon, name: str) -> None:
    """A105."""
    reply = await ask(daemon.port, head(f"/static/{name}"))
    assert (reply.status, reply.json()) == (404, {"detail": "Not Found"})


async def test_odd_names_of_viewers_are_one_printable_line(daemon: Daemon, origin: Origin) -> None:
    """A107, A115."""
    path = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
    # a line break, an escape sequence, a right-to-left override, then more than anybody needs
    query = "username=a%0d%0ab%1b%5B31mc%E2%80%AEd" + "x" * 2000
    headers = {"User-Agent": "agent\t\x9b31m" + "y" * 4000, "X-Forwarded-For": "z" * 4000}
    before = len(daemon.log)
    async with daemon.http.get(f"{path}?{query}", headers=headers) as response:
        assert response.status == 200
        await response.content.readexactly(188)
        (client,) = (await daemon.get(path.replace("/stream/", "/streams/")))["clients"]
    for name in ("username", "user_agent", "ip_address"):
        assert client[name].isprintable()
        assert len(client[name]) == 256
    assert client["username"].startswith("a\ufffd\ufffdb\ufffd[31mc\ufffdd")
    assert not [line for line in daemon.log[before:] if re.search("[\x00-\x1f\x7f-\x9f\u202e]", line)]


async def test_a_forged_address_is_a_name_and_nothing_more(guarded: Daemon) -> None:
    """A16."""
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded"):
        async with guarded.http.get("/streams", headers={name: "127.0.0.1"}) as response:
            assert response.status == 401


async def test_a_client_is_the_same_when_it_comes_back(daemon: Daemon, origin: Origin) -> None:
    path = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
    seen = []
    for agent in ("VLC", "VLC", "mpv"):
        async with daemon.http.get(path, headers={"User-Agent": agent}) as response:
            seen.append(response.headers["X-Client-ID"])
    assert seen[0] == seen[1] != seen[2]
    assert all(re.fullmatch("client_[0-9a-f]{16}", name) for name in seen)


async def test_two_devices_with_one_name_both_play(daemon: Daemon, origin: Origin) -> None:
    """Trap 44: they do not end each other."""
    path = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"] + "?client_id=tv"
    async with daemon.http.get(path) as first, daemon.http.get(path) as second:
        assert first.headers["X-Client-ID"] == "tv"
        assert re.fullmatch("tv_[0-9a-f]{8}", second.headers["X-Client-ID"])
        await second.content.readexactly(188 * 50)
        await first.content.readexactly(188 * 50)


async def test_credentials_stay_in_the_fields_that_are_theirs(
    guarded: Daemon, origin: Origin, token: str
) -> None:
    origin.on("/live/CANARY/CANARY/1.ts", Answer(status=500))
    url = origin.url("/live/CANARY/CANARY/1.ts?password=CANARY", userinfo="CANARY:CANARY@")
    body = {"url": url, "headers": {"X-A": "CANARY"}, "failover_urls": [url + "2"]}
    headers = {"X-API-Token": token}
    async with guarded.http.post("/streams", json=body, headers=headers) as response:
        assert response.status == 200
        path = (await response.json())["stream_endpoint"]
    async with guarded.http.get(path) as response:
        assert response.status == 503
        assert "CANARY" not in await response.text()
        assert "CANARY" not in str(response.headers)
    for target in ("/health", "/metrics"):
        async with guarded.http.get(target, headers=headers) as response:
            assert "CANARY" not in await response.text()
    async with guarded.http.get("/streams", headers=headers) as response:
        (row,) = [row for row in (await response.json())["streams"] if row["original_url"] == url]
    shown = {name for name, value in row.items() if "CANARY" in str(value)}
    assert shown == {"original_url", "current_url", "failover_urls", "headers"}
    assert not [line for line in guarded.log if "CANARY" in line]
