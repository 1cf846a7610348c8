"""``POST /check``: whether a source can be played, and what the pool would do with it."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.daemon import Daemon
from tests.support.files import a_file
from tests.support.hls_lists import single
from tests.support.hls_media import HlsMedia, hls_media
from tests.support.hls_origin import HlsOrigin
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("ffprobe")]

KEYS = {
    *("playable", "reason", "detail", "kind", "codecs", "tracks", "bitrate", "duration", "first_byte_ms"),
    *("was_running", "pool"),
}


async def test_a_live_source(daemon: Daemon, origin: Origin) -> None:
    found = await daemon.post("/check", url=origin.url("/live.ts"))
    assert found.keys() == KEYS
    assert found["playable"] is True
    assert (found["kind"], found["reason"], found["was_running"]) == ("live", None, False)
    assert sorted(found["codecs"]) == ["aac", "h264"]
    assert 1_000_000 < found["bitrate"] < 20_000_000
    assert 0 <= found["first_byte_ms"] < 5000
    assert found["pool"]["sharing"] == "one connection for all viewers"
    assert found["pool"]["account"].startswith("127.0.0.1")
    assert found["pool"]["connections_allowed"] is None
    assert len(origin.path("/live.ts").connections) == 1
    assert await daemon.metric("upstream_connections") == 0  # let go of before the answer
    listed = await daemon.get("/streams")
    assert origin.url("/live.ts") not in [row["original_url"] for row in listed["streams"]]


async def test_a_source_that_is_watched_is_not_opened_again(daemon: Daemon, origin: Origin) -> None:
    url = origin.url("/live.ts")
    path = (await daemon.post("/streams", url=url))["stream_endpoint"]
    async with daemon.http.get(path) as response:
        await response.content.readexactly(188)
        found = await daemon.post("/check", url=url)
        assert (found["playable"], found["was_running"]) == (True, True)
        assert found["pool"]["connections_in_use"] == 1
        await response.content.readexactly(188 * 100)  # and it goes on
    assert len(origin.path("/live.ts").connections) == 1


@pytest.fixture(scope="module")
def media() -> HlsMedia:
    return hls_media()


async def test_an_hls_source(daemon: Daemon, media: HlsMedia) -> None:
    async with HlsOrigin() as provider:
        news = provider.add(single("news", media.high))
        provider.play("news", 4.0)
        found = await daemon.post("/check", url=provider.url(news.path()))
    assert (found["playable"], found["kind"]) == (True, "hls")
    assert {"aac", "h264"} <= set(found["codecs"])
    assert found["pool"]["sharing"] == "one request per playlist and segment for all viewers"


async def test_a_film(daemon: Daemon, origin: Origin, sample: bytes) -> None:
    origin.on("/film.ts", a_file(sample))
    found = await daemon.post("/check", url=origin.url("/film.ts"))
    assert (found["playable"], found["kind"]) == (True, "vod")
    assert {"aac", "h264"} <= set(found["codecs"])
    assert 7 < found["duration"] < 9
    assert found["pool"]["sharing"] == "one connection for each viewer"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer(status=404), "http_404", id="gone"),
        pytest.param(Answer(status=403), "http_4xx", id="forbidden"),
        pytest.param(Answer(body=b"<html>max connections</html>"), "not_media", id="html"),
    ],
)
async def test_a_source_that_is_not_playable_says_why(
    daemon: Daemon, origin: Origin, answer: Answer, reason: str
) -> None:
    origin.on("/bad.ts", answer, answer, answer, answer)
    found = await daemon.post("/check", url=origin.url("/bad.ts"))
    assert found["playable"] is False
    assert found["reason"] == reason
    assert found["detail"]
    assert origin.url("") not in found["detail"]
    assert found["codecs"] == []


async def test_tables_without_anything_behind_them_are_not_playable(daemon: Daemon, origin: Origin) -> None:
    found = await daemon.post("/check", url=origin.url("/none.ts"))
    assert (found["playable"], found["reason"]) == (False, "http_404")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://169.254.169.254/x", "rtmp://h/x", ""])
async def test_what_may_not_be_asked_is_422(daemon: Daemon, url: str) -> None:
    async with daemon.http.post("/check", json={"url": url}) as response:
        assert response.status == 422
        assert (await response.json())["detail"][0]["loc"] == ["body", "url"]


async def test_nothing_is_left_when_the_caller_hangs_up(daemon: Daemon, origin: Origin) -> None:
    origin.on("/mute.ts", Answer(ts=True, stall=188 * 20))

    async def is_open() -> bool:
        return len(origin.path("/mute.ts").connections) == 1

    async def is_left() -> bool:
        return all(one.closed is not None for one in origin.connections)

    asking = asyncio.ensure_future(daemon.post("/check", url=origin.url("/mute.ts")))
    await eventually(is_open)
    asking.cancel()
    await eventually(is_left)
    assert await daemon.metric("ffmpeg_processes") == 0
