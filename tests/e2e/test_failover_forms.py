"""A source that fails, and a spare of another form: a playlist for a live body, or the other way round."""

from __future__ import annotations

import asyncio
import re

from tests.support.daemon import Daemon
from tests.support.hls_channels import channel
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.hls_origin import playlist as answer
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin
from tests.support.player import read_some
from tests.support.tsverify import verify

SECOND = 250_000
COPY = "-i {input_url} -c copy -f hls -hls_time 1 index.m3u8"


async def test_a_live_body_whose_spare_is_a_playlist(
    daemon: Daemon, origin: Origin, provider: HlsOrigin, media: HlsMedia
) -> None:
    spare = channel(provider, "spare", media)
    provider.play("spare")
    origin.on("/one.ts", Answer(ts=True, fin=4 * SECOND), Answer(status=503))
    made = await daemon.post(
        "/streams", url=origin.url("/one.ts"), failover_urls=[provider.url(spare.path())]
    )
    async with daemon.http.get(made["stream_endpoint"]) as response:
        assert response.status == 200
        body = await asyncio.wait_for(response.content.read(), 20)  # ends, for a body cannot go on as a list
    assert len(body) > SECOND
    async with daemon.http.get(made["stream_endpoint"], allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith(f"/m3u-proxy/hls/{made['stream_id']}/playlist.m3u8")
    async with daemon.http.get(made["stream_endpoint"]) as response:
        assert response.status == 200
        assert (await response.text()).startswith("#EXTM3U")
    row = (await daemon.get(f"/streams/{made['stream_id']}"))["stream"]
    assert (row["stream_type"], row["current_failover_index"], row["state"]) == ("HLS", 1, "live")


async def test_a_playlist_whose_spare_is_a_live_body(
    daemon: Daemon, origin: Origin, provider: HlsOrigin, media: HlsMedia
) -> None:
    first = channel(provider, "first", media)
    provider.play("first")
    origin.on("/two.ts", Answer(ts=True))
    made = await daemon.post(
        "/streams", url=provider.url(first.path()), failover_urls=[origin.url("/two.ts")]
    )
    path = f"/hls/{made['stream_id']}/playlist.m3u8"
    async with daemon.http.get(path) as response:
        assert response.status == 200
    provider.on(first.path(), *[answer("gone", status=404)] * 50)

    async def is_sent_on() -> bool:
        async with daemon.http.get(path, allow_redirects=False) as response:
            assert response.status in (200, 302, 503), await response.text()
            return response.status == 302

    await eventually(is_sent_on, within=20, every=0.3)
    capture = await read_some(daemon.http, path, 4 * SECOND)
    report = verify(capture[: len(capture) // 188 * 188])
    assert report.clean, report
    assert len(origin.path("/two.ts").connections) == 1
    row = (await daemon.get(f"/streams/{made['stream_id']}"))["stream"]
    assert (row["stream_type"], row["current_failover_index"]) == ("Live Continuous", 1)


async def test_ffmpeg_begins_anew_under_the_same_playlist(
    daemon: Daemon, origin: Origin, provider: HlsOrigin, media: HlsMedia
) -> None:
    spare = channel(provider, "spare", media)
    provider.play("spare")
    origin.on("/one.ts", Answer(ts=True, fin=6 * SECOND), Answer(status=503))
    made = await daemon.post(
        "/transcode",
        url=origin.url("/one.ts"),
        failover_urls=[provider.url(spare.path())],
        profile=COPY,
    )
    shown: list[str] = []

    async def is_beyond() -> bool:
        async with daemon.http.get(made["stream_endpoint"]) as response:
            text = await response.text()
            assert response.status == 200, text
        shown.extend(re.findall(r"^#EXT-X-DISCONTINUITY$", text, re.MULTILINE))
        after = text.rpartition("#EXT-X-DISCONTINUITY\n")[2]
        return bool(shown) and after.count("#EXTINF") >= 2

    await eventually(is_beyond, within=40, every=0.5)
    async with daemon.http.get(made["stream_endpoint"]) as response:
        assert (await response.text()).count("#EXT-X-DISCONTINUITY\n") <= 1
    kinds = [
        event["kind"] for event in (await daemon.get(f"/streams/{made['stream_id']}/timeline"))["events"]
    ]
    assert "failover" in kinds
    assert "failed" not in kinds
