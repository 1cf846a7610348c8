"""The whole lineup checked: what is told of each channel, and what viewers notice of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.inv import bad_lines, eventually, rig
from tests.support.origin import Answer, Origin
from tests.support.player import read_some
from tests.support.windows import add_channel

pytestmark = pytest.mark.needs("ffprobe")

CHECK = "/api/v1/channels/check"
FIELDS = {"key", "playable", "kind", "codecs", "bitrate", "first_byte_ms", "reason"}


async def begin(daemon: Daemon, **body: object) -> str:
    async with daemon.http.post(CHECK, json=body) as response:
        answer = await response.json()
        assert response.status == 202, answer
        return str(answer["job"])


async def results(daemon: Daemon, job: str, within: float = 40.0) -> dict[str, dict[str, Any]]:
    """By key, once all are there."""
    found: dict[str, Any] = {}

    async def over() -> bool:
        found.update(await daemon.get(f"{CHECK}/{job}"))
        return bool(found["done"] == found["total"])

    await eventually(over, within)
    return {row["key"]: row for row in found["results"]}


def live(origin: Origin, *names: str) -> None:
    for name in names:
        origin.on(f"/{name}.ts", Answer(ts=True))


def peak(origin: Origin) -> int:
    """Most connections that were open at the same time."""
    asked = [one for one in origin.connections if one.path is not None]
    return max(
        sum(one.opened <= moment.opened < (one.closed or time.monotonic()) for one in asked)
        for moment in asked
    )


async def test_every_channel_has_its_line(tmp_path: Path, origin: Origin) -> None:
    origin.on("/gone.ts", Answer(status=404, body="gone"))
    live(origin, "a", "b")
    async with rig(tmp_path, origin, STREAM_RETRY_ATTEMPTS="0") as daemon:
        for name, group in (("a", "News"), ("b", "News"), ("gone", "Film;Gone")):
            await add_channel(daemon, name, origin.url(f"/{name}.ts"), group=group)
        job = await begin(daemon)
        async with daemon.http.post(CHECK) as response:
            assert response.status == 409
            assert job in (await response.json())["detail"]
        rows = await results(daemon, job)
        assert rows.keys() == {"a", "b", "gone"}
        assert all(row.keys() == FIELDS for row in rows.values())
        for key in "ab":
            assert (rows[key]["playable"], rows[key]["kind"], rows[key]["reason"]) == (True, "live", None)
            assert sorted(rows[key]["codecs"]) == ["aac", "h264"]
            assert 1_000_000 < rows[key]["bitrate"] < 20_000_000
            assert rows[key]["first_byte_ms"] >= 0
        assert (rows["gone"]["playable"], rows["gone"]["reason"]) == (False, "http_404")
        assert rows["gone"]["first_byte_ms"] is None
        assert peak(origin) == 1
        part = await daemon.get(f"{CHECK}/{job}?offset=2")
        assert (part["done"], len(part["results"])) == (3, 1)

        assert (await results(daemon, await begin(daemon, group="film"))).keys() == {"gone"}
        async with daemon.http.post(CHECK, json={"group": "Fil"}) as response:
            assert (response.status, await response.json()) == (
                404,
                {"detail": "No channel is in the group 'Fil'"},
            )
        assert (await results(daemon, await begin(daemon, keys=["b"]))).keys() == {"b"}
        async with daemon.http.post(CHECK, json={"keys": ["goner"]}) as response:
            assert (response.status, (await response.json())["nearest"]) == (404, ["gone"])
        assert (await daemon.get("/streams"))["streams"] == []


async def test_viewers_come_first(tmp_path: Path, origin: Origin) -> None:
    live(origin, "a", "b", "c")
    limits = f"127.0.0.1:{origin.port}=1"
    async with rig(tmp_path, origin, ACCOUNT_LIMITS=limits) as daemon:
        for name in "abc":
            await add_channel(daemon, name, origin.url(f"/{name}.ts"))
        job = await begin(daemon)

        async def under_way() -> bool:
            return any(one.closed is None for one in origin.connections)

        await eventually(under_way, 5.0)
        path = (await daemon.post("/streams", url=origin.url("/c.ts")))["stream_endpoint"]
        began = time.monotonic()
        await read_some(daemon.http, path, 188 * 50)
        assert time.monotonic() - began < 3.0
        rows = await results(daemon, job)
        assert [rows[key]["reason"] for key in "abc"] == [None, None, None]
        assert peak(origin) == 1


async def test_what_is_watched_is_checked_where_it_is_open(tmp_path: Path, origin: Origin) -> None:
    live(origin, "a")
    async with rig(tmp_path, origin, ACCOUNT_LIMITS=f"127.0.0.1:{origin.port}=1") as daemon:
        await add_channel(daemon, "a", origin.url("/a.ts"))
        path = (await daemon.post("/streams", url=origin.url("/a.ts")))["stream_endpoint"]
        async with daemon.http.get(path) as response:
            await response.content.readexactly(188)
            rows = await results(daemon, await begin(daemon))
            assert rows["a"]["playable"] is True
            await response.content.readexactly(188 * 500)  # and it goes on
        assert len(origin.path("/a.ts").connections) == 1


async def test_called_off_nothing_of_it_goes_on(tmp_path: Path, origin: Origin) -> None:
    live(origin, "a", "b", "c")
    async with rig(tmp_path, origin) as daemon:
        for name in "abc":
            await add_channel(daemon, name, origin.url(f"/{name}.ts"))
        job = await begin(daemon)

        async def under_way() -> bool:
            return any(one.closed is None for one in origin.connections)

        await eventually(under_way, 5.0)
        async with daemon.http.delete(f"{CHECK}/{job}") as response:
            assert response.status == 200
        assert await daemon.metric("upstream_connections") == 0
        for method in ("GET", "DELETE"):
            async with daemon.http.request(method, f"{CHECK}/{job}") as response:
                assert response.status == 404


async def test_a_daemon_ends_in_the_middle_of_a_check(tmp_path: Path, origin: Origin) -> None:
    live(origin, "a")
    async with Daemon(tmp_path) as daemon:
        await add_channel(daemon, "a", origin.url("/a.ts"))
        await begin(daemon)

        async def under_way() -> bool:
            return any(one.closed is None for one in origin.connections)

        await eventually(under_way, 5.0)
    assert daemon.process.returncode == 0
    assert not bad_lines(daemon)


@asynccontextmanager
async def command(daemon: Daemon, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "m3u_proxy", "check", "lineup", *words),
        env={"PATH": os.environ["PATH"], "M3U_PROXY_URL": daemon.url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_the_command(tmp_path: Path, origin: Origin) -> None:
    origin.on("/gone.ts", Answer(status=404, body="gone"))
    live(origin, "a")
    async with rig(tmp_path, origin, STREAM_RETRY_ATTEMPTS="0") as daemon:
        await add_channel(daemon, "a", origin.url("/a.ts"), group="News")
        async with command(daemon, "--json") as process:
            out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        assert [row["key"] for row in json.loads(out)] == ["a"]
        await add_channel(daemon, "gone", origin.url("/gone.ts"))
        async with command(daemon) as process:
            out, err = await process.communicate()
        assert (process.returncode, err) == (1, b"")
        lines = out.decode().splitlines()
        assert lines[0].split()[:3] == ["CHANNEL", "PLAYS", "KIND"]
        assert "http_404" in next(line for line in lines if line.startswith("gone"))
        assert lines[-1] == "1 of 2 can be played."
        async with command(daemon, "--group", "News") as process:
            await process.communicate()
        assert process.returncode == 0

        async with command(daemon) as process:

            async def under_way() -> bool:
                return any(one.closed is None for one in origin.connections)

            await eventually(under_way, 10.0)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
        assert process.returncode == 1
        assert b"called off" in err
        assert b"Traceback" not in err
        job = await begin(daemon)  # there is none any more
        async with daemon.http.delete(f"{CHECK}/{job}") as response:
            assert response.status == 200
