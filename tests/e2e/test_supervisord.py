"""Under Debian's supervisord, with the file at the root of the project (A118)."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.support.daemon import alive, descendants
from tests.support.fake_ffmpeg import until
from tests.support.inv import eventually
from tests.support.origin import Origin
from tests.support.supervised import ROOT, Supervised, environ_of

COPY = "-i {input_url} -c copy -f hls index.m3u8"
HLS = {
    "HLS_GC_ENABLED": "false",
    "HLS_GC_INTERVAL": "61",
    "HLS_GC_AGE_THRESHOLD": "3661",
    "HLS_WAIT_TIME": "9",
    "HLS_SEGMENT_DURATION": "3",
    "HLS_WINDOW": "7",
    "BROADCAST_GC_ENABLED": "false",
}

pytestmark = pytest.mark.needs("supervisord")


async def play(supervised: Supervised, origin: Origin) -> int:
    """A viewer of HLS that FFmpeg writes; the process of that."""
    body = {"url": origin.url("/live.ts"), "profile": COPY}
    async with supervised.http.post("/transcode", json=body) as response:
        endpoint = (await response.json())["stream_endpoint"]
    async with supervised.http.get(endpoint) as response:
        assert response.status == 200, await response.text()
    (ffmpeg,) = descendants(supervised.daemon())
    return ffmpeg


def options(section: str) -> dict[str, str]:
    parser = RawConfigParser(inline_comment_prefixes=(";",))
    parser.read(ROOT / "supervisord.conf")
    return dict(parser[section])


def test_the_sample_is_as_strict_as_it_should_be() -> None:
    program = options("program:m3u-proxy")
    wanted = {
        "stopsignal": "TERM",
        "stopwaitsecs": "15",
        "startretries": "10",
        "stopasgroup": "true",
        "killasgroup": "true",
        "autorestart": "true",
        "redirect_stderr": "true",
        "stdout_logfile": "/dev/stdout",
        "stdout_logfile_maxbytes": "0",
    }
    assert {name: program[name] for name in wanted} == wanted
    text = (ROOT / "supervisord.conf").read_text()
    active = "\n".join(line for line in text.splitlines() if not line.startswith(";"))
    assert "inet_http_server" not in active
    assert "ENV_" not in active
    assert "pidproxy" not in active
    assert options("program:nginx")["autostart"] == "false"


async def test_the_environment_reaches_the_daemon(tmp_path: Path) -> None:
    async with Supervised(tmp_path, **HLS, API_TOKEN="s3cret") as supervised:
        assert environ_of(supervised.daemon()).items() >= supervised.environ.items()
        socket = supervised.checkout / "m3u-proxy-supervisor.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        async with supervised.http.get("/streams") as response:
            assert response.status == 401

        async def running() -> bool:
            return "RUNNING" in await supervised.control("status", "m3u-proxy")

        await eventually(running, within=20.0)
        assert any("listens on 127.0.0.1" in line for line in supervised.log)


async def test_it_survives_the_death_of_the_daemon(tmp_path: Path, origin: Origin) -> None:
    """F65, A118: SIGKILL to the daemon under supervisord."""
    async with Supervised(tmp_path) as supervised:
        ffmpeg, old = await play(supervised, origin), supervised.daemon()
        (left,) = supervised.segments.iterdir()
        os.kill(old, signal.SIGKILL)
        await until(lambda: not alive(ffmpeg))
        await until(lambda: not left.exists(), 10.0)
        await supervised.ready()
        assert supervised.daemon() != old
        # FFmpeg may still be asked what it can do.
        await until(lambda: descendants(supervised.process.pid) == [supervised.daemon()])


@pytest.mark.parametrize("left_out", ["", "stopasgroup|killasgroup|stopwaitsecs"])
async def test_restart_and_stop(tmp_path: Path, origin: Origin, left_out: str) -> None:
    """A118: also as an editor's supervisord does it, which signals the daemon alone."""
    supervised = Supervised(tmp_path)
    supervised.left_out = left_out
    async with supervised:
        ffmpeg, old = await play(supervised, origin), supervised.daemon()
        assert "m3u-proxy: started" in await supervised.control("restart", "m3u-proxy")
        assert not alive(old)
        assert not alive(ffmpeg)
        await supervised.ready()
        last = await play(supervised, origin)
        assert "m3u-proxy: stopped" in await supervised.control("stop", "m3u-proxy")
        assert not alive(last)
        assert descendants(supervised.process.pid) == []
        assert os.listdir(supervised.segments) == []


async def test_all_of_it_ends_in_time(tmp_path: Path, origin: Origin) -> None:
    """F62: SIGTERM to supervisord with viewers; nobody needs SIGKILL."""
    async with Supervised(tmp_path) as supervised:
        await play(supervised, origin)
        made = {"url": origin.url("/live.ts")}
        async with supervised.http.post("/streams", json=made) as response:
            endpoint = (await response.json())["stream_endpoint"]
        viewers = [await supervised.http.get(endpoint) for _ in range(20)]
        processes = descendants(supervised.process.pid)
        assert await supervised.end() < 9.0
        for viewer in viewers:
            viewer.close()
        assert supervised.process.returncode == 0
        assert not [pid for pid in processes if alive(pid)]
        assert not [line for line in supervised.log if "SIGKILL" in line or "Traceback" in line]
        assert any("stopped: m3u-proxy (exit status 0)" in line for line in supervised.log)


@pytest.mark.needs("netns")
async def test_the_death_of_supervisord_ends_the_container(tmp_path: Path, origin: Origin) -> None:
    """F66: as the first process of a container, supervisord takes everything with it."""
    supervised = Supervised(tmp_path)
    supervised.wrapper = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    async with supervised:
        async with supervised.http.post(
            "/transcode", json={"url": origin.url("/live.ts"), "profile": COPY}
        ) as response:
            endpoint = (await response.json())["stream_endpoint"]
        async with supervised.http.get(endpoint) as response:
            assert response.status == 200
        init, *processes = descendants(supervised.process.pid)
        assert len(processes) == 2
        os.kill(init, signal.SIGKILL)
        await until(lambda: not any(alive(pid) for pid in processes))
        await asyncio.wait_for(supervised.process.wait(), 15.0)


async def test_in_a_file_nobody_writes_over_the_lines_of_others(tmp_path: Path) -> None:
    """F107: the only line of a daemon that cannot start is still there after those of supervisord."""
    file = tmp_path / "log"
    supervised = Supervised(tmp_path, HLS_WINDOW="many")
    supervised.is_doomed = True
    supervised.wrapper = ("sh", "-c", 'exec "$@" >"$0" 2>&1', str(file))
    async with supervised:
        await until(lambda: file.exists() and "exit status 2" in file.read_text(), 20.0)
    lines = file.read_text().splitlines()
    assert any(line.startswith("HLS_WINDOW: 'many' is not allowed") for line in lines)
    assert "supervisord started" in "\n".join(lines[:4])
    assert supervised.log == []


async def test_a_bad_setting_is_told_and_does_not_spin(tmp_path: Path) -> None:
    """F107: the line is the last one before each new try, and tries become rare."""
    supervised = Supervised(tmp_path, HLS_WINDOW="many")
    supervised.is_doomed = True
    async with supervised:
        await until(lambda: any("exit status 2" in line for line in supervised.log), 20.0)
        told = [line for line in supervised.log if line.startswith("HLS_WINDOW: 'many' is not allowed")]
        assert len(told) == 1
        assert any("not expected" in line for line in supervised.log)
