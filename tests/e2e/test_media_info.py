"""What editors show of the media: of the source from its tables, of FFmpeg's output from its own figures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Origin

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
    assert output["frame"] > 0
    assert output["speed"] > 0
    if form == "body":
        assert (output["video_codec"], output["resolution"]) == ("h264", "640x360")
        assert "audio_codec" not in output


async def shown(daemon: Daemon, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """``media_info`` and ``output_media_info``."""
    row = (await daemon.get(path))["stream"]
    return row["media_info"], row["output_media_info"]
