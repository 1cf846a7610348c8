"""A channel's last ten seconds as HLS: how much there is of it, who starts it, and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, descendants
from tests.support.fake_ffmpeg import until
from tests.support.inv import eventually, rig
from tests.support.origin import Answer, Origin
from tests.support.player import HlsViewer, polls, read_some
from tests.support.tsverify import verify
from tests.support.windows import add_channel, address, listed, number_of, on_disk

WATCHED = float(os.environ.get("CHANNEL_WATCH_SECONDS", "20"))
"""Seconds for which the window is watched: three times what it holds with the segments on their way out."""
WINDOW, CLEANUP, SEGMENT = 5, 5.0, 2.0
"""The defaults."""
SLACK = 0.5
"""Seconds that a look at the disk may come late."""


async def text_of(daemon: Daemon, path: str) -> str:
    async with daemon.http.get(path) as response:
        text = await response.text()
        assert response.status == 200, text
        return text


async def ask(daemon: Daemon, what: str, key: str) -> Any:
    return await daemon.get(f"/api/v1/channels/{what}/{key}")


async def starts(daemon: Daemon) -> float:
    return await daemon.metric("ffmpeg_starts_total")


def ffmpegs(daemon: Daemon) -> list[int]:
    found = []
    for pid in descendants(daemon.pid):
        try:
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8")
        except OSError:
            continue
        if "ffmpeg" in name:
            found.append(pid)
    return found


class Window:
    """Looks at a channel again and again, at its playlist and at the disk."""

    def __init__(self, daemon: Daemon, key: str) -> None:
        self.daemon, self.key = daemon, key
        self.mistakes: list[str] = []
        self.names: list[str] = []
        """Every segment that was ever listed, in order."""
        self.most = 0
        """Most files on disk at a time."""
        self._left_at: dict[str, float] = {}

    async def watch(self, seconds: float) -> None:
        """Note whatever is wrong."""
        began = time.monotonic()
        async for _ in polls(0.1):
            if time.monotonic() - began > seconds:
                return
            await self._look()

    async def _look(self) -> None:
        now = listed(await text_of(self.daemon, address(self.key)))
        self.names += [name for name in now if name not in self.names]
        if len(now) > WINDOW:
            self.mistakes.append(f"{len(now)} segments are listed")
        for name in now:
            async with self.daemon.http.head(f"/hls_streams/{self.key}/{name}") as response:
                if response.status != 200:
                    self.mistakes.append(f"{name} is listed: {response.status}")
        moment = time.monotonic()
        there = on_disk(self.daemon.segments)
        self.most = max(self.most, len(there))
        for name in there.intersection(self.names) - set(now):
            if moment - self._left_at.setdefault(name, moment) > CLEANUP + SLACK:
                self.mistakes.append(f"{name} is still there")
        for name in set(now) - there:
            self.mistakes.append(f"{name} is listed and not on disk")


@pytest.mark.timeout(WATCHED + 40)
async def test_never_more_than_the_window_and_never_less_than_is_listed(
    tmp_path: Path, origin: Origin
) -> None:
    async with rig(tmp_path, origin) as daemon:
        key = await add_channel(daemon, "News & Weather", origin.url("/live.ts"))
        plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
        await text_of(daemon, address(key))
        window, viewer = Window(daemon, key), HlsViewer(daemon.http, address(key))
        await asyncio.gather(
            window.watch(WATCHED), viewer.watch(WATCHED), read_some(daemon.http, plain, 300_000)
        )
        assert window.mistakes == []
        assert viewer.errors == []
        assert verify(bytes(viewer.media)).clean
        assert len(window.names) >= WATCHED / SEGMENT - 2
        assert [number_of(name) for name in window.names] == list(range(len(window.names)))
        assert WINDOW < window.most <= WINDOW + CLEANUP / SEGMENT + 1
        assert len(origin.path("/live.ts").connections) == 1
        assert await starts(daemon) == 1
        assert await daemon.metric("viewers") == 1  # both players are one by their address and their program

        async def over() -> bool:
            return not ffmpegs(daemon) and not on_disk(daemon.segments)

        await eventually(over, 8.0)


async def test_a_killed_ffmpeg_is_replaced_under_the_same_playlist(tmp_path: Path, origin: Origin) -> None:
    async with rig(tmp_path, origin) as daemon:
        key = await add_channel(daemon, "News", origin.url("/live.ts"))
        await ask(daemon, "start-stream", key)
        viewer = HlsViewer(daemon.http, address(key))
        watching = asyncio.create_task(viewer.watch(14.0, poll=0.1))
        await until(lambda: len(viewer.segments) >= 2)
        (pid,) = ffmpegs(daemon)
        before = len(viewer.segments)
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        await until(lambda: len(viewer.segments) > before)
        assert time.monotonic() - killed <= 3.0
        await watching
        assert viewer.errors == []
        numbers = [number_of(name) for name in viewer.segments]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        text = await text_of(daemon, address(key))
        passed = re.search(r"#EXT-X-DISCONTINUITY-SEQUENCE:(\d+)", text)
        seams = text.splitlines().count("#EXT-X-DISCONTINUITY") + int(passed[1] if passed else 0)
        assert seams == 1
        assert len(origin.path("/live.ts").connections) == 1
        await ask(daemon, "stop-stream", key)


async def test_what_was_started_stays_until_it_is_stopped_or_nobody_comes(
    tmp_path: Path, origin: Origin
) -> None:
    async with rig(tmp_path, origin, STREAM_TIMEOUT="5") as daemon:
        key = await add_channel(daemon, "News", origin.url("/live.ts"))
        assert (await ask(daemon, "stop-stream", key))["channel"] == "News"  # nothing runs
        assert (await ask(daemon, "stream-status", key))["process_status"] == "stopped"
        answer = await ask(daemon, "start-stream", key)
        assert answer["hls_url"] == address(key)
        (client,) = (await daemon.get("/clients"))["clients"]
        assert client["ip_address"] == "internal"
        status = await ask(daemon, "stream-status", key)
        assert (status["process_status"], status["cleanup_running"]) == ("running", True)
        assert status["master_playlist_exists"] is True
        assert status["segment_count"] >= 1
        assert 1 <= status["estimated_buffer_seconds"] <= 4
        assert await daemon.get("/api/v1/channels/streams-status") == {"streams": [status], "total": 1}
        await ask(daemon, "stop-stream", key)
        assert not ffmpegs(daemon)
        assert (await daemon.get("/clients"))["clients"] == []

        began = time.monotonic()
        await ask(daemon, "start-stream", key)

        async def nobody() -> bool:
            return not (await daemon.get("/clients"))["clients"]

        await eventually(nobody, 10.0)
        assert time.monotonic() - began >= 4.0  # STREAM_TIMEOUT, and longer than an HLS viewer may be silent
        sequence = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", await text_of(daemon, address(key)))
        assert sequence is not None
        assert int(sequence[1]) > 0  # never falls, also over a stop


async def test_deleted_or_taken_from_the_lineup_nothing_is_left(tmp_path: Path, origin: Origin) -> None:
    async with rig(tmp_path, origin) as daemon:
        key = await add_channel(daemon, "News", origin.url("/live.ts"))
        await ask(daemon, "start-stream", key)
        (client,) = (await daemon.get("/clients"))["clients"]
        async with daemon.http.delete(f"/streams/{client['stream_id']}") as response:
            assert response.status == 200
        assert not ffmpegs(daemon)
        assert (await ask(daemon, "stream-status", key))["process_status"] == "stopped"
        await ask(daemon, "start-stream", key)
        assert len(ffmpegs(daemon)) == 1
        async with daemon.http.delete(f"/api/v1/channels/{key}") as response:
            assert response.status == 200

        async def over() -> bool:
            return not ffmpegs(daemon) and not (await daemon.get("/clients"))["clients"]

        await eventually(over, 5.0)
        async with daemon.http.get(address(key)) as response:
            assert response.status == 404


async def test_two_clients_race_start_and_stop(tmp_path: Path, origin: Origin) -> None:
    async with rig(tmp_path, origin) as daemon:
        key = await add_channel(daemon, "News", origin.url("/live.ts"))
        most = 0

        async def call(what: str, times: int) -> list[tuple[int, str]]:
            nonlocal most
            answers = []
            for _ in range(times):
                async with daemon.http.post(f"/api/v1/channels/{what}/{key}") as response:
                    answers.append((response.status, await response.text()))
                most = max(most, len(ffmpegs(daemon)))
            return answers

        started, stopped = await asyncio.gather(call("start-stream", 6), call("stop-stream", 20))
        assert {status for status, _ in stopped} == {200}
        assert {status for status, _ in started} <= {200, 503}, started
        both = await asyncio.gather(call("start-stream", 1), call("start-stream", 1))
        assert [rows[0][0] for rows in both] == [200, 200]
        assert len(ffmpegs(daemon)) == most == 1
        assert origin.path("/live.ts").peak == 1
        await call("stop-stream", 1)
        assert not ffmpegs(daemon)


async def test_a_source_that_says_nothing_is_told_in_words(tmp_path: Path, origin: Origin) -> None:
    origin.on("/mute.ts", Answer(mute=True))
    async with rig(tmp_path, origin, HLS_WAIT_TIME="1") as daemon:
        key = await add_channel(daemon, "Mute", origin.url("/mute.ts"))
        async with daemon.http.get(f"/api/v1/channels/start-stream/{key}") as response:
            assert response.status == 503
            assert (await response.json())["detail"] == "Nothing that can be played has come within 1 s"


@pytest.mark.parametrize("fault", ["http_404", "not_media", "refused"])
async def test_a_dead_source_is_told_at_once(tmp_path: Path, origin: Origin, fault: str) -> None:
    origin.on("/http_404.ts", Answer(status=404, body="gone"))
    page = {"Content-Type": "text/html"}
    origin.on("/not_media.ts", Answer(body="<html>pay first</html>" * 20, headers=page))
    url = "http://127.0.0.1:1/live.ts" if fault == "refused" else origin.url(f"/{fault}.ts")
    async with rig(tmp_path, origin, STREAM_RETRY_ATTEMPTS="0") as daemon:
        key = await add_channel(daemon, "Dead", url)
        began = time.monotonic()
        async with daemon.http.get(f"/api/v1/channels/start-stream/{key}") as response:
            answer = await response.json()
            assert response.status == 503, answer
            assert answer["detail"]
            assert url not in answer["detail"]
        assert time.monotonic() - began < 10.0
        status = await ask(daemon, "stream-status", key)
        assert (status["process_status"], status["reason"]) == ("failed", fault)
        assert status["segment_count"] == 0
        assert "was not running" in (await ask(daemon, "stop-stream", key))["message"]
        assert (await ask(daemon, "stream-status", key))["process_status"] == "stopped"
        assert (await daemon.get("/api/v1/channels/streams-status"))["total"] == 0
        assert (await daemon.get("/clients"))["clients"] == []
        assert not ffmpegs(daemon)


@pytest.mark.needs("ffprobe", "mpv", "cvlc", "runuser")
async def test_players_play_it(tmp_path: Path, origin: Origin) -> None:
    async with rig(tmp_path, origin) as daemon:
        key = await add_channel(daemon, "News", origin.url("/live.ts"))
        await ask(daemon, "start-stream", key)
        url = f"{daemon.url}/m3u-proxy{address(key)}"
        probed, mpv, vlc = await asyncio.gather(
            said("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url),
            said("mpv", "--no-config", "--vo=null", "--ao=null", "--length=6", "--msg-level=all=info", url),
            said(
                *("runuser", "-u", "nobody", "--", "cvlc", "-I", "dummy", "--vout=dummy", "--aout=adummy"),
                *("--no-interact", "-vv", "--run-time=8", "--play-and-exit", url, "vlc://quit"),
            ),
        )
        assert set(probed.split()) == {"aac", "h264"}
        assert "VO: [null] 640x360" in mpv, mpv
        assert "Exiting... (End of file)" in mpv, mpv
        assert re.search(r"received first picture|using video decoder module", vlc), vlc[-3000:]
        await ask(daemon, "stop-stream", key)


async def said(*command: str) -> str:
    """All that a player writes until it ends by itself."""
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(40.0):
            written, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return written.decode(errors="replace")
