"""Guides of the lineup: kept, renewed beside those who read them, and refused where they are none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import BinaryIO

import pytest

from m3u_proxy.errors import NotFound, ProxyError, Unavailable, UpstreamError
from m3u_proxy.lineup import guide as module
from m3u_proxy.lineup.guide import GUIDES, Guide, Guides, guide_urls
from m3u_proxy.upstream.source import Source
from tests.support.attempts import at
from tests.support.fake_ffmpeg import until
from tests.support.origin import Answer, Origin

TV = b"<tv>" + b" " * 300 + b"</tv>"


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        yield server


def sources(url: str, more: Mapping[str, str]) -> Source:
    return at(url, headers=dict(more))


@pytest.fixture
async def guide(tmp_path: Path) -> AsyncIterator[Guide]:
    """One whose copy is never good enough."""
    one = Guide(tmp_path / "state" / "guide.xmltv", sources, refresh=0)
    yield one
    await one.aclose()


async def read(guide: Guide, url: str) -> bytes:
    return await asyncio.to_thread((await guide.get(url)).path.read_bytes)


async def renewed(guide: Guide) -> None:
    await until(lambda: not guide.is_busy)


async def test_an_old_guide_is_better_than_none(origin: Origin, guide: Guide) -> None:
    url = origin.url("/g.xml")
    page = Answer(body="<!DOCTYPE html><html><body>Subscription expired</body></html>")
    origin.on("/g.xml", Answer(body=TV, headers={"ETag": '"1"'}), Answer(status=304), page)
    for _ in range(4):
        assert await read(guide, url) == TV
        await renewed(guide)
    assert len(origin.path("/g.xml").connections) == 3  # one that failed is not asked again at once
    assert origin.path("/g.xml").requests[-1]["if-none-match"] == '"1"'
    assert await read(guide, url) == TV


async def test_nobody_waits_for_a_newer_guide(origin: Origin, guide: Guide) -> None:
    url = origin.url("/g.xml")
    origin.on("/g.xml", Answer(body=TV, length=True), Answer(mute=True))
    first = await guide.get(url)
    await renewed(guide)
    for _ in range(3):
        assert await asyncio.wait_for(guide.get(url), 20) is first
    assert guide.is_busy


async def test_who_asks_first_is_not_kept_for_long(
    origin: Origin, guide: Guide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    origin.on("/slow.xml", Answer(mute=True))
    origin.on("/g.xml", Answer(body=TV, length=True))
    with pytest.raises(Unavailable) as raised:
        await guide.get(origin.url("/slow.xml"))
    assert raised.value.retry_after
    assert guide.is_busy
    monkeypatch.setattr(module, "PATIENCE", 20.0)
    assert await read(guide, origin.url("/g.xml")) == TV  # the lineup names another one now
    await origin.until(lambda: origin.path("/slow.xml").live == 0)
    assert len(origin.path("/slow.xml").connections) == 1


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xef\xbb\xbf\n<?xml version='1.0'?><tv/>", "application/xml"),
        (b"<tv/>", "application/xml"),
        ("<tv/>".encode("utf-16"), "application/xml"),
        (b"\x1f\x8b\x08" + b"x" * 500, "application/gzip"),
        (b"\xfd7zXZ\0" + b"x" * 500, "application/x-xz"),
    ],
)
async def test_what_a_guide_may_be(origin: Origin, guide: Guide, body: bytes, content_type: str) -> None:
    origin.on("/g", Answer(body=body))
    copy = await guide.get(origin.url("/g"))
    assert copy.content_type == content_type
    assert await read(guide, origin.url("/g")) == body


async def test_who_ends_while_a_file_is_created_leaves_none(
    origin: Origin, guide: Guide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin.on("/g", Answer(body=b"<tv/>"))
    begun, may_go_on = threading.Event(), threading.Event()
    files: list[BinaryIO] = []
    create = module._create

    def slowly(path: Path) -> BinaryIO:
        begun.set()
        assert may_go_on.wait(20.0)
        files.append(create(path))
        return files[-1]

    monkeypatch.setattr(module, "_create", slowly)
    asking = asyncio.create_task(guide.get(origin.url("/g")))
    assert await asyncio.to_thread(begun.wait, 20.0)
    closing = asyncio.create_task(guide.aclose())
    await asyncio.sleep(0.05)
    may_go_on.set()
    await closing
    await asyncio.gather(asking, return_exceptions=True)
    assert files[0].closed
    assert not list(tmp_path.rglob("*.new"))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer(body=b"  <html><body>Login"), "web page"),
        (Answer(body=b'{"error":"expired"}'), "no guide"),
        (Answer(body=b""), "no guide"),
        (Answer(body=b"G" * 2_000, stall=1_000), "no guide"),
        (Answer(status=404), "404"),
    ],
)
async def test_what_is_no_guide(
    origin: Origin, guide: Guide, tmp_path: Path, answer: Answer, says: str
) -> None:
    origin.on("/g", answer)
    with pytest.raises(UpstreamError, match=says):
        await guide.get(origin.url("/g"))
    assert not list(tmp_path.rglob("*.xmltv*"))


async def test_every_guide_of_a_list_has_its_number(origin: Origin, tmp_path: Path) -> None:
    urls = [origin.url(f"/{n}.xml") for n in range(1, 4)]
    for number in range(1, 4):
        origin.on(f"/{number}.xml", Answer(body=b"<tv>%d</tv>" % number))
    attributes = {"url-tvg": f"file:///x, {urls[0]},{urls[1]}", "x-tvg-url": f"{urls[0]},{urls[2]}"}
    assert guide_urls(attributes) == urls
    guides = Guides(tmp_path, sources, refresh=60)
    for number in range(1, 4):
        one, url = guides.at(attributes, number)
        assert await read(one, url) == b"<tv>%d</tv>" % number
    for named, number in ((attributes, 4), ({}, 1), ({"url-tvg": "x"}, 1)):
        with pytest.raises(NotFound):
            guides.at(named, number)
    assert len(guide_urls({"url-tvg": ",".join(f"http://g{n}/" for n in range(20))})) == GUIDES
    await guides.aclose()


async def test_a_restart_keeps_the_copies(origin: Origin, tmp_path: Path) -> None:
    url = origin.url("/g.xml?password=CANARY")
    origin.on("/g.xml", Answer(body=TV, headers={"ETag": '"1"'}), Answer(status=500))
    before = Guides(tmp_path, sources, refresh=60)
    one, _ = before.at({"url-tvg": url}, 1)
    assert await read(one, url) == TV
    await renewed(one)
    await before.aclose()
    assert all(path.stat().st_mode & 0o77 == 0 for path in tmp_path.iterdir())
    after = Guides(tmp_path, sources, refresh=60)
    await asyncio.to_thread(after.recall)
    again, _ = after.at({"url-tvg": url}, 1)
    assert again.known(url)
    assert await read(again, url) == TV  # while it is asked for a newer one
    await renewed(again)
    assert [one.get("if-none-match") for one in origin.path("/g.xml").requests] == [None, '"1"']
    assert await read(again, url) == TV
    with pytest.raises(UpstreamError):
        await again.get(origin.url("/other.xml"))
    await after.aclose()


@pytest.mark.parametrize(
    "note", ["", "[]", '{"version": 1}', '{"version": 1, "url": 1, "content_type": "x"}']
)
async def test_a_note_that_tells_nothing_is_none(tmp_path: Path, note: str) -> None:
    (tmp_path / "guide.json").write_text(note)
    (tmp_path / "guide.xmltv").write_bytes(TV)
    guide = Guide(tmp_path / "guide.xmltv", sources, refresh=60)
    await asyncio.to_thread(guide.recall)
    assert guide.known("") is None
    await guide.aclose()


async def test_an_address_that_is_none_is_told(tmp_path: Path) -> None:
    guide = Guide(tmp_path / "guide.xmltv", sources, refresh=60)
    with pytest.raises(ProxyError) as raised:
        await guide.get("http://[bad/")
    assert raised.value.reason == "blocked"
    await guide.aclose()
