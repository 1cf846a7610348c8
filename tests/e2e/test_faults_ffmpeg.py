"""FFmpeg dies, hangs, raves and lies; the daemon says so, cleans up and goes on."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, descendants
from tests.support.fake_ffmpeg import FakeFFmpeg, alive, until
from tests.support.inv import Reply, answers, ask, control, cpu_seconds, eventually, labelled, resident, rig
from tests.support.media import probe
from tests.support.origin import Answer, Origin
from tests.support.player import HlsViewer
from tests.support.stepped import turn

COPY = "-i {input_url} -c copy -f hls index.m3u8"
PIPE = "-i {input_url} -c copy -f mpegts {output_args}"
MIB = 1 << 20


@pytest.fixture
def fake(tmp_path: Path) -> FakeFFmpeg:
    """An FFmpeg that does as it is told, in a place of its own."""
    directory = tmp_path / "bin"
    directory.mkdir()
    return FakeFFmpeg(directory)


async def transcode(daemon: Daemon, origin: Origin, profile: str = COPY, number: int = 0) -> str:
    """Endpoint of a transcoded stream; another number, another stream of the same source."""
    profile = profile.replace("-c copy", f"-c copy -metadata track={number}") if number else profile
    url = origin.url("/live.ts")
    return str((await daemon.post("/transcode", url=url, profile=profile))["stream_endpoint"])


def sequence(text: str) -> int:
    """Media sequence number of the newest segment of a playlist."""
    found = re.search(r"#EXT-X-MEDIA-SEQUENCE:(\d+)", text)
    assert found is not None, text
    return int(found[1]) + sum(line.startswith("#EXTINF") for line in text.splitlines())


@pytest.mark.parametrize("kind", ["missing", "broken"])
async def test_without_ffmpeg_only_transcoding_is_off(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg, kind: str
) -> None:
    """F46: missing or not executable."""
    path = fake.path
    if kind == "missing":
        path = tmp_path / "nothing"
    else:
        fake.set(query_exit=1)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(path)) as daemon, control(daemon, origin):
        body = {"url": origin.url("/live.ts"), "profile": COPY}
        async with daemon.http.post("/transcode", json=body) as response:
            assert response.status == 503
            assert await response.json() == {"detail": "ffmpeg unavailable"}
            assert response.headers["Retry-After"]
        assert (await daemon.get("/health"))["status"] == "degraded"


WRITE_ERRORS = {
    "failed_to_open": "[hls @ 0x5581] Failed to open file '{root}/segment_3.ts'",
    "no_space": "av_interleaved_write_frame(): No space left on device",
    "io_error": "[out#0/hls @ 0x5581] Error writing trailer: Input/output error",
    "permission_denied": "index.m3u8.tmp: PERMISSION DENIED",
    "read_only": "failed to rename file: Read-only file system",
}


async def test_a_write_error_fails_its_stream_at_once_and_no_other(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg
) -> None:
    """F53, F75: the words of a failing disk."""
    environ = {"FFMPEG_PATH": str(fake.path), "TERM_KILL": "0.5", "CLIENT_TIMEOUT": "30"}
    async with rig(tmp_path, origin, **environ) as daemon, control(daemon, origin):
        other = await transcode(daemon, origin, number=99)
        await answers(daemon, other, 200, 10.0)
        endpoints = {}
        for number, (pattern, line) in enumerate(WRITE_ERRORS.items(), 1):
            words = line.format(root=daemon.segments / "m3u_proxy_x")
            fake.set(lines=[(1.0, words)], ignore_sigterm=True)
            endpoints[pattern] = await transcode(daemon, origin, number=number)
            await answers(daemon, endpoints[pattern], 200, 10.0, every=0.02)
        for pattern, endpoint in endpoints.items():
            refused = await answers(daemon, endpoint, 503, 10.0, every=0.02)
            assert WRITE_ERRORS[pattern].partition("{")[0] in refused.text
            assert str(daemon.segments) not in refused.text
            assert refused.retry_after is not None
        assert await labelled(daemon, "write_errors_total") == dict.fromkeys(WRITE_ERRORS, 1)
        assert len([text for text in daemon.log if "writer failed" in text]) == len(WRITE_ERRORS)
        sick = [run["pid"] for run in fake.runs()[1:]]
        await until(lambda: not any(alive(pid) for pid in sick))
        await until(lambda: len(list(daemon.segments.iterdir())) == 1)

        fake.set()
        healthy = await ask(daemon, other)
        assert healthy.status == 200
        assert [pid for pid in descendants(daemon.pid) if alive(pid)] == [(await fake.run(1))["pid"]]
        fresh = await answers(daemon, endpoints["no_space"], 200, 10.0)
        assert "#EXTINF" in fresh.text
        assert len(fake.runs()) == len(WRITE_ERRORS) + 2
        assert sequence((await ask(daemon, other)).text) > sequence(healthy.text)


async def test_misleading_words_change_nothing(tmp_path: Path, origin: Origin, fake: FakeFFmpeg) -> None:
    """F57: words about the input on a healthy stream."""
    lines = [
        "[http @ 0x5581] HTTP error 404 Not Found",
        "pipe:0: Input/output error",
        "[hls @ 0x5581] Failed to open segment 3 of playlist 0",
        "[in#0 @ 0x5581] Error during demuxing: I/O error",
        "http://127.0.0.1:1/x.ts: No space left on device",
        "[https @ 0x5581] Permission denied",
        "end of file",
        "error",
        "[hls @ 0x5581] failed to delete old segment segment_1.ts: No such file or directory",
    ]
    fake.set(lines=[(0.5, lines[0]), *((0.0, line) for line in lines[1:])])
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon:
        endpoint = await transcode(daemon, origin)
        first = await answers(daemon, endpoint, 200, 10.0)
        await until(lambda: any("failed to delete" in line for line in daemon.log), 10.0)
        reached = sequence(first.text) + 10

        async def goes_on() -> bool:
            reply = await ask(daemon, endpoint)
            assert reply.status == 200, reply
            return sequence(reply.text) >= reached

        await eventually(goes_on, 10.0)
        assert len(fake.runs()) == 1
        assert await labelled(daemon, "write_errors_total") == {}
        assert await labelled(daemon, "ffmpeg_exits_total") == {}


@pytest.mark.parametrize(
    ("pattern", "size"), [("\x1b[31mframe=  1\xff\xfe speed=1x\x1b[0m\r", 100 * MIB), ("x", 20 * MIB)]
)
async def test_a_flood_of_words_costs_nothing_and_hides_nothing(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg, pattern: str, size: int
) -> None:
    """F53: 100 MB/s, a line without end, and a write error within."""
    line = "\nav_interleaved_write_frame(): No space left on device"
    fake.set(flood_bytes=size, flood_pattern=pattern, flood_rate=100e6, lines=[(1.5, line)])
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon, control(daemon, origin):
        await ask(daemon, "/metrics")
        before, said = resident(daemon.pid), len(daemon.log)
        endpoint = await transcode(daemon, origin)
        await answers(daemon, endpoint, 200, 10.0)
        latencies = []
        while not await labelled(daemon, "write_errors_total"):
            began = time.monotonic()
            assert (await ask(daemon, "/livez")).status == 200
            latencies.append(time.monotonic() - began)
            assert len(latencies) < 20_000
        assert sorted(latencies)[len(latencies) // 2] < 0.05
        await answers(daemon, endpoint, 503, 5.0)
        assert resident(daemon.pid) - before < 8 * MIB
        assert len(daemon.log) - said < 100


async def test_bad_arguments_are_tried_three_times_and_told(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg
) -> None:
    """F47: exits at once."""
    secret = "http://user:hunter2@provider.example/live/user/hunter2/1.ts"
    fake.set(exit_after=0.0, exit_code=1, segments=0, lines=[(0.0, f"Unrecognized option 'q' {secret}")])
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon:
        endpoint = await transcode(daemon, origin)
        refused = await ask(daemon, endpoint)
        assert refused.status == 503
        assert "code 1): Unrecognized option" in refused.text
        assert "hunter2" not in refused.text
        assert refused.retry_after == 30
        assert len(fake.runs()) == 3
        again = await ask(daemon, endpoint)
        assert (again.status, again.text) == (503, refused.text)
        assert again.retry_after is not None
        await until(lambda: not list(daemon.segments.iterdir()))
        assert len(fake.runs()) == 3
        assert await labelled(daemon, "ffmpeg_exits_total") == {"error": 3}
        assert not [line for line in daemon.log if "hunter2" in line]
        (row,) = (await daemon.get("/streams"))["streams"]
        assert "Unrecognized option" in row["reason"]


@asynccontextmanager
async def followed(daemon: Daemon, endpoint: str) -> AsyncIterator[HlsViewer]:
    """A player that follows a playlist all the while and meets nothing a player would stumble over."""
    viewer = HlsViewer(daemon.http, endpoint)
    watching = asyncio.create_task(viewer.watch(3600, poll=0.1))
    try:
        yield viewer
        assert not watching.done()
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    assert viewer.errors == []


async def first_new(daemon: Daemon, endpoint: str, before: int, within: float) -> Reply:
    """The first playlist with a segment newer than ``before``; no answer but 200 comes in between."""
    replies: list[Reply] = []

    async def is_new() -> bool:
        replies.append(await ask(daemon, endpoint))
        assert replies[-1].status == 200, replies[-1]
        return sequence(replies[-1].text) > before

    await eventually(is_new, within)
    return replies[-1]


async def test_a_killed_ffmpeg_is_replaced_within_three_seconds(tmp_path: Path, origin: Origin) -> None:
    """F49: SIGKILL. A copy of a channel with a keyframe every 2 s, in segments of 2 s."""
    async with rig(tmp_path, origin, HLS_SEGMENT_DURATION="2", CLIENT_TIMEOUT="30") as daemon:
        endpoint = await transcode(daemon, origin)
        await answers(daemon, endpoint, 200, 15.0)
        async with followed(daemon, endpoint) as viewer:
            (pid,) = descendants(daemon.pid)
            before = sequence((await ask(daemon, endpoint)).text)
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            joined = await ask(daemon, endpoint)
            assert (joined.status, time.monotonic() - began < 0.5) == (200, True)
            fresh = await first_new(daemon, endpoint, before, 5.0)
            took = time.monotonic() - began
            (other,) = descendants(daemon.pid)
            assert other != pid
            await first_new(daemon, endpoint, sequence(fresh.text), 5.0)
        assert took <= 3.0
        assert fresh.text.count("#EXT-X-DISCONTINUITY\n") == 1
        assert len(origin.path("/live.ts").connections) == 1
        assert await labelled(daemon, "ffmpeg_exits_total") == {"signal": 1}
        assert len(list(daemon.segments.iterdir())) == 1
        capture = tmp_path / "capture.ts"
        capture.write_bytes(viewer.media)
        tracks = {one["codec_type"] for one in (await asyncio.to_thread(probe, capture))["streams"]}
        assert tracks == {"video", "audio"}


async def test_an_end_is_a_failure_and_another_ffmpeg_goes_on(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg
) -> None:
    """F48: exits with 0 on a live source."""
    fake.set(exit_after=1.0, exit_code=0, endlist=True)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path), CLIENT_TIMEOUT="30") as daemon:
        endpoint = await transcode(daemon, origin)
        await answers(daemon, endpoint, 200, 10.0)
        fake.set()
        async with followed(daemon, endpoint):
            await fake.run(2)
            before = sequence((await ask(daemon, endpoint)).text)
            fresh = await first_new(daemon, endpoint, before + 1, 2.0)
        assert fresh.text.count("#EXT-X-DISCONTINUITY\n") == 1
        assert await labelled(daemon, "ffmpeg_exits_total") == {"eof": 1}


async def test_an_ffmpeg_that_dies_again_and_again_is_paced(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg
) -> None:
    """F52: dies every second; the pace holds, and the daemon needs less than a tenth of a processor."""
    fake.set(exit_after=1.0, exit_code=1)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon:
        endpoint = await transcode(daemon, origin)
        began, used = time.monotonic(), cpu_seconds(daemon.pid)

        async def long_enough() -> bool:
            await ask(daemon, endpoint)
            return time.monotonic() - began > 10.5

        await eventually(long_enough, 30.0, every=0.2)
        assert 3 <= len(fake.runs()) <= 6
        assert cpu_seconds(daemon.pid) - used < 0.1 * (time.monotonic() - began)


async def test_a_deaf_ffmpeg_is_killed_and_then_its_directory_goes(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg
) -> None:
    """F51: ignores SIGTERM."""
    fake.set(ignore_sigterm=True, stdin="ignore", grandchildren=2, deaf_grandchildren=True)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon:
        endpoint = await transcode(daemon, origin)
        await answers(daemon, endpoint, 200, 10.0)
        run = await fake.run()
        (directory,) = daemon.segments.iterdir()
        began = time.monotonic()
        deleting = asyncio.ensure_future(daemon.http.delete(f"/streams/{endpoint.split('/')[2]}"))
        while not deleting.done():
            there, lives = directory.exists(), alive(run["pid"])
            assert there or not lives
            await turn()
        assert (await deleting).status == 200
        assert time.monotonic() - began < 4.0
        assert not directory.exists()
        await until(lambda: not any(alive(pid) for pid in [run["pid"], *run["grandchildren"]]))


async def test_a_hung_writer_is_noticed_and_replaced_under_its_player(tmp_path: Path, sample: bytes) -> None:
    """F50: SIGSTOP."""
    async with Origin(ts=sample, rate=8e6) as origin:
        origin.on("/live.ts", Answer(ts=True))
        async with rig(tmp_path, origin, SEG_STALL="3", CLIENT_TIMEOUT="60") as daemon:
            endpoint = await transcode(daemon, origin)
            await answers(daemon, endpoint, 200, 15.0)
            async with followed(daemon, endpoint):
                (pid,) = descendants(daemon.pid)
                before = sequence((await ask(daemon, endpoint)).text)
                os.kill(pid, signal.SIGSTOP)
                began = time.monotonic()
                await until(lambda: not alive(pid), 8.0)
                fresh = await first_new(daemon, endpoint, before, 8.0)
                assert time.monotonic() - began <= 3.0 + 5.0
            assert fresh.text.count("#EXT-X-DISCONTINUITY\n") == 1
            assert [line for line in daemon.log if "ffmpeg lost: FFmpeg makes no progress" in line]


async def test_a_hung_pipe_is_replaced_under_its_viewer(tmp_path: Path, origin: Origin) -> None:
    """F50: SIGSTOP, without a directory."""
    async with rig(tmp_path, origin, TERM_KILL="0.5", SEG_STALL="3") as daemon:
        endpoint = await transcode(daemon, origin, PIPE)
        async with daemon.http.get(endpoint) as body:
            await body.content.readexactly(188 * 100)
            (pid,) = descendants(daemon.pid)
            os.kill(pid, signal.SIGSTOP)
            await until(lambda: not alive(pid), 25.0)
            await asyncio.wait_for(body.content.readexactly(MIB // 2), 20.0)
            assert len(descendants(daemon.pid)) == 1


async def test_memory_without_end_costs_only_its_owner(
    tmp_path: Path, origin: Origin, fake: FakeFFmpeg
) -> None:
    """F59: its memory balloons."""
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon, control(daemon, origin):
        resource.prlimit(daemon.pid, resource.RLIMIT_AS, (1 << 30, 1 << 30))
        fake.set(eat_bytes=2 << 30)
        endpoint = await transcode(daemon, origin)
        refused = await answers(daemon, endpoint, 503, 20.0)
        assert refused.retry_after is not None
        assert (await labelled(daemon, "ffmpeg_exits_total")).keys() == {"oom"}
        fake.set()
        await answers(daemon, endpoint, 200, 60.0)


@pytest.mark.timeout(90)
async def test_hundreds_of_short_lives_leave_no_trace(tmp_path: Path, origin: Origin) -> None:
    """F56: spawned and gone, again and again."""
    script = tmp_path / "ffmpeg"
    script.write_text('#!/bin/sh\ncase "$*" in *-version*) echo "ffmpeg version 5.1";; esac\n')
    script.chmod(0o755)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(script)) as daemon, control(daemon, origin):
        for wave in range(5):
            numbers = range(20 * wave + 1, 20 * wave + 21)
            endpoints = await asyncio.gather(*(transcode(daemon, origin, number=n) for n in numbers))
            replies = await asyncio.gather(*(ask(daemon, endpoint) for endpoint in endpoints))
            assert {reply.status for reply in replies} == {503}

        async def counted() -> bool:
            return await labelled(daemon, "ffmpeg_exits_total") == {"eof": 300}

        await eventually(counted)  # viewers hear of a failure before its process has been reaped
        assert await daemon.metric("ffmpeg_starts_total") == 300
