"""Real players play, probe and seek in files, on an account of one connection."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.support.daemon import Daemon
from tests.support.files import DATE
from tests.support.hls_media import SECONDS, HlsMedia, hls_media
from tests.support.inv import eventually
from tests.support.media import ffmpeg
from tests.support.origin import Answer, Origin

RATE = 1_500_000
"""Bytes per second of the provider: a film is on its way for two seconds."""
PATIENCE = 40.0
SEEKS = """
local targets = {30, 5, 20, 35, 1}
mp.register_event("playback-restart", function()
    local target = table.remove(targets, 1)
    if target then mp.commandv("seek", target, "absolute+exact") else mp.command("quit 7") end
end)
"""
LOOKED_AT = """async places => {
  const video = document.querySelector("video");
  const shown = [];
  for (const place of places) {
    const there = new Promise((done, failed) => {
      video.addEventListener("seeked", done, {once: true});
      video.addEventListener("error", () => failed(video.error.message), {once: true});
    });
    video.currentTime = place;
    await there;
    shown.push(Math.round(video.currentTime));
  }
  return [...shown, video.videoWidth, Math.round(video.duration)];
}"""


@pytest.fixture(scope="session")
def media() -> HlsMedia:
    return hls_media()


@pytest.fixture(params=[429, 403])
async def provider(request: pytest.FixtureRequest, media: HlsMedia) -> AsyncIterator[Origin]:
    """An account of one connection, in the words of different providers."""
    over = Answer(status=request.param, body="too many connections", length=True)
    async with Origin(limit=1, over=over) as server:
        for name, body in (("end", media.mp4), ("start", media.mp4_faststart), ("film", media.mkv)):
            suffix, kind = ("mkv", "video/x-matroska") if name == "film" else ("mp4", "video/mp4")
            headers = {"Content-Type": kind, "ETag": f'"{name}"', "Last-Modified": DATE}
            server.on(f"/movie/{name}.{suffix}", Answer(file=True, body=body, headers=headers, drip=RATE))
        yield server


async def film(daemon: Daemon, origin: Origin, name: str) -> str:
    """Address at the proxy."""
    made = await daemon.post("/streams", url=origin.url(f"/movie/{name}"))
    return daemon.url + str(made["stream_endpoint"])


async def run(*command: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a player."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd=cwd
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace"), err.decode(errors="replace")


async def let_go(daemon: Daemon, origin: Origin, name: str, *, least: int = 1) -> None:
    """Nobody was ever refused, and nothing is open any more."""
    log = origin.path(f"/movie/{name}")
    await origin.until(lambda: log.live == 0, within=3.0)
    assert origin.refused == 0, [fields.get("range") for fields in log.requests]
    assert log.peak == 1
    assert len(log.requests) >= least

    async def is_empty() -> bool:
        return not await daemon.metric("viewers")

    await eventually(is_empty, 0.5)


NAMES = ["end.mp4", "start.mp4", "film.mkv"]


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("name", NAMES)
async def test_ffprobe(daemon: Daemon, provider: Origin, name: str) -> None:
    url = await film(daemon, provider, name)
    code, out, err = await run(
        "ffprobe", "-v", "warning", "-show_streams", "-show_format", "-of", "json", url
    )
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert {one["codec_type"] for one in told["streams"]} == {"video", "audio"}
    assert float(told["format"]["duration"]) == pytest.approx(SECONDS, abs=0.5)
    await let_go(daemon, provider, name)


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("name", NAMES)
async def test_ffmpeg_seeks(daemon: Daemon, provider: Origin, name: str) -> None:
    url = await film(daemon, provider, name)
    for start in ("31", "3"):
        command = [ffmpeg(), "-v", "warning", "-progress", "pipe:1", "-ss", start, "-i", url, "-t", "2"]
        code, out, err = await run(*command, "-f", "null", "-")
        assert (code, err) == (0, "")
        assert 49 <= int(re.findall(r"frame=(\d+)", out)[-1]) <= 52
    await let_go(daemon, provider, name, least=2)


@pytest.mark.needs("mpv")
@pytest.mark.parametrize("name", NAMES)
async def test_mpv_seeks_to_and_fro(daemon: Daemon, provider: Origin, tmp_path: Path, name: str) -> None:
    script = tmp_path / "seeks.lua"
    script.write_text(SEEKS)
    url = await film(daemon, provider, name)
    options = ["--no-config", "--vo=null", "--ao=null", "--cache=no", "--start=10", f"--script={script}"]
    code, out, err = await run("mpv", *options, "--load-scripts=no", "--ytdl=no", url)
    assert code == 7, out + err
    assert "rror" not in out + err
    await let_go(daemon, provider, name, least=3)


@pytest.mark.needs("chromium")
@pytest.mark.parametrize("name", NAMES[:2])
async def test_chromium_seeks(daemon: Daemon, provider: Origin, name: str) -> None:
    url = await film(daemon, provider, name)
    arguments = ["--no-sandbox", "--disable-gpu", "--mute-audio", "--disable-background-networking"]
    async with async_playwright() as playwright, asyncio.timeout(PATIENCE):
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            page = await browser.new_page()
            await page.set_content(f'<video src="{url}" muted preload="metadata"></video>')
            await page.wait_for_function("document.querySelector('video').readyState >= 1")
            told = await page.evaluate(LOOKED_AT, [30, 4, 20])
        finally:
            await browser.close()
    assert told == [30, 4, 20, 640, SECONDS]
    await let_go(daemon, provider, name)
