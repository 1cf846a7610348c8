"""Transcoded bodies other than MPEG-TS: one FFmpeg, viewers who come and go, and all of them play."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from m3u_proxy.pool.live.body import BodyIntake
from tests.support.bodies import decode, first_picture
from tests.support.daemon import Daemon, descendants
from tests.support.inv import eventually
from tests.support.media import ffmpeg, make_live_sample
from tests.support.origin import Answer, Origin

SMALL = "-vf scale=160:90"
FORMS = {
    "mp4": ("-c copy -f mp4", "video/mp4"),
    "mov": (f"{SMALL} -c:v libx264 -preset ultrafast -c:a aac -f mov", "video/mp4"),
    "mkv": ("-c copy -f mkv", "video/x-matroska"),
    "webm": (f"{SMALL} -c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus -f webm", "video/webm"),
    "adts": ("-vn -c:a copy -f adts", "audio/aac"),
    "mp3": ("-vn -c:a libmp3lame -f mp3", "audio/mpeg"),
    "flv": ("-c copy -f flv", "video/x-flv"),
    "ogg": (f"{SMALL} -c:v libtheora -c:a libvorbis -f ogg", "video/ogg"),
    "mpeg": (f"{SMALL} -c:v mpeg2video -c:a mp2 -f mpeg", "video/mpeg"),
}
SOUND = ("adts", "mp3")
ENCODERS = {"webm": "libvpx", "ogg": "libtheora", "mp3": "libmp3lame"}


def needs_encoder(container: str) -> None:
    """Skip by name where this FFmpeg has not got what the template asks for."""
    wanted = ENCODERS.get(container, "")
    listed = subprocess.run([ffmpeg(), "-hide_banner", "-encoders"], capture_output=True, check=True).stdout
    if wanted.encode() not in listed:
        pytest.skip(f"needs {wanted}")


async def transcode(daemon: Daemon, url: str, template: str) -> str:
    made = await daemon.post("/transcode", url=url, profile=f"-i {{input_url}} {template} {{output_args}}")
    assert made["playlist_url"] is None
    return str(made["stream_endpoint"])


def ffmpegs(daemon: Daemon) -> list[int]:
    """Living FFmpeg processes of a daemon."""
    found = []
    for pid in descendants(daemon.pid):
        with suppress(FileNotFoundError):  # it has just ended
            if b"ffmpeg" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


class Watcher:
    """A player that takes what comes until it is told to leave, or let go."""

    def __init__(self, http: aiohttp.ClientSession, path: str) -> None:
        self.body = bytearray()
        self.headers: dict[str, str] = {}
        self.task = asyncio.create_task(self._watch(http, path))

    async def _watch(self, http: aiohttp.ClientSession, path: str) -> None:
        async with http.get(path) as response:
            assert response.status == 200, await response.text()
            self.headers = dict(response.headers)
            async for piece in response.content.iter_any():
                self.body += piece

    async def has(self, container: str, points: int) -> None:
        """Wait until it has got so many points at which somebody could join."""

        async def enough() -> bool:
            assert not self.task.done()
            return len(points_of(container, bytes(self.body))) >= points

        await eventually(enough, within=30, every=0.2)

    async def leave(self) -> bytes:
        self.task.cancel()
        await asyncio.wait([self.task])
        return bytes(self.body)


def cut(container: str, body: bytes) -> tuple[bytes, list[int]]:
    """A capture, which ends anywhere, up to its last point, and where the points are."""
    intake = BodyIntake(container)
    intake.connect(0.0)
    batch = intake.feed(body, 0.0)
    points = [point.offset for point in batch.points]
    return batch.data[: points[-1] if points else 0], points


def points_of(container: str, body: bytes) -> list[int]:
    return cut(container, body)[1]


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("container", FORMS)
async def test_three_viewers_of_one_ffmpeg_play(daemon: Daemon, origin: Origin, container: str) -> None:
    needs_encoder(container)
    template, content_type = FORMS[container]
    path = await transcode(daemon, origin.url("/live.ts"), template)
    async with daemon.http.head(path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == content_type
        assert "Content-Length" not in response.headers
    assert ffmpegs(daemon) == []
    watchers = [Watcher(daemon.http, path)]
    for _ in range(2):
        await watchers[0].has(container, len(points_of(container, bytes(watchers[0].body))) + 1)
        watchers.append(Watcher(daemon.http, path))
    await watchers[-1].has(container, 2)
    assert len(ffmpegs(daemon)) == 1
    assert len(origin.path("/live.ts").connections) == 1
    for watcher in watchers:
        assert watcher.headers["Content-Type"] == content_type
        assert watcher.headers["Accept-Ranges"] == "none"
        body, _ = cut(container, await watcher.leave())
        assert decode(body, container) == ""
        assert container in SOUND or first_picture(body) == "I"


@pytest.mark.parametrize("container", ["mp4", "mkv"])
async def test_a_body_ends_when_its_ffmpeg_dies_and_the_next_viewer_gets_another(
    daemon: Daemon, origin: Origin, container: str
) -> None:
    path = await transcode(daemon, origin.url("/live.ts"), FORMS[container][0])
    first = Watcher(daemon.http, path)
    await first.has(container, 1)
    killed = ffmpegs(daemon)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(10):
        await first.task
    assert decode(bytes(first.body), container) == ""
    second = Watcher(daemon.http, path)
    await second.has(container, 2)
    body, _ = cut(container, await second.leave())
    assert decode(body, container) == ""
    stream = path.rpartition("/")[2]
    rows = (await daemon.get(f"/streams/{stream}/timeline"))["events"]
    assert [row["reason"] for row in rows if row["kind"] == "restart"] == ["ffmpeg_signal"]
    assert len(origin.path("/live.ts").connections) == 1


async def test_sound_goes_on_with_another_ffmpeg(daemon: Daemon, origin: Origin) -> None:
    path = await transcode(daemon, origin.url("/live.ts"), FORMS["adts"][0])
    watcher = Watcher(daemon.http, path)
    await watcher.has("adts", 2)
    for pid in ffmpegs(daemon):
        os.kill(pid, signal.SIGKILL)
    await watcher.has("adts", 2 + len(points_of("adts", bytes(watcher.body))) + 4)
    assert decode(await watcher.leave(), "adts") == ""


async def test_the_built_in_profiles_take_the_output_format(daemon: Daemon, origin: Origin) -> None:
    made = await daemon.post("/transcode", url=origin.url("/live.ts"), profile="lowlatency")
    assert made["format"] == "mpegts"
    made = await daemon.post("/transcode", url=origin.url("/live.ts"), profile="audio", output_format="adts")
    assert made["format"] == "adts"
    watcher = Watcher(daemon.http, str(made["stream_endpoint"]))
    await watcher.has("adts", 2)
    assert watcher.headers["Content-Type"] == "audio/aac"
    await watcher.leave()


@pytest.mark.may_block("it makes a film with FFmpeg")
async def test_a_finished_film_is_sent_to_its_end(daemon: Daemon, origin: Origin, tmp_path: Path) -> None:
    film = tmp_path / "short.ts"
    make_live_sample(film, seconds=3)
    origin.on("/movie/short.ts", Answer(body=film.read_bytes(), headers={"Accept-Ranges": "bytes"}))
    path = await transcode(daemon, origin.url("/movie/short.ts"), FORMS["mp4"][0])
    watcher = Watcher(daemon.http, path)
    async with asyncio.timeout(30):
        await watcher.task
    assert decode(bytes(watcher.body), "mp4") == ""
