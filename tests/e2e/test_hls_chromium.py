"""HLS sources through the daemon in headless Chromium: by hls.js, and by the browser's own player."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

import m3u_proxy
from tests.support.daemon import Daemon
from tests.support.hls_lists import single, variants
from tests.support.hls_media import HlsMedia, hls_media
from tests.support.hls_origin import File, HlsOrigin

pytestmark = pytest.mark.needs("chromium")

PATIENCE = 30.0
HLS_JS = Path(m3u_proxy.__file__).parent / "web" / "static" / "hls.light.min.js"

PAGE = b"""<!DOCTYPE html><title>player</title>
<video id="video" muted autoplay playsinline></video><script src="/hls.js"></script>
<script>
const video = document.getElementById("video");
const wrong = [];
video.addEventListener("error", () => wrong.push("video: " + video.error.code + " " + video.error.message));
function start(url, native) {
  if (native) { video.src = url; return; }
  const hls = new Hls({manifestLoadingMaxRetry: 0});
  hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) wrong.push(data.type + ": " + data.details); });
  hls.loadSource(url);
  hls.attachMedia(video);
}
function played(seconds) {
  return new Promise((done, fail) => {
    let from = Infinity;
    for (const event of ["playing", "seeking", "emptied"]) {
      video.addEventListener(event, () => { from = Infinity; });
    }
    const look = () => {
      if (wrong.length) fail(new Error(wrong.join("; ")));
      from = Math.min(from, video.currentTime);
      if (video.currentTime - from > seconds) {
        clearInterval(timer);
        done([video.getVideoPlaybackQuality().totalVideoFrames, video.webkitAudioDecodedByteCount]);
      }
    };
    const timer = setInterval(look, 100);
  });
}
</script>"""


@pytest.fixture(scope="session")
def media() -> HlsMedia:
    return hls_media()


@pytest.fixture
async def provider() -> AsyncIterator[HlsOrigin]:
    """A provider that has the page as well, so that every answer of the daemon crosses origins."""
    async with HlsOrigin() as server:
        server.file("/player.html", File(PAGE, "text/html"))
        server.file("/hls.js", File(HLS_JS.read_bytes(), "text/javascript"))
        yield server


@pytest.fixture
async def page(provider: HlsOrigin) -> AsyncIterator[Page]:
    arguments = ["--no-sandbox", "--disable-gpu", "--mute-audio", "--disable-background-networking"]
    async with async_playwright() as playwright:
        browser: Browser = await playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=arguments
        )
        opened = await browser.new_page()
        await opened.goto(provider.url("/player.html"))
        yield opened
        await browser.close()


async def plays(page: Page, url: str, *, native: bool = False, seconds: float = 3.0) -> None:
    """The picture moves and the sound is decoded for some seconds."""
    async with asyncio.timeout(PATIENCE):
        frames, sound = await page.evaluate(
            "([url, native, seconds]) => { start(url, native); return played(seconds); }",
            [url, native, seconds],
        )
    assert frames >= 25
    assert sound > 1000


async def endpoint(daemon: Daemon, url: str) -> str:
    """Absolute URL of a new stream."""
    return daemon.url + str((await daemon.post("/streams", url=url))["stream_endpoint"])


SOURCES = {
    "live": lambda media: single("tv", media.high),
    "ended": lambda media: single("tv", media.high, window=None),
    "fmp4": lambda media: single("tv", media.fmp4),
    "aes": lambda media: single("tv", media.encrypted, keys=media.keys),
    "variants": lambda media: variants("tv", media),
    "byte-ranges": lambda media: single("tv", media.high, one_file=True),
}


@pytest.mark.parametrize("kind", SOURCES)
async def test_hls_js_plays(
    daemon: Daemon, provider: HlsOrigin, page: Page, media: HlsMedia, kind: str
) -> None:
    provider.add(SOURCES[kind](media))
    provider.play("tv")
    await plays(page, await endpoint(daemon, provider.url("/tv/index.m3u8")))
    counts = provider.counts(r"/tv/.*-\d+\.(ts|m4s|key)")
    assert kind == "byte-ranges" or counts
    assert set(counts.values()) <= {1}, counts


async def test_the_browser_plays_a_file_and_seeks(
    daemon: Daemon, provider: HlsOrigin, page: Page, media: HlsMedia
) -> None:
    provider.file("/movie/film.mp4", File(media.mp4, "video/mp4"))
    await plays(page, await endpoint(daemon, provider.url("/movie/film.mp4")), native=True)
    await page.evaluate("video.currentTime = 30")
    async with asyncio.timeout(PATIENCE):
        await page.evaluate("played(2)")
    assert await page.evaluate("video.currentTime") > 31
