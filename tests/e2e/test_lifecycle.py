"""The daemon starts, stops and dies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon, alive, descendants
from tests.support.fake_ffmpeg import until
from tests.support.inv import eventually
from tests.support.nginx import free_port
from tests.support.origin import Origin

COPY = "-i {input_url} -c copy -f hls index.m3u8"


async def play_both(daemon: Daemon, origin: Origin) -> tuple[aiohttp.ClientResponse, list[int]]:
    """A TS viewer and an HLS viewer; the open body and the children."""
    plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
    hls = (await daemon.post("/transcode", url=origin.url("/live.ts"), profile=COPY))["stream_endpoint"]
    body = await daemon.http.get(plain)
    await body.content.readexactly(188)
    async with daemon.http.get(hls) as response:
        assert response.status == 200, await response.text()
    children = descendants(daemon.pid)
    assert children
    return body, children


async def test_sigterm_leaves_nothing(tmp_path: Path, origin: Origin) -> None:
    """F62: SIGTERM with viewers."""
    async with Daemon(tmp_path) as daemon:
        body, children = await play_both(daemon, origin)
        loop = asyncio.get_running_loop()
        began = loop.time()
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.process.wait() == 0
        assert loop.time() - began < 9.0
        body.close()
    assert not [pid for pid in children if alive(pid)]
    assert list(daemon.segments.iterdir()) == []
    await origin.until(lambda: origin.path("/live.ts").live == 0)
    assert not [line for line in daemon.log if "Traceback" in line or "never retrieved" in line]


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
async def test_no_socket_gets_the_number_of_an_output_that_was_closed(tmp_path: Path, closed: str) -> None:
    port = free_port()
    places = {"STATE_DIR": str(tmp_path), "HOST": "127.0.0.1", "PORT": str(port)}
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'exec "$0" -m m3u_proxy {closed}', sys.executable),
        env={"PATH": os.environ["PATH"], **places},
    )
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

            async def answers() -> bool:
                try:
                    async with http.get("/livez") as response:
                        return response.status == 200
                except aiohttp.ClientConnectionError:
                    assert process.returncode is None
                    return False

            await eventually(answers, 20.0)
        assert os.readlink(f"/proc/{process.pid}/fd/1") == os.devnull
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20.0) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_readers_that_stand_still_do_not_hold_the_end(tmp_path: Path, origin: Origin) -> None:
    """F62: SIGTERM with viewers that take nothing."""
    async with Daemon(tmp_path, DRAIN="2") as daemon:
        endpoint = (await daemon.post("/transcode", url=origin.url("/live.ts"), profile=COPY))[
            "stream_endpoint"
        ]
        async with daemon.http.get(endpoint) as response:
            url = next(line for line in (await response.text()).splitlines() if not line.startswith("#"))
        still = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(20)]
        for one in still:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 4)
        for one in still:
            one.recv(1, socket.MSG_PEEK)
        began = asyncio.get_running_loop().time()
        daemon.process.send_signal(signal.SIGTERM)
        assert await daemon.process.wait() == 0
        assert asyncio.get_running_loop().time() - began < 4.0
        for one in still:
            one.close()


async def test_an_idle_daemon_stops_within_a_second(tmp_path: Path) -> None:
    """F61: SIGTERM, idle."""
    took = []
    for _ in range(3):
        async with Daemon(tmp_path) as daemon:
            began = asyncio.get_running_loop().time()
            daemon.process.send_signal(signal.SIGTERM)
            assert await daemon.process.wait() == 0
            took.append(asyncio.get_running_loop().time() - began)
    assert min(took) < 1.0  # a busy machine only adds to it


async def test_sigkill_leaves_no_ffmpeg_and_the_next_start_cleans_up(tmp_path: Path, origin: Origin) -> None:
    """F65: SIGKILL to the daemon."""
    async with Daemon(tmp_path) as daemon:
        body, children = await play_both(daemon, origin)
        (left,) = daemon.segments.iterdir()
        daemon.process.kill()
        await until(lambda: not any(alive(pid) for pid in children))
        body.close()
    assert left.exists()
    async with Daemon(tmp_path) as again:
        await until(lambda: not left.exists())

        async def is_counted() -> bool:
            return await again.metric("recovered_directories_total") == 1

        await eventually(is_counted)


async def test_a_second_signal_stops_at_once(tmp_path: Path, origin: Origin) -> None:
    async with Daemon(tmp_path) as daemon:
        body, children = await play_both(daemon, origin)
        for pid in children:
            os.kill(pid, signal.SIGSTOP)
        daemon.process.send_signal(signal.SIGTERM)
        await until(lambda: any("draining" in line for line in daemon.log))
        daemon.process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(daemon.process.wait(), 3.0)
        body.close()
        await until(lambda: not any(alive(pid) for pid in children))


async def test_probes(daemon: Daemon) -> None:
    for path in ("/livez", "/readyz", "/m3u-proxy/livez"):
        async with daemon.http.get(path) as response:
            assert response.status == 200
            assert await response.text() == "ok\n"
    health = await daemon.get("/health")
    assert health["status"] == "healthy"
    assert health["stats"]["total_clients"] == 0


async def run(tmp_path: Path, **environ: str) -> tuple[int, str]:
    """Exit code and output of a daemon that does not start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "m3u_proxy"),
        env={"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "STATE_DIR": str(tmp_path), **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 20.0)
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_bad_setting_is_one_line_and_exit_2(tmp_path: Path) -> None:
    code, output = await run(tmp_path, PORT="abc")
    assert code == 2
    assert len(output.splitlines()) == 1
    assert "PORT" in output
    assert "abc" in output


async def test_a_taken_port_is_named(daemon: Daemon, tmp_path: Path) -> None:
    code, output = await run(tmp_path, PORT=str(daemon.port))
    assert code == 1
    assert f"port {daemon.port}" in output
    assert "Traceback" not in output


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """F78: no place for segments at the start."""
    code, output = await run(tmp_path, PORT="0", HLS_TEMP_DIR="/proc/hls")
    assert code == 1
    assert "/proc/hls" in output
    assert "Traceback" not in output


async def test_a_file_in_place_of_the_directory_is_a_bad_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, output = await run(tmp_path, PORT="0", HLS_TEMP_DIR=str(tmp_path / "file" / "hls"))
    assert code == 2
    assert "HLS_TEMP_DIR" in output
    assert len(output.splitlines()) == 1


@pytest.mark.parametrize("token", ["secret-token"])
async def test_the_token_guards_everything_but_players(tmp_path: Path, token: str) -> None:
    async with Daemon(tmp_path, API_TOKEN=token) as daemon:
        for path, right in (("/streams", 401), ("/metrics", 401), ("/livez", 200), ("/health", 200)):
            async with daemon.http.get(path) as response:
                assert response.status == right, path
        async with daemon.http.get("/streams", headers={"X-API-Token": "wrong"}) as response:
            assert response.status == 403
        for headers in ({"X-API-Token": token}, {"Authorization": f"Bearer {token}"}):
            async with daemon.http.get("/streams", headers=headers) as response:
                assert response.status == 200
        assert not [line for line in daemon.log if token in line]
