"""What editors show of the media: of the source from its tables, of FFmpeg's output from its own figures."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.hls_lists import single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.inv import eventually
from tests.support.origin import Origin
from tests.support.player import HlsViewer

FORMATS = {
    "body": ("mpegts", "-i {input_url} -c:v copy -an -f mpegts {output_args|}"),
    "playlist": ("hls", "-i {input_url} -c:v copy -an -f hls {output_args|}"),
}


@pytest.mark.parametrize("form", FORMATS)
async def test_a_transcode_shows_its_source_and_its_output(daemon: Daemon, origin: Origin, form: str) -> None:
    output_format, template = FORMATS[form]
    made = await daemon.post(
        "/transcode", url=origin.url("/live.ts"), profile=template, output_format=output_format
    )
    path = f"/streams/{made['stream_id']}"
    assert (await shown(daemon, path)) == ({}, {})
    async with daemon.http.get(made["stream_endpoint"]) as player:
        assert player.status == 200

        async def told() -> bool:
            source, output = await shown(daemon, path)
            return {"frame", "speed", "bitrate_kbps"} <= output.keys() and "bitrate_kbps" in source

        await eventually(told, within=15)
        source, output = await shown(daemon, path)
    assert source.pop("bitrate_kbps") > 0
    assert source == {
        "container": "mpegts",
        "video_codec": "h264",
        "resolution": "640x360",
        "audio_codec": "aac",
        "audio_channels": 1,
    }
    assert output["container"] == "mpegts"
    assert (output["video_codec"], output["resolution"]) == ("h264", "640x360")
    assert "audio_codec" not in output
    assert output["frame"] > 0
    assert output["speed"] > 0


async def test_a_playlist_shows_what_is_in_its_segments(
    daemon: Daemon, provider: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = provider.add(single("news", media.high))
    provider.play("news")
    made = await daemon.post("/streams", url=provider.url(news.path()))
    path = f"/streams/{made['stream_id']}"
    assert (await shown(daemon, path)) == ({}, {})
    viewer = HlsViewer(http, daemon.url + made["stream_endpoint"])
    await viewer.watch(1.0, poll=0.2)
    assert viewer.segments
    source, output = await shown(daemon, path)
    assert source["container"] == "mpegts"
    assert source == {**source, **in_ffprobes_words(media.high.segments[0])}
    assert output == {}


def in_ffprobes_words(segment: bytes) -> dict[str, object]:
    """What ffprobe says of a segment."""
    entries = "stream=codec_type,codec_name,width,height,channels"
    asked = ["ffprobe", "-v", "error", "-show_entries", entries, "-of", "json", "-"]
    answer = subprocess.run(asked, input=segment, capture_output=True, timeout=60, check=True).stdout
    found: dict[str, object] = {}
    for track in json.loads(answer)["streams"]:
        found[f"{track['codec_type']}_codec"] = track["codec_name"]
        if track["codec_type"] == "video":
            found["resolution"] = f"{track['width']}x{track['height']}"
        else:
            found["audio_channels"] = track["channels"]
    return found


async def shown(daemon: Daemon, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """``media_info`` and ``output_media_info``."""
    row = (await daemon.get(path))["stream"]
    return row["media_info"], row["output_media_info"]
