"""FFmpeg reads an address of ours: playlists and files, to their end and no further than it may."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import imageio_ffmpeg
import pytest
from aiohttp import web
from blockbuster import BlockBuster

from m3u_proxy.errors import UpstreamError
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.command.render import hls_argv, pipe_argv, render
from m3u_proxy.ffmpeg.command.shape import HlsOptions
from m3u_proxy.ffmpeg.hls.writer import HlsOutput, HlsWriter
from m3u_proxy.ffmpeg.pipe import PipeSource
from m3u_proxy.ffmpeg.process import run as run_module
from m3u_proxy.ffmpeg.process.confine import Confinement
from m3u_proxy.ffmpeg.process.run import Argv, Kit, Ledger
from m3u_proxy.model import State, StreamKey
from m3u_proxy.storage.directories import claim
from tests.support.children import allow_spawning
from tests.support.fake_ffmpeg import FakeFFmpeg, until
from tests.support.media import ffmpeg, make_live_sample, probe

SECONDS = 6
SHAPE = HlsOptions(segment_duration=2.0, window=10, keep_extra=2)
PROVIDER = "http://provider.example/vod/user/s3cret/1.mp4"
TOKEN = "t0ken-of-one-process"
SOURCES = {
    "plain.m3u8": ("hls", "http,tcp"),
    "aes.m3u8": ("hls", "http,tcp,crypto"),
    "film.mp4": ("mov", "http,tcp"),
    "film.mkv": ("matroska", "http,tcp"),
}
BINARIES = [
    pytest.param("ffmpeg", marks=pytest.mark.needs("ffmpeg"), id="system"),
    pytest.param(imageio_ffmpeg.get_ffmpeg_exe(), id="wheel"),
]


@pytest.fixture(autouse=True)
def spawning_blocks(no_blocking_calls: BlockBuster | None) -> None:
    """For 1 ms, by decision: it belongs to the main thread."""
    allow_spawning(no_blocking_calls)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    """One film in every shape, by file name."""
    home = tmp_path_factory.mktemp("films")
    make_live_sample(home / "film.ts", seconds=SECONDS)
    (home / "aes.key").write_bytes(bytes(range(16)))
    (home / "aes.info").write_text("aes.key\naes.key\n")
    hls = ["-f", "hls", "-hls_time", "2", "-hls_list_size", "0"]
    for output in (
        [*hls, "plain.m3u8"],
        [*hls, "-hls_key_info_file", "aes.info", "aes.m3u8"],
        ["film.mp4"],  # without faststart: the sample tables are at its end
        ["film.mkv"],
    ):
        command = [ffmpeg(), "-v", "error", "-i", "film.ts", "-c", "copy", *output]
        subprocess.run(command, check=True, cwd=home, stdin=subprocess.DEVNULL, timeout=60)
    yield {path.name: path.read_bytes() for path in home.iterdir()}
    shutil.rmtree(home)


class Tap:
    """The place of one FFmpeg at a loopback server."""

    def __init__(self, source: Input) -> None:
        self.input = source
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.sent = 0
        self.connected: list[int | None] = []
        self.closed = False

    def connect(self, stdin: int | None) -> None:
        self.connected.append(stdin)

    def close(self) -> None:
        self.closed = True


class Feed:
    """Hands out one tap. ``asked`` are the names that were fetched, in order."""

    has_adts = False

    def __init__(self, source: Input) -> None:
        self.place = Tap(source)
        self.asked: list[str] = []

    async def ready(self) -> None:
        """At once."""

    def tap(self) -> Tap:
        return self.place


@asynccontextmanager
async def serving(files: dict[str, bytes], leaf: str, **more: bool) -> AsyncIterator[Feed]:
    """A loopback server with Range requests (RFC 9110 §14), and the feed that leads to ``leaf`` on it.

    Of ``leaf`` with ``cut=True`` half is sent, after the tap was told that the source has failed.
    """
    cut = more.pop("cut", False)

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        feed.asked.append(name)
        if name not in files:
            raise web.HTTPNotFound
        wanted = request.http_range
        body = files[name][wanted]
        headers = {"Accept-Ranges": "bytes"}
        if wanted.start is not None:
            first, size = wanted.start, len(files[name])
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{size}"
        response = web.StreamResponse(status=206 if "Content-Range" in headers else 200, headers=headers)
        response.content_length = len(body)
        await response.prepare(request)
        if cut:
            feed.place.ended.set_result("short")
            body = body[: len(body) // 2]
        await response.write(body)
        feed.place.sent += len(body)
        if cut:
            response.force_close()
            assert request.transport is not None
            request.transport.close()
        return response

    app = web.Application()
    app.router.add_get(f"/{TOKEN}/{{name}}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    demuxer, protocols = SOURCES.get(leaf, ("hls", "http,tcp"))
    url = f"http://127.0.0.1:{port}/{TOKEN}/{leaf}"
    feed = Feed(Input(url, demuxer, protocols, is_finite=True, **more))
    try:
        yield feed
    finally:
        await runner.cleanup()


def version(binary: str) -> tuple[int, int]:
    text = subprocess.run([binary, "-version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version n?(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (99, 0)


def command(binary: str, output: str) -> Argv:
    """How the stream of ``PROVIDER`` is remuxed."""
    template = f"-i {{input_url}} -c copy -f {output}"
    one = render(template, {}, input_url=PROVIDER, output_format="mpegts")
    words = version(binary)

    def argv(progress_fd: int, source: Input) -> list[str]:
        if output == "hls":
            made = hls_argv(binary, one, SHAPE, source=source, progress_fd=progress_fd, version=words)
        else:
            made = pipe_argv(binary, one, source=source, progress_fd=progress_fd, version=words)
        assert not any("provider" in part or "s3cret" in part for part in made)
        return made

    return argv


def kit() -> Kit:
    return Kit(Confinement(marker="test"), Ledger(), 2.0)


@asynccontextmanager
async def writing(
    feed: Feed, root: Path, argv: Argv, *, stall: float = 10.0, with_kit: Kit | None = None
) -> AsyncIterator[HlsWriter]:
    """A writer at work, cancelled at the end; then its directory is empty."""
    writer = HlsWriter(
        StreamKey.of(PROVIDER),
        HlsOutput(
            lambda fd, source, _: argv(fd, source),
            SHAPE.segment_duration,
            SHAPE.window,
            SHAPE.keep_extra,
            stall,
        ),
        feed=feed,
        kit=with_kit or kit(),
        claim=partial(claim, root, "film", instance="test", kind="hls"),
        admit=lambda: None,
    )
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert writer.files == {}
        assert list(root.iterdir()) == []
        assert feed.place.closed


def playlist(writer: HlsWriter) -> str:
    return writer.timeline.render(lambda number, name: f"{number}-{name}")


def ended(writer: HlsWriter) -> bool:
    return playlist(writer).endswith("#EXT-X-ENDLIST\n")


def pipe_source(feed: Feed, argv: Argv, *, stall: float = 10.0) -> PipeSource:
    return PipeSource(argv, feed=feed, kit=kit(), kind="transcode_ts", stream="film", stall=stall)


async def read_whole(source: PipeSource) -> tuple[bytes, UpstreamError]:
    """All it gives, and what it ended with."""
    data = bytearray()
    try:
        await source.open()
        while True:
            data += await source.read()
    except UpstreamError as error:
        return bytes(data), error
    finally:
        await source.aclose()


def frames(path: Path) -> dict[str, int]:
    return {one["codec_type"]: int(one["nb_read_frames"]) for one in probe(path)["streams"]}


# ------------------------------------------------------------------ to the end


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("leaf", SOURCES)
async def test_a_writer_ends_its_playlist_with_the_film_and_serves_on(
    films: dict[str, bytes], tmp_path: Path, leaf: str, binary: str
) -> None:
    root, whole, mine = tmp_path / "hls", tmp_path / "whole.ts", kit()
    root.mkdir()
    argv = await asyncio.to_thread(command, binary, "hls")
    async with serving(films, leaf) as feed, writing(feed, root, argv, with_kit=mine) as writer:
        await writer.ready()
        await until(lambda: ended(writer))
        snapshot = writer.snapshot()
        assert (snapshot.state, snapshot.ffmpeg_pid) == (State.LIVE, None)
        assert mine.ledger.running["transcode_hls"] == 0
        assert mine.ledger.exits == {"eof": 1}
        assert feed.place.connected == [None]
        entries = writer.timeline.listed()
        assert [entry.number for entry in entries] == [0, 1, 2]
        assert sum(entry.duration for entry in entries) == pytest.approx(SECONDS, abs=0.2)
        parts = [writer.files[entry.number].read for entry in entries]
        whole.write_bytes(b"".join([await asyncio.to_thread(read) for read in parts]))
    assert (await asyncio.to_thread(frames, whole))["video"] == SECONDS * 25
    assert writer.state is State.CLOSED


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("leaf", SOURCES)
async def test_a_pipe_gives_the_whole_film_and_says_that_it_was(
    films: dict[str, bytes], tmp_path: Path, leaf: str
) -> None:
    whole = tmp_path / "whole.ts"
    argv = await asyncio.to_thread(command, "ffmpeg", "mpegts")
    async with serving(films, leaf) as feed:
        data, error = await read_whole(pipe_source(feed, argv))
    assert error.reason == "completed"
    assert feed.place.closed
    whole.write_bytes(data)
    assert (await asyncio.to_thread(frames, whole))["video"] == SECONDS * 25


# ------------------------------------------------------------------ before the end


@pytest.mark.needs("ffmpeg")
async def test_a_killed_ffmpeg_is_a_failure(films: dict[str, bytes], tmp_path: Path) -> None:
    argv = await asyncio.to_thread(command, "ffmpeg", "hls")
    root = tmp_path / "hls"
    root.mkdir()
    async with serving(films, "film.mkv", is_paced=True) as feed, writing(feed, root, argv) as writer:
        await until(lambda: feed.place.sent > 0)
        pid = writer.snapshot().ffmpeg_pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: writer.state is State.FAILED)
        assert writer.error is not None
        assert writer.error.reason == "ffmpeg_signal"
        assert not ended(writer)


@pytest.mark.needs("ffmpeg")
async def test_a_source_that_failed_is_not_a_film_that_is_over(films: dict[str, bytes]) -> None:
    argv = await asyncio.to_thread(command, "ffmpeg", "mpegts")
    async with serving(films, "film.mkv", cut=True) as feed:
        _, error = await read_whole(pipe_source(feed, argv))
    assert error.reason == "short"


@pytest.mark.needs("ffmpeg")
async def test_what_ffmpeg_says_of_its_input_does_not_give_the_address_away(films: dict[str, bytes]) -> None:
    argv = await asyncio.to_thread(command, "ffmpeg", "mpegts")
    async with serving(films, "missing.m3u8") as feed:
        _, error = await read_whole(pipe_source(feed, argv))
    assert error.reason == "ffmpeg_error"
    assert "http://source/missing.m3u8" in error.detail
    assert TOKEN not in error.detail


async def test_an_end_without_output_is_a_failure(tmp_path: Path) -> None:
    fake = FakeFFmpeg(tmp_path, exit_after=0.0, exit_code=0, segments=0, stdin="ignore")
    root = tmp_path / "hls"
    root.mkdir()

    def argv(progress_fd: int, source: Input) -> list[str]:
        return [str(fake.path), "-progress", f"pipe:{progress_fd}", "-i", source.url, "index.m3u8"]

    feed = Feed(Input("http://127.0.0.1:9/x/film.mkv", "matroska", "http,tcp", is_finite=True))
    async with writing(feed, root, argv) as writer:
        await until(lambda: writer.state is State.FAILED)
        assert writer.error is not None
        assert writer.error.reason == "ffmpeg_eof"
    _, error = await read_whole(pipe_source(feed, argv))
    assert error.reason == "eof"


async def test_a_ffmpeg_that_asks_for_nothing_any_more_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "LONGEST_SILENCE", 1.1)
    fake = FakeFFmpeg(tmp_path, segments=0, stdin="ignore")
    root = tmp_path / "hls"
    root.mkdir()

    def argv(progress_fd: int, source: Input) -> list[str]:
        return [str(fake.path), "-progress", f"pipe:{progress_fd}", "-i", source.url, "index.m3u8"]

    feed = Feed(Input("http://127.0.0.1:9/x/film.mkv", "matroska", "http,tcp", is_finite=True))
    async with writing(feed, root, argv, stall=0.2) as writer:
        await until(lambda: writer.state is State.FAILED)
        assert writer.error is not None
        assert writer.error.reason == "stall"
    _, error = await read_whole(pipe_source(feed, argv, stall=0.2))
    assert error.reason == "stall"


async def test_a_start_that_fails_gives_the_place_back() -> None:
    feed = Feed(Input("http://127.0.0.1:9/x/film.mkv", "matroska", "http,tcp"))
    source = pipe_source(feed, lambda fd, place: ["/nonexistent/ffmpeg", str(fd), place.url])
    with pytest.raises(Exception, match="ffmpeg"):
        await source.open()
    assert feed.place.closed
    assert feed.place.connected == []
    await source.aclose()


# ------------------------------------------------------------------ no further than it may


def playlist_of(*uris: str) -> bytes:
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines += [line for uri in uris for line in ("#EXTINF:2.0,", uri)]
    return "\n".join([*lines, "#EXT-X-ENDLIST", ""]).encode()


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("scheme", ["file://{path}", "crypto:{path}"])
async def test_a_segment_of_another_protocol_is_not_opened(
    films: dict[str, bytes], tmp_path: Path, binary: str, scheme: str
) -> None:
    """A74, A75."""
    canary, out = tmp_path / "canary.ts", tmp_path / "out.ts"
    canary.write_bytes(films["plain1.ts"])
    text = playlist_of("plain0.ts", scheme.format(path=canary))
    argv = await asyncio.to_thread(command, binary, "mpegts")
    async with serving({**films, "evil.m3u8": text}, "evil.m3u8") as feed:
        data, _ = await read_whole(pipe_source(feed, argv))
    out.write_bytes(data)
    assert (await asyncio.to_thread(frames, out))["video"] == 50, "not the one segment that is allowed"


@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize(
    "evil",
    [
        playlist_of("canary.ts"),
        b"ffconcat version 1.0\nfile 'canary.ts'\n",
    ],
    ids=["hls", "concat"],
)
async def test_a_segment_that_names_further_files_leads_nowhere(
    films: dict[str, bytes], binary: str, evil: bytes
) -> None:
    """A78."""
    files = {**films, "evil.m3u8": playlist_of("evil.ts"), "evil.ts": evil, "canary.ts": films["plain1.ts"]}
    argv = await asyncio.to_thread(command, binary, "mpegts")
    async with serving(files, "evil.m3u8") as feed:
        data, error = await read_whole(pipe_source(feed, argv))
    assert "evil.ts" in feed.asked
    assert "canary.ts" not in feed.asked
    assert data == b""
    assert error.reason != "completed"


@pytest.mark.needs("ffmpeg")
async def test_keys_are_used_only_where_they_are_expected(films: dict[str, bytes]) -> None:
    """A76."""
    argv = await asyncio.to_thread(command, "ffmpeg", "mpegts")
    async with serving({**films, "other.m3u8": films["aes.m3u8"]}, "other.m3u8") as feed:
        data, error = await read_whole(pipe_source(feed, argv))
    assert data == b""
    assert error.reason != "completed"
