"""What the program tells of itself, and what it tries out for an editor, word for word."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

PROFILES = {"default", "hq", "lowlatency", "720p", "1080p", "hevc", "audio"}
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/115.0.0.0 Safari/537.36"
)
Launch = Callable[..., AbstractAsyncContextManager[Daemon]]


async def test_info_is_whole(daemon: Daemon) -> None:
    answer = await daemon.get("/info")
    assert answer.pop("ffmpeg_version").startswith("ffmpeg version ")
    assert answer.pop("version")
    tools = [answer.pop("streamlink_version"), answer.pop("ytdlp_version")]
    assert all(one is None or isinstance(one, str) for one in tools)
    transcoding = answer.pop("transcoding")
    assert transcoding["enabled"] is True
    assert transcoding["profiles"].keys() >= PROFILES
    assert all(template.startswith("-") for template in transcoding["profiles"].values())
    assert answer.pop("hardware_acceleration").keys() == {"enabled", "type", "device", "ffmpeg_args"}
    assert answer == {
        "redis": {
            "enabled": False,
            "pooling_enabled": True,
            "host": "localhost",
            "port": 6379,
            "db": 0,
            "max_clients_per_stream": 10,
            "stream_timeout": 15,
            "sharing_strategy": "url_profile",
        },
        "configuration": {
            "default_user_agent": AGENT,
            "client_timeout": 1,  # as the daemon of these tests is started
            "stream_timeout": 15,
            "cleanup_interval": 30,
            "max_retries": 3,
        },
        "worker": {"worker_id": "single", "heartbeat_interval": 30, "multi_worker_mode": False},
    }


async def test_info_has_no_secret(launch: Launch, tmp_path: Path) -> None:
    environ = {"API_TOKEN": "CANARY-A", "REDIS_PASSWORD": "CANARY-B", "REDIS_URL": "redis://u:CANARY-C@r:1/0"}
    async with launch(tmp_path, **environ) as daemon:
        headers = {"X-API-Token": "CANARY-A"}
        async with daemon.http.get("/info", headers=headers) as response:
            assert response.status == 200
            assert "CANARY" not in await response.text()


async def test_trap_48_health_takes_the_token_from_the_query(guarded: Daemon, token: str) -> None:
    answer = await guarded.get(f"/health?api_token={token}")
    assert answer.keys() == {
        "status",
        "root_path",
        "version",
        "uptime_seconds",
        "active_streams",
        "active_clients",
        "total_bytes_served",
        "stats",
    }
    assert (answer["status"], answer["root_path"]) in (("healthy", "/m3u-proxy"), ("degraded", "/m3u-proxy"))
    assert (await guarded.get("/health")).keys() == {"status"}
    async with guarded.http.get("/health?api_token=wrong") as response:
        assert response.status == 403


async def test_the_icon_is_an_icon(guarded: Daemon) -> None:
    async with guarded.http.get("/favicon.ico") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "image/vnd.microsoft.icon"
        assert (await response.read())[:4] == b"\0\0\1\0"


# -- connection test -----------------------------------------------------------------------------------------


async def tried(daemon: Daemon, url: str) -> dict[str, Any]:
    return await daemon.post("/test-connection", url=url)


async def test_a_connection_that_works(launch: Launch, tmp_path: Path, origin: Origin) -> None:
    origin.on("/up", Answer(body="CANARY", length=True))
    origin.on("/moved", Answer(status=302, headers={"Location": origin.url("/target")}))
    origin.on("/down", Answer(status=503, body="CANARY"))
    async with launch(tmp_path) as daemon:
        began = monotonic()
        assert await tried(daemon, origin.url("/up")) == {
            "success": True,
            "message": "Connection successful",
            "status_code": 200,
            "url_tested": origin.url("/up"),
        }
        assert monotonic() - began >= 0.02, "the time of an answer says little"
        for path, status in (("/moved", 302), ("/down", 503)):
            assert await tried(daemon, origin.url(path)) == {
                "success": False,
                "message": f"The server answered with status {status}",
                "error": "status",
                "status_code": status,
                "url_tested": origin.url(path),
            }
        assert not origin.path("/target").connections, "redirects are not followed"


async def test_a_trailing_slash_is_cut_from_what_was_tested(
    launch: Launch, tmp_path: Path, origin: Origin
) -> None:
    origin.on("/", Answer(body="up", length=True))
    async with launch(tmp_path) as daemon:
        answer = await tried(daemon, origin.url("/"))
        assert (answer["success"], answer["url_tested"]) == (True, origin.url("/").rstrip("/"))


async def test_what_is_not_reached_is_told_coarsely(launch: Launch, tmp_path: Path) -> None:
    """A43: coarsely, and not more than ten times a minute."""
    unreachable = {
        "success": False,
        "message": "The address cannot be reached from here",
        "error": "unreachable",
    }
    async with launch(tmp_path) as daemon:
        for url in (
            "http://127.0.0.1:1/",
            "http://169.254.169.254/latest/meta-data",
            "http://metadata.google.internal/x",
            "http://127.0.0.1:22/",
            f"{daemon.url}/health",
            "http://no-such-host.invalid/",
        ):
            assert await tried(daemon, url) == unreachable | {"url_tested": url.rstrip("/")}
        answer = await tried(daemon, "file:///etc/passwd")
        assert answer == {
            "success": False,
            "message": "URL must use HTTP or HTTPS protocol",
            "error": "invalid_url",
            "url_tested": "file:///etc/passwd",
        }


async def test_it_takes_five_seconds_at_most(launch: Launch, tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server, launch(tmp_path) as daemon:
        began = monotonic()
        answer = await tried(daemon, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/up")
        assert answer["error"] == "unreachable"
        assert 4 < monotonic() - began < 7


async def test_a43_it_is_no_port_scanner(launch: Launch, tmp_path: Path) -> None:
    async with launch(tmp_path) as daemon:
        answers = [await tried(daemon, "http://127.0.0.1:1/") for _ in range(11)]
        assert [answer["error"] for answer in answers] == ["unreachable"] * 10 + ["too_often"]
        assert answers[-1]["success"] is False


async def test_a_connection_test_needs_a_url(daemon: Daemon) -> None:
    async with daemon.http.post("/test-connection", json=[]) as response:
        assert response.status == 422
        (row,) = (await response.json())["detail"]
        assert (row["type"], row["loc"]) == ("missing", ["body", "url"])


# -- cookies file --------------------------------------------------------------------------------------------


async def test_a_file_of_cookies_is_judged_and_not_shown(daemon: Daemon, tmp_path: Path) -> None:
    jar = tmp_path / "cookies.txt"
    jar.write_text("# Netscape HTTP Cookie File\n.a.example\tTRUE\t/\tFALSE\t0\tname\tCANARY\n")
    other = tmp_path / "other.txt"
    other.write_text("CANARY")
    cases = {
        str(jar): (True, "The file is in the Netscape cookie format"),
        str(other): (False, "The file is not in the Netscape cookie format"),
        str(tmp_path / "none"): (False, "There is no regular, readable file at this path"),
        str(tmp_path): (False, "There is no regular, readable file at this path"),
        "cookies.txt": (False, "The path must be absolute"),
        "": (False, "The path must be absolute"),
    }
    for path, (valid, message) in cases.items():
        async with daemon.http.get("/validate-cookies-file", params={"path": path}) as response:
            assert response.status == 200
            assert await response.json() == {"valid": valid, "message": message}
    async with daemon.http.get("/validate-cookies-file") as response:
        assert response.status == 422
        assert (await response.json())["detail"][0]["loc"] == ["query", "path"]
