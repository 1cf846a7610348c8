"""Subcommands that speak to a running daemon, as a person calls them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")
Launch = Callable[..., AbstractAsyncContextManager[Daemon]]


async def cli(*words: str, **environ: str) -> tuple[int | None, str, str]:
    """Exit code, standard output and standard error of a command."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "m3u_proxy", *words),
        env={"PATH": os.environ["PATH"], **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30.0)
    return process.returncode, out.decode(), err.decode()


async def parsed(*words: str, **environ: str) -> Any:
    code, out, err = await cli(*words, "--json", **environ)
    assert (code, err) == (0, "")
    return json.loads(out)


@pytest.fixture
def where(daemon: Daemon) -> dict[str, str]:
    return {"M3U_PROXY_URL": daemon.url}


async def test_add_list_and_remove(daemon: Daemon, origin: Origin, where: dict[str, str]) -> None:
    url = origin.url("/live.ts?add")
    code, out, err = await cli(
        *("add", url, "--name", "Morning news", "--failover", origin.url("/spare.ts")),
        *("--user-agent", "VLC/3.0", "--header", "X-Own: 1"),
        **where,
    )
    assert (code, err) == (0, "")
    stream_id = out.split()[1]
    assert f"{daemon.url}/stream/{stream_id}" in out
    row = (await daemon.get(f"/streams/{stream_id}"))["stream"]
    assert (row["permanent"], row["user_agent"], row["headers"]) == (True, "VLC/3.0", {"X-Own": "1"})
    assert row["failover_urls"] == [origin.url("/spare.ts")]

    code, out, _ = await cli("ls", **where)
    line = next(line for line in out.splitlines() if stream_id in line)
    assert code == 0
    assert "Morning news" in line
    assert "1/2" in line
    assert [one["stream_id"] for one in await parsed("ls", **where) if one["stream_id"] == stream_id]

    code, out, _ = await cli("rm", "morning NEWS", **where)
    assert (code, out) == (0, f"Removed {stream_id}  Morning news\n")
    code, _, err = await cli("rm", stream_id, **where)
    assert code == 1
    assert "there is no stream" in err


async def test_a_transcode(daemon: Daemon, origin: Origin, where: dict[str, str]) -> None:
    made = await parsed("add", origin.url("/live.ts?hls"), "--profile", "720p", "--format", "hls", **where)
    assert made["stream_endpoint"] == f"/hls/{made['stream_id']}/playlist.m3u8"
    assert (await parsed("rm", made["stream_id"][:10], **where))["removed"] == [made["stream_id"]]


async def test_failover(daemon: Daemon, origin: Origin, where: dict[str, str]) -> None:
    origin.on("/second.ts", Answer(ts=True))
    made = await parsed(
        "add",
        origin.url("/live.ts?first"),
        "--failover",
        origin.url("/second.ts"),
        "--name",
        "Match",
        **where,
    )
    async with daemon.http.get(made["stream_endpoint"]) as response:
        await response.content.readexactly(188)
        code, out, err = await cli("failover", "match", **where)
        assert (code, err) == (0, "")
        assert out == "Match: source 2 now; 1 viewer stays\n"

        async def is_switched() -> bool:
            return len(origin.path("/second.ts").connections) == 1

        await eventually(is_switched)
    await cli("rm", "match", **where)


async def test_failover_without_a_spare_says_so(
    daemon: Daemon, origin: Origin, where: dict[str, str]
) -> None:
    made = await parsed("add", origin.url("/live.ts?alone"), **where)
    code, out, err = await cli("failover", made["stream_id"], **where)
    assert (code, out) == (1, "")
    assert err == "m3u-proxy: No failover is configured for this stream\n"


@pytest.mark.needs("ffprobe")
async def test_check(origin: Origin, where: dict[str, str]) -> None:
    code, out, err = await cli("check", origin.url("/live.ts"), **where)
    assert (code, err) == (0, "")
    lines = dict(line.split(None, 1) for line in out.splitlines())
    assert lines["playable"] == "yes"
    assert lines["video"].startswith("h264, ")
    assert lines["audio"].startswith("aac, ")
    code, out, _ = await cli("check", origin.url("/absent.ts"), "--json", **where)
    assert code == 1
    assert json.loads(out)["reason"] == "http_404"


async def test_top_shows_who_watches_what(daemon: Daemon, origin: Origin, where: dict[str, str]) -> None:
    made = await parsed("add", origin.url("/live.ts?top"), "--name", "The match", **where)
    path = f"{made['stream_endpoint']}?username=anna%1B[31m"
    async with daemon.http.get(path, headers={"User-Agent": "VLC/3.0"}) as response:
        reading = asyncio.ensure_future(response.content.readexactly(10**8))
        code, out, err = await cli("top", "--once", "--interval", "1", **where)
        found = await parsed("top", "--interval", "0.5", **where)
        reading.cancel()
    assert (code, err) == (0, "")
    row = next(line for line in out.splitlines() if line.startswith("The match"))
    assert "live" in row
    viewer = next(line for line in out.splitlines() if line.startswith("anna"))
    assert "The match" in viewer
    assert "Mbit/s" in viewer
    assert "\x1b" not in out
    assert found["clients"][0]["bitrate"] > 0
    await cli("rm", made["stream_id"], **where)


@pytest.mark.may_block("it reads a terminal")
async def test_top_on_a_terminal_ends_with_ctrl_c_and_exit_0(where: dict[str, str]) -> None:
    near, far = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "m3u_proxy", "top", "--interval", "0.2"),
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **where},
            stdin=far,
            stdout=far,
            stderr=far,
            start_new_session=True,
        )
        os.set_blocking(near, False)
        shown = bytearray()

        async def is_shown() -> bool:
            with contextlib.suppress(BlockingIOError):
                shown.extend(os.read(near, 65536))
            return shown.count(b"m3u_proxy 1") >= 2

        await eventually(is_shown, within=10.0)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 5.0) == 0
    finally:
        os.close(near)
        os.close(far)


async def test_health(daemon: Daemon, where: dict[str, str]) -> None:
    assert await cli("health", **where) == (0, "healthy\n", "")
    code, out, err = await cli("health", PORT="1")
    assert (code, out) == (1, "")
    assert "no daemon answers at http://127.0.0.1:1: Connection refused" in err


async def test_the_daemon_of_this_machine_is_found_by_its_port(daemon: Daemon) -> None:
    assert await cli("health", PORT=str(daemon.port)) == (0, "healthy\n", "")


async def test_tokens(guarded: Daemon, token: str) -> None:
    where = {"M3U_PROXY_URL": guarded.url}
    code, out, err = await cli("ls", **where)
    assert (code, out) == (1, "")
    assert "--token or API_TOKEN" in err
    code, _, err = await cli("ls", "--token", "wrong", **where)
    assert code == 1
    assert "Invalid API token" in err
    assert (await cli("ls", "--token", token, **where))[0] == 0
    assert (await cli("ls", API_TOKEN=token, **where))[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("add", "ftp://h/x"), "url: URL must use HTTP or HTTPS protocol", id="scheme"),
        pytest.param(("add", "http://h/x", "--header", "bad"), "--header 'bad' is not like", id="header"),
        pytest.param(("add", "http://h/x", "--profile", "4k"), "Profile '4k' not found", id="profile"),
        pytest.param(("ls", "--url", "provider.example"), "is no address of a daemon", id="url"),
    ],
)
async def test_errors_are_one_line(where: dict[str, str], words: tuple[str, ...], said: str) -> None:
    code, out, err = await cli(*words, **where)
    assert (code, out) == (1, "")
    assert err.startswith("m3u-proxy: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize("words", [("rm",), ("add",), ("fly",), ("top", "--interval", "0"), ("ls", "x")])
async def test_bad_usage_is_exit_2(words: tuple[str, ...]) -> None:
    code, out, err = await cli(*words)
    assert (code, out) == (2, "")
    assert "usage: m3u-proxy" in err


async def test_something_else_at_the_address(origin: Origin) -> None:
    origin.on("/health", Answer(body=b"<html>"))
    code, _, err = await cli("health", "--url", origin.url("").rstrip("/"))
    assert code == 1
    assert "no m3u-proxy" in err


async def test_a_proxy_for_the_internet_is_not_asked(daemon: Daemon) -> None:
    assert (await cli("health", PORT=str(daemon.port), http_proxy="http://127.0.0.1:1"))[0] == 0


async def test_a_token_is_not_carried_elsewhere(origin: Origin) -> None:
    origin.on("/health", Answer(status=302, headers={"Location": origin.url("/elsewhere")}))
    code, _, err = await cli("health", "--token", "CANARY", "--url", origin.url("").rstrip("/"))
    assert code == 1
    assert f"not at this address but at {origin.url('/elsewhere')}" in err
    assert not origin.path("/elsewhere").requests


async def test_what_speaks_no_http_is_told_from_a_daemon() -> None:
    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        code, _, err = await cli("health", PORT=str(server.sockets[0].getsockname()[1]))
    assert code == 1
    assert err.startswith("m3u-proxy: ")
    assert err.count("\n") == 1


async def test_an_address_with_a_blank_is_told_in_one_line() -> None:
    code, _, err = await cli("health", "--url", "http://127.0.0.1:1/a b")
    assert code == 1
    assert err.startswith("m3u-proxy: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", ["--print-env", "ls --json"])
async def test_whoever_reads_may_stop_reading(where: dict[str, str], words: str) -> None:
    command = f"{sys.executable} -m m3u_proxy {words} | true"
    process = await asyncio.create_subprocess_shell(
        command, env={"PATH": os.environ["PATH"], **where}, stderr=asyncio.subprocess.PIPE
    )
    _, err = await asyncio.wait_for(process.communicate(), 30.0)
    assert err == b""
