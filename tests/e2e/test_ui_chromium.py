"""A person opens the page: a moving picture within ten seconds of the daemon's start."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.support.daemon import Daemon

pytestmark = pytest.mark.needs("chromium")

FIRST_PICTURE = 10.0
"""Seconds from the start of the daemon's process."""

# Resolves when the video has played on for that many seconds; a jump to the live edge does not count.
PLAYED = """seconds => new Promise(done => {
  const video = document.getElementById("video");
  let from = Infinity;
  for (const event of ["playing", "seeking", "emptied"]) {
    video.addEventListener(event, () => { from = Infinity; });
  }
  video.addEventListener("timeupdate", () => {
    from = Math.min(from, video.currentTime);
    if (video.currentTime - from > seconds) done(video.getVideoPlaybackQuality().totalVideoFrames);
  });
})"""


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A browser that plays muted video by itself, as browsers do."""
    arguments = ["--no-sandbox", "--disable-gpu", "--mute-audio", "--disable-background-networking"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        yield browser
        await browser.close()


async def open_page(browser: Browser, url: str) -> tuple[Page, list[str]]:
    """The page, and a list that collects what goes wrong in it."""
    page = await browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Security Policy" in said.text else None)
    await page.goto(url)
    return page, wrong


async def test_a_moving_picture_within_ten_seconds(chromium: Browser, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with Daemon(tmp_path, "--demo") as daemon:
        async with asyncio.timeout_at(began + FIRST_PICTURE):
            page, wrong = await open_page(chromium, f"{daemon.url}/ui")
            frames = await page.evaluate(PLAYED, 1.0)
        assert frames >= 20
        assert not wrong
        assert await page.locator("#now").inner_text() == "Demo channel, HLS"
        await page.close()


async def test_the_page_asks_for_the_token_and_works_below_a_root_path(
    chromium: Browser, tmp_path: Path
) -> None:
    async with Daemon(tmp_path, "--demo", API_TOKEN="open-sesame", ROOT_PATH="/tv/proxy") as daemon:
        page, wrong = await open_page(chromium, f"{daemon.url}/tv/proxy/ui")
        await page.get_by_label("Token", exact=True).fill("wrong")
        await page.keyboard.press("Enter")
        await page.get_by_text("That token was not accepted.").wait_for()
        await page.get_by_label("Token", exact=True).fill("open-sesame")
        await page.keyboard.press("Enter")
        assert await page.evaluate(PLAYED, 0.5) > 0
        assert "open-sesame" not in page.url + await page.content()
        assert not wrong
        await page.close()


async def test_what_others_wrote_is_shown_as_text(chromium: Browser, tmp_path: Path) -> None:
    """A117."""
    title = '<img src="x" onerror="document.title=1">'
    async with Daemon(tmp_path) as daemon:
        page, wrong = await open_page(chromium, f"{daemon.url}/ui")
        await page.get_by_role("heading", name="No streams now").wait_for()
        assert f"curl -X POST {daemon.url}/streams" in await page.locator("#example").inner_text()
        await daemon.post("/streams", url="http://provider.example/1.ts", metadata={"title": title})
        await page.reload()
        await page.get_by_role("rowheader", name=title).wait_for()
        assert await page.locator("table img").count() == 0
        assert await page.get_by_role("button", name="Play").count() == 0, "a browser plays no MPEG-TS"
        assert not wrong
        await page.close()
