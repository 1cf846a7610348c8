"""What a caller may make FFmpeg do: nothing but what the allow-list says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, descendants
from tests.support.origin import Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOURCE = "http://provider.example/live.ts"
PIPE = "-i {input_url} -c copy -f mpegts {output_args}"
BITRATES = ("video_bitrate", "audio_bitrate", "bitrate", "maxrate", "bufsize")


async def post(daemon: Daemon, **body: Any) -> tuple[int, Any]:
    """Status and detail of a transcode."""
    async with daemon.http.post("/transcode", json={"url": SOURCE, **body}) as response:
        return response.status, (await response.json()).get("detail")


@pytest.mark.parametrize("name", [*BITRATES, "crf", "format", "input_url"])
@pytest.mark.parametrize(
    "value", ["1M -i file:///etc/passwd", "-y", "/etc/passwd", "$(touch s)", "1M\n", "tee", "../x"]
)
async def test_variables_have_types(daemon: Daemon, name: str, value: str) -> None:
    """A51."""
    status, detail = await post(daemon, profile=PIPE, profile_variables={name: value})
    assert status == 422
    assert [row["loc"] for row in detail] == [["body", "profile_variables", name]]


@pytest.mark.parametrize("value", ["http://169.254.169.254/", "ftp://provider.example/a", "http://a@b@c/"])
async def test_another_input_is_judged_like_a_url(daemon: Daemon, value: str) -> None:
    """A52."""
    status, detail = await post(daemon, profile=PIPE, profile_variables={"input_url": value})
    assert status == 422
    assert detail[0]["loc"] == ["body", "profile_variables", "input_url"]


@pytest.mark.parametrize("value", ["mp4 -y /x", "../x", "tee", "", "rtp", "image2", "MPEGTS"])
async def test_the_output_format_is_one_of_a_list(daemon: Daemon, value: str) -> None:
    """A56."""
    status, detail = await post(daemon, output_format=value)
    assert status == 422 if value else status in (200, 422)
    if status == 422:
        assert [row["loc"] for row in detail] == [["body", "output_format"]]


REFUSED = {
    "file as input": "-i /etc/passwd -f mpegts pipe:1",
    "file URL as input": "-i file:///etc/passwd -f mpegts pipe:1",
    "second input": "-i {input_url} -i /etc/passwd -f mpegts pipe:1",
    "another URL": "-i {input_url} -i http://other.example/a.ts -f mpegts pipe:1",
    "concat": "-i concat:/a.ts|/etc/passwd -f mpegts pipe:1",
    "subfile": "-i subfile,,start,0,end,9,,:/etc/passwd -f mpegts pipe:1",
    "lavfi movie": "-i {input_url} -f lavfi -i movie=/etc/passwd -f mpegts pipe:1",
    "amovie": "-i {input_url} -filter_complex amovie=/etc/passwd -f mpegts pipe:1",
    "textfile": "-i {input_url} -vf drawtext=textfile=/etc/passwd -f mpegts pipe:1",
    "fontfile": "-i {input_url} -vf drawtext=fontfile=/etc/passwd:text=x -f mpegts pipe:1",
    "subtitles": "-i {input_url} -vf subtitles=/etc/passwd -f mpegts pipe:1",
    "zmq": "-i {input_url} -vf zmq -f mpegts pipe:1",
    "tee": "-i {input_url} -c copy -f tee [f=mpegts]/tmp/x|[f=mpegts]pipe:1",
    "attach": "-i {input_url} -attach /etc/passwd -f matroska pipe:1",
    "dump_attachment": "-dump_attachment:t /tmp/x -i {input_url} -f mpegts pipe:1",
    "progress": "-i {input_url} -progress http://other.example/ -f mpegts pipe:1",
    "report": "-report -i {input_url} -f mpegts pipe:1",
    "passlogfile": "-i {input_url} -pass 1 -passlogfile /tmp/x -f mpegts pipe:1",
    "vstats_file": "-i {input_url} -vstats_file /tmp/x -f mpegts pipe:1",
    "filter_script": "-i {input_url} -filter_script:v /etc/passwd -f mpegts pipe:1",
    "option from a file": "-i {input_url} -/filter_complex /etc/passwd -f mpegts pipe:1",
    "sdp_file": "-i {input_url} -sdp_file /tmp/x -f rtp rtp://127.0.0.1:9",
    "key info": "-i {input_url} -c copy -f hls -hls_key_info_file /etc/passwd index.m3u8",
    "put": "-i {input_url} -c copy -f hls -method PUT http://other.example/index.m3u8",
    "hls_base_url": "-i {input_url} -c copy -f hls -hls_base_url http://other.example/ index.m3u8",
    "absolute output": "-i {input_url} -f mpegts /tmp/x.ts",
    "output above": "-i {input_url} -f hls ../index.m3u8",
    "file output": "-i {input_url} -f mpegts file:///tmp/x.ts",
    "tcp output": "-i {input_url} -f mpegts tcp://127.0.0.1:9",
    "two outputs": "-i {input_url} -c copy -f mpegts pipe:1 -c copy -f mpegts /tmp/x.ts",
    "segment names above": "-i {input_url} -f hls -hls_segment_filename ../s%d.ts index.m3u8",
    "absolute segment names": "-i {input_url} -f hls -hls_segment_filename /tmp/s%d.ts index.m3u8",
    "init above": "-i {input_url} -f hls -hls_fmp4_init_filename ../i.mp4 index.m3u8",
    "unknown option": "-invented 1 -i {input_url} -f mpegts pipe:1",
    "unbalanced quote": "-i {input_url} -metadata title='x -f mpegts pipe:1",
    "no input": "-f mpegts pipe:1",
    "input twice": "-i {input_url} -i {input_url} -f mpegts pipe:1",
    "a variable as an option": "-i {input_url} {x|-report} -f mpegts pipe:1",
    "nothing": "-",
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_template_beyond_the_list_is_400(daemon: Daemon, name: str) -> None:
    """A52."""
    before = await daemon.stream_ids()
    status, detail = await post(daemon, profile=REFUSED[name])
    assert status == 400
    assert isinstance(detail, str)
    assert detail
    assert "other.example" not in detail
    assert await daemon.stream_ids() <= before


async def test_a_template_over_4_kib_is_422(daemon: Daemon) -> None:
    status, detail = await post(daemon, profile=PIPE + " " * 4096)
    assert status == 422
    assert detail[0]["loc"] == ["body", "profile"]


@pytest.mark.parametrize(
    "text", ["$(touch {s})", "`touch {s}`", "; touch {s}", "| touch {s}", "&touch${IFS}{s}", ">{s}"]
)
async def test_no_field_reaches_a_shell(daemon: Daemon, origin: Origin, tmp_path: Path, text: str) -> None:
    """A62."""
    sentinel = tmp_path / "sentinel"
    bad = text.replace("{s}", str(sentinel))
    url = origin.url(f"/live.ts?{text[:2]}")
    for body in (
        {"url": url, "user_agent": bad, "headers": {"X-A": bad}, "metadata": {"k": bad}, "profile": PIPE},
        {"url": url, "profile": f"-i {{input_url}} -c copy -metadata title='{bad}' -f mpegts pipe:1"},
        {"url": url, "profile": PIPE.replace("copy", "{codec}"), "profile_variables": {"codec": bad}},
        {"url": url, "output_format": bad},
        {"url": url, "profile": bad},
    ):
        async with daemon.http.post("/transcode", json=body) as response:
            made = await response.json()
            if response.status != 200:
                assert response.status in (400, 422)
                continue
        async with daemon.http.get(made["stream_endpoint"]) as response:
            await response.read() if response.status != 200 else await response.content.readany()
        await daemon.http.delete(f"/streams/{made['stream_id']}")
    assert not sentinel.exists()


async def test_the_child_sees_neither_the_source_nor_our_secrets(
    guarded: Daemon, origin: Origin, token: str
) -> None:
    """A61."""
    headers = {"X-API-Token": token}
    url = origin.url("/live.ts?password=CANARY")
    body = {"url": url, "profile": PIPE, "metadata": {"k": "CANARY"}, "headers": {"X-A": "CANARY"}}
    async with guarded.http.post("/transcode", json=body, headers=headers) as response:
        made = await response.json()
    async with guarded.http.get(made["stream_endpoint"]) as response:
        assert response.status == 200
        await response.content.readexactly(188)
        (child,) = ffmpegs(guarded.pid)
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{child}/{name}").read_bytes()
            for secret in (token, "CANARY", "API_TOKEN", "REDIS", f":{origin.port}"):
                assert secret.encode() not in text, (name, secret)
    async with guarded.http.delete(f"/streams/{made['stream_id']}", headers=headers) as response:
        assert response.status == 200
    assert not ffmpegs(guarded.pid)


def ffmpegs(pid: int) -> list[int]:
    """Living FFmpeg processes of a daemon."""
    return [child for child in descendants(pid) if "ffmpeg" in Path(f"/proc/{child}/comm").read_text()]
