"""A lineup in, a lineup out: real players play its entries, and a restart loses none of them."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from m3u_proxy.model import plain_id
from tests.support.daemon import Daemon
from tests.support.hls_lists import single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin

PATIENCE = 40.0
SPEED = 4.0
QUIET = ("--no-config", "--vo=null", "--ao=null", "--ytdl=no", "--msg-level=all=error", "--length=2")


async def take(daemon: Daemon, *urls: str) -> None:
    """Import a lineup with these channels."""
    lines = [f'#EXTINF:-1 tvg-id="{n}" group-title="G{n}",Channel {n}\n{url}' for n, url in enumerate(urls)]
    body = "\r\n".join(["\ufeff#EXTM3U", *lines]).encode()
    headers = {"Content-Type": "audio/x-mpegurl"}
    async with daemon.http.post("/api/v1/channels/import", data=body, headers=headers) as response:
        assert response.status == 200, await response.text()


async def entries(daemon: Daemon) -> list[str]:
    """Addresses in the lineup that is given out."""
    async with daemon.http.get("/playlist.m3u") as response:
        text = await response.text()
    return [line for line in text.splitlines() if not line.startswith("#")]


async def run(*command: str) -> tuple[int, str]:
    """Exit code and all that a program says."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdout=pipe, stderr=asyncio.subprocess.STDOUT, start_new_session=True
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode(errors="replace")


@pytest.mark.needs("mpv", "ffprobe")
async def test_players_play_entries(
    daemon: Daemon, origin: Origin, provider: HlsOrigin, media: HlsMedia
) -> None:
    news = provider.add(single("news", media.high))
    provider.play("news", SPEED)
    await take(daemon, origin.url("/live.ts"), provider.url(news.path()))
    live, hls = await entries(daemon)
    assert live.endswith(f"/m3u-proxy/stream/{plain_id(origin.url('/live.ts'))}")
    assert hls.endswith("/playlist.m3u8")
    for url in (live, hls):
        code, said = await run("ffprobe", "-v", "error", "-show_entries", "stream=codec_name", url)
        assert (code, "h264" in said, "aac" in said) == (0, True, True), said
        assert await run("mpv", *QUIET, url) == (0, "")


@pytest.mark.needs("mpv")
async def test_mpv_plays_the_lineup_itself(daemon: Daemon, origin: Origin) -> None:
    origin.on("/other.ts", Answer(ts=True))
    await take(daemon, origin.url("/live.ts"), origin.url("/other.ts"))
    assert await run("mpv", *QUIET, f"{daemon.url}/playlist.m3u") == (0, "")
    assert all(origin.path(path).connections for path in ("/live.ts", "/other.ts"))


@pytest.mark.needs("cvlc", "root")
async def test_vlc_plays_the_lineup(daemon: Daemon, origin: Origin) -> None:
    await take(daemon, origin.url("/live.ts"))
    options = ("--no-color", "--vout=dummy", "--aout=dummy", "--play-and-exit", "--run-time=3")
    command = ("runuser", "-u", "nobody", "--", "cvlc", *options, f"{daemon.url}/playlist.m3u")
    playing = asyncio.create_task(run(*command))

    async def is_watched() -> bool:
        clients = (await daemon.get("/clients"))["clients"]
        return any("VLC" in one["user_agent"] and one["bytes_served"] > 250_000 for one in clients)

    try:
        await eventually(is_watched, within=20)
    finally:
        code, said = await playing
    assert code == 0, said


async def test_a_restart_keeps_the_lineup(tmp_path: Path, origin: Origin) -> None:
    urls = [origin.url("/live.ts"), *(f"http://provider.example/{n}.ts" for n in range(2_000))]
    async with Daemon(tmp_path) as daemon:
        await take(daemon, *urls)
        async with daemon.http.delete("/api/v1/channels/channel_7") as response:
            assert response.status == 200
        rows = (await daemon.get("/api/v1/channels"))["channels"]
        assert len(rows) == 2_000
    async with Daemon(tmp_path) as again:
        assert (await again.get("/api/v1/channels"))["channels"] == rows
        assert (await again.get("/streams"))["total"] == 0
        async with again.http.get(f"/stream/{plain_id(urls[0])}") as response:
            assert response.status == 200
            await response.content.readexactly(188)
