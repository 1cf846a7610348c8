"""``/transcode``: requests and answers, word for word."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.daemon import Daemon

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = "http://provider.example/live/u/p/102.m3u8"
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/115.0.0.0 Safari/537.36"
)
TO_HLS = "-i {input_url} -c:v libx264 -f hls index.m3u8"
TO_TS = "-i {input_url} -c copy -f mpegts {output_args}"


async def transcode(daemon: Daemon, **body: Any) -> dict[str, Any]:
    return await daemon.post("/transcode", **{"url": SOURCE, **body})


async def test_hls_output(daemon: Daemon) -> None:
    answer = await transcode(daemon, profile=TO_HLS, metadata={"type": "channel"})
    stream_id = answer["stream_id"]
    assert re.fullmatch("[0-9a-f]{32}", stream_id)
    endpoint = f"/hls/{stream_id}/playlist.m3u8"
    assert answer == {
        "stream_id": stream_id,
        "primary_url": SOURCE,
        "failover_urls": [],
        "user_agent": AGENT,
        "stream_type": "transcoded",
        "stream_endpoint": endpoint,
        "playlist_url": endpoint,
        "direct_url": endpoint,
        "format": "hls",
        "profile": "custom",
        "profile_variables": {"input_url": SOURCE, "output_args": "pipe:1", "format": "mpegts"},
        "ffmpeg_args": ["-i", SOURCE, "-c:v", "libx264", "-f", "hls", "index.m3u8"],
        "message": "Transcoded stream created successfully (HLS output)",
        "metadata": {"type": "channel"},
    }


async def test_pipe_output(daemon: Daemon) -> None:
    answer = await transcode(daemon, profile=TO_TS)
    stream_id = answer["stream_id"]
    assert answer == {
        "stream_id": stream_id,
        "primary_url": SOURCE,
        "failover_urls": [],
        "user_agent": AGENT,
        "stream_type": "transcoded",
        "stream_endpoint": f"/stream/{stream_id}",
        "playlist_url": None,
        "direct_url": f"/stream/{stream_id}",
        "format": "mpegts",
        "profile": "custom",
        "profile_variables": {"input_url": SOURCE, "output_args": "pipe:1", "format": "mpegts"},
        "ffmpeg_args": ["-i", SOURCE, "-c", "copy", "-f", "mpegts", "pipe:1"],
        "message": "Transcoded stream created successfully (direct MPEGTS pipe)",
    }


async def test_the_listing_shows_what_the_caller_sent_and_what_was_added(daemon: Daemon) -> None:
    """Trap 5: ``transcoding`` is the text ``true``, whatever the caller says."""
    made = await transcode(daemon, profile=TO_TS, metadata={"transcoding": False, "profile": "mine", "n": 7})
    assert made["metadata"] == {"transcoding": "False", "profile": "mine", "n": "7"}
    row = (await daemon.get(f"/streams/{made['stream_id']}"))["stream"]
    assert row["stream_type"] == "Transcoding"
    assert row["metadata"].keys() == {"transcoding", "profile", "n", "profile_variables", "ffmpeg_args"}
    assert row["metadata"]["transcoding"] == "true"
    assert row["metadata"]["profile"] == "mine"
    assert row["metadata"]["ffmpeg_args"] == f"-i {SOURCE} -c copy -f mpegts pipe:1"
    assert isinstance(row["metadata"]["profile_variables"], str)


async def test_named_profiles_have_the_ids_that_editors_know(daemon: Daemon) -> None:
    url = "http://provider.example/live/u/p/101.ts"
    # md5 of "<url>|transcoded|default|direct", as `md5sum` prints it
    answer = await transcode(daemon, url=url)
    assert answer["stream_id"] == "191affdbf2bdb2666c8d32dd4481feb8"
    assert answer["profile"] == "default"
    assert (await transcode(daemon, url=url, profile="default"))["stream_id"] == answer["stream_id"]


async def test_one_url_and_other_outputs_are_other_streams(daemon: Daemon) -> None:
    """Trap 10: inline templates differ in their ids."""
    bodies: list[dict[str, Any]] = [
        {"profile": TO_HLS},
        {"profile": TO_TS},
        {"profile": TO_TS.replace("copy", "libx264")},
        {"profile": "default"},
        {"profile": "hq"},
        {"profile": "hq", "profile_variables": {"crf": 30}},
        {"profile": "hq", "output_format": "hls"},
    ]
    ids = [(await transcode(daemon, **body))["stream_id"] for body in bodies]
    assert len(set(ids)) == len(bodies)
    assert [(await transcode(daemon, **body))["stream_id"] for body in bodies] == ids


@pytest.mark.parametrize(
    ("template", "form"),
    [
        ("-i {input_url} -c copy -f mpegts {output_args}", "mpegts"),
        ("-i {input_url} -c copy", "mpegts"),
        ("-i {input_url} -c copy pipe:1", "mpegts"),
        ("-i {input_url} -c copy out.m3u8", "hls"),
        ("-i {input_url} -c copy -hls_time 4", "hls"),
        ("-i {input_url} -c copy -f hls {output_args}", "hls"),
        ("  -i {input_url} -c copy -f hls index.m3u8  ", "hls"),
    ],
)
async def test_the_output_is_judged_from_the_output_side(daemon: Daemon, template: str, form: str) -> None:
    """Trap 22: an input that is a playlist is no HLS output, and a pipe may be named in one."""
    answer = await transcode(daemon, profile=template)
    assert answer["format"] == form
    assert answer["stream_endpoint"].startswith("/hls/" if form == "hls" else "/stream/")


@pytest.mark.parametrize("empty", [None, []])
async def test_null_and_an_empty_list_are_the_default(daemon: Daemon, empty: object) -> None:
    """Trap 27: ``[]`` is an empty map."""
    named = await transcode(daemon)
    answer = await transcode(
        daemon, profile=None, profile_variables=empty, metadata=empty, headers=empty, output_format=None
    )
    assert answer["stream_id"] == named["stream_id"]


async def test_variables_become_text_and_win(daemon: Daemon) -> None:
    variables = {"video_bitrate": "3M", "crf": 21}
    template = (
        "-i {input_url} -b:v {video_bitrate|1M} -crf {crf|23} -b:a {audio_bitrate|96k} -f mpegts pipe:1"
    )
    answer = await transcode(daemon, profile=template, profile_variables=variables)
    assert answer["profile_variables"] == {
        "input_url": SOURCE,
        "output_args": "pipe:1",
        "format": "mpegts",
        "video_bitrate": "3M",
        "crf": "21",
    }
    assert answer["ffmpeg_args"] == [
        *("-i", SOURCE, "-b:v", "3M", "-crf", "21"),
        *("-b:a", "96k", "-f", "mpegts", "pipe:1"),
    ]


async def test_headers_and_agent_are_kept(daemon: Daemon) -> None:
    made = await transcode(daemon, profile=TO_TS, headers={"X-A": "b"}, user_agent="VLC/3.0")
    row = (await daemon.get(f"/streams/{made['stream_id']}"))["stream"]
    assert (row["headers"], row["user_agent"]) == ({"X-A": "b"}, "VLC/3.0")


async def test_an_unknown_profile_is_400_with_the_names(daemon: Daemon) -> None:
    async with daemon.http.post("/transcode", json={"url": SOURCE, "profile": "x"}) as response:
        assert response.status == 400
        assert await response.json() == {
            "detail": "Profile 'x' not found. Available profiles: "
            "default, hq, lowlatency, 720p, 1080p, hevc, audio"
        }


async def test_a_resolver_outside_the_two_is_422(daemon: Daemon) -> None:
    async with daemon.http.post("/transcode", json={"url": SOURCE, "resolver": "curl"}) as response:
        assert response.status == 422
        assert (await response.json())["detail"][0]["loc"] == ["body", "resolver"]


async def test_the_built_in_profiles(daemon: Daemon) -> None:
    answer = await daemon.get("/transcode/profiles")
    assert answer.keys() == {"profiles", "hardware_acceleration", "default_variables"}
    names = [row["name"] for row in answer["profiles"]]
    assert names == ["default", "hq", "lowlatency", "720p", "1080p", "hevc", "audio"]
    assert all(row.keys() == {"name", "description", "parameters"} for row in answer["profiles"])
    assert type(answer["hardware_acceleration"]["available"]) is bool
    assert isinstance(answer["hardware_acceleration"]["type"], str)
    assert answer["default_variables"] == {
        "input_url": "",
        "output_args": "",
        "video_bitrate": "2M",
        "audio_bitrate": "128k",
        "format": "mp4",
        "crf": "23",
    }


async def test_creating_starts_nothing(daemon: Daemon) -> None:
    before = await daemon.metric("ffmpeg_starts_total")
    made = await transcode(daemon, profile=TO_HLS)
    async with daemon.http.head(made["stream_endpoint"]) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/vnd.apple.mpegurl"
        assert "Content-Length" not in response.headers
    assert await daemon.metric("ffmpeg_starts_total") == before
    assert (await daemon.get(f"/streams/{made['stream_id']}"))["client_count"] == 0


async def test_the_container_is_part_of_the_id(daemon: Daemon) -> None:
    made = [
        (await transcode(daemon, profile="hq", output_format=one))["stream_id"]
        for one in (None, "mpegts", "mp4", "matroska")
    ]
    assert made[0] == made[1]
    assert len(set(made)) == 3
