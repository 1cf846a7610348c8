"""FFmpeg reads files and playlists through the proxy: what it writes, and what providers see of it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import select
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.daemon import Daemon, alive, descendants
from tests.support.fake_ffmpeg import until
from tests.support.hls_lists import single, variants
from tests.support.hls_media import SECONDS, HlsMedia, hls_media
from tests.support.hls_origin import File, HlsOrigin, playlist
from tests.support.inv import eventually
from tests.support.media import ffmpeg, probe
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import ask, head

COPY = "-i {input_url} -c copy -f hls index.m3u8"
SMALL = "-i {input_url} -vf scale=-2:180 -c:v libx264 -preset ultrafast -b:v 200k -c:a aac -f hls index.m3u8"
PIPE = "-i {input_url} -c copy -f mpegts {output_args}"
LATE = "-ss {at} " + PIPE
END = SECONDS - 3
"""Films are read at their own speed; the tests begin shortly before the end."""


@pytest.fixture(scope="session")
def media() -> HlsMedia:
    return hls_media()


@pytest.fixture
async def provider(media: HlsMedia) -> AsyncIterator[HlsOrigin]:
    """Every sort of source."""
    async with HlsOrigin() as server:
        for name, body, kind in (
            ("end.mp4", media.mp4, "video/mp4"),
            ("film.mkv", media.mkv, "video/x-matroska"),
            ("film.ts", b"".join(media.high.segments), "video/mp2t"),
        ):
            server.file(f"/movie/{name}", File(body, kind))
        server.add(single("film", media.high, window=None))
        server.add(single("aes", media.encrypted, window=None, keys=media.keys))
        server.add(single("fmp4", media.fmp4, window=None))
        server.add(variants("many", media, window=None))
        server.add(single("live", media.high))
        server.play("live")
        yield server


async def transcode(daemon: Daemon, url: str, profile: str, **variables: str) -> str:
    """Endpoint of a new transcoded stream."""
    made = await daemon.post("/transcode", url=url, profile=profile, profile_variables=variables)
    return str(made["stream_endpoint"])


def ffmpegs(daemon: Daemon) -> list[int]:
    """Living FFmpeg processes of a daemon."""
    return [pid for pid in descendants(daemon.pid) if b"ffmpeg" in command_of(pid)]


def command_of(pid: int) -> bytes:
    """The command line of a process; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def address_of(pid: int) -> str:
    """What a FFmpeg reads."""
    words = command_of(pid).split(b"\0")
    return words[words.index(b"-i") + 1].decode()


def frames(path: Path) -> dict[str, int]:
    """Decoded frames of each sort; nothing may be wrong with them."""
    told: dict[str, Any] = probe(path)
    return {one["codec_type"]: int(one["nb_read_frames"]) for one in told["streams"]}


async def hls_of(daemon: Daemon, endpoint: str, *, segments: int = 1) -> tuple[str, bytes]:
    """The playlist once it has so many segments, or its end, and what these hold."""
    text = ""

    async def is_enough() -> bool:
        nonlocal text
        async with daemon.http.get(endpoint) as response:
            text = await response.text()
            assert response.status == 200, text
        return text.count("#EXTINF") >= segments or "#EXT-X-ENDLIST" in text

    await eventually(is_enough, 20.0)
    data = b""
    for line in re.findall(r'EXT-X-MAP:URI="([^"]+)"', text) + re.findall(r"^/.*$", text, re.MULTILINE):
        async with daemon.http.get(line) as response:
            assert response.status == 200
            data += await response.read()
    return text, data


FILES = ["/movie/end.mp4", "/movie/film.mkv", "/movie/film.ts"]
SEEKABLE = ["/film/index.m3u8", "/aes/index.m3u8", "/many/index.m3u8"]
"""FFmpeg 5.1 finds nothing any more after a seek in fragmented MP4."""
LISTS = ["/film/index.m3u8", "/aes/index.m3u8", "/fmp4/index.m3u8", "/many/index.m3u8"]


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("path", [*FILES, *LISTS, "/live/index.m3u8"])
@pytest.mark.parametrize("profile", [COPY, SMALL], ids=["copy", "encode"])
async def test_as_hls(daemon: Daemon, provider: HlsOrigin, tmp_path: Path, path: str, profile: str) -> None:
    endpoint = await transcode(daemon, provider.url(path), profile)
    _, data = await hls_of(daemon, endpoint)
    out = tmp_path / "out.ts"
    out.write_bytes(data)
    found = await asyncio.to_thread(frames, out)
    assert found["video"] >= 49
    assert found["audio"] >= 80
    if path in FILES:
        assert provider.peak(re.escape(path)) == 1
    else:
        assert max(provider.counts(r".*-\d+\.(ts|m4s)").values()) == 1
        assert provider.peak() == 1
    assert not provider.counts(r"/many/low.*")


@pytest.mark.needs("ffprobe")
@pytest.mark.parametrize("path", [*FILES, *SEEKABLE])
async def test_a_film_to_its_end(daemon: Daemon, provider: HlsOrigin, tmp_path: Path, path: str) -> None:
    endpoint = await transcode(daemon, provider.url(path), LATE, at=str(END))
    async with daemon.http.get(endpoint) as response:
        assert response.status == 200, await response.text()
        data = await response.read()
    out = tmp_path / "out.ts"
    out.write_bytes(data)
    found = await asyncio.to_thread(frames, out)
    assert 40 <= found["video"] <= 130, "as little as there is from there to the end"
    assert found["audio"] >= 80
    if path in FILES:
        assert provider.peak(re.escape(path)) == 1
    assert provider.count("/film/index-3.ts") == 0, "it was to begin later"
    await eventually(lambda: nobody(daemon), 0.5)
    assert 'reason="completed"' in await metrics(daemon)


async def nobody(daemon: Daemon) -> bool:
    return not await daemon.metric("viewers")


async def metrics(daemon: Daemon) -> str:
    async with daemon.http.get("/metrics") as response:
        return await response.text()


@pytest.mark.needs("ffmpeg")
async def test_a_film_as_hls_ends_with_endlist(daemon: Daemon, provider: HlsOrigin) -> None:
    for path in ("/movie/end.mp4", "/film/index.m3u8"):
        endpoint = await transcode(daemon, provider.url(path), f"-ss {END} {COPY}")
        text, _ = await hls_of(daemon, endpoint, segments=99)
        assert text.endswith("#EXT-X-ENDLIST\n")
        assert not ffmpegs(daemon)


@pytest.mark.needs("ffmpeg")
async def test_a_live_stream_begins_where_it_is(daemon: Daemon, provider: HlsOrigin) -> None:
    endpoint = await transcode(daemon, provider.url("/live/index.m3u8"), LATE, at="3000")
    async with asyncio.timeout(10.0), daemon.http.get(endpoint) as response:
        assert response.status == 200
        assert (await response.content.readexactly(188))[0] == 0x47


@pytest.mark.needs("ffmpeg")
async def test_a_slow_provider_is_asked_for_one_segment_after_the_other(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia
) -> None:
    for number, body in enumerate(media.high.segments):
        headers = {"Content-Type": "video/mp2t"}
        slow = Answer(headers=headers, body=body, length=True, drip=len(body) / 0.8)
        provider.on(f"/film/index-{number}.ts", slow)
    endpoint = await transcode(daemon, provider.url("/film/index.m3u8"), PIPE)
    async with daemon.http.get(endpoint) as response, asyncio.timeout(15.0):
        await response.content.readexactly(2 * len(media.high.segments[0]))
    assert len(provider.counts(r".*\.ts")) >= 2
    assert provider.peak() == 1


@pytest.mark.needs("ffmpeg")
async def test_viewers_and_ffmpeg_share_every_fetch(daemon: Daemon, provider: HlsOrigin) -> None:
    url = provider.url("/live/index.m3u8")
    plain = str((await daemon.post("/streams", url=url))["stream_endpoint"])
    async with daemon.http.get(plain) as response:
        assert response.status == 200
    endpoint = await transcode(daemon, url, COPY)
    await asyncio.gather(hls_of(daemon, endpoint, segments=3), hls_of(daemon, plain, segments=4))
    counts = provider.counts(r".*\.ts")
    assert counts
    assert set(counts.values()) == {1}


@pytest.mark.needs("ffmpeg")
async def test_a_killed_ffmpeg_loses_its_address(tmp_path: Path, provider: HlsOrigin) -> None:
    async with Daemon(tmp_path, LOG_LEVEL="debug", SHARED_STREAM_GRACE="0.5", CLIENT_TIMEOUT="1") as daemon:
        endpoint = await transcode(daemon, provider.url("/movie/film.mkv"), COPY)
        await hls_of(daemon, endpoint)
        (pid,) = ffmpegs(daemon)
        address = address_of(pid)
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{32})/file\.mkv", address)
        assert found is not None, address
        port, token = int(found[1]), found[2]
        guesses = ["x" * 32, token[:-1] + ("a" if token[-1] != "a" else "b"), token.upper(), "..", "%2e%2e"]
        for guess in guesses:
            reply = await ask(port, head(f"/{guess}/file.mkv"))
            assert (reply.status, reply.json()) == (404, {"detail": "Not Found"})
        with pytest.raises(OSError, match="onnect"):
            await asyncio.open_connection("127.0.0.2", port)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not alive(pid), 5.0)
        await provider.until(lambda: provider.busy("/movie/.*") == 0)

        async def is_gone() -> bool:
            return (await ask(port, head(f"/{token}/file.mkv"))).status == 404

        await eventually(is_gone, 2.0)
        for url in (address, f"http://localhost:{port}/{token}/file.mkv"):
            async with daemon.http.post("/streams", json={"url": url}) as made:
                answer = await made.json()
            if made.status == 200:
                async with daemon.http.get(answer["stream_endpoint"]) as refused:
                    assert refused.status == 502
                    answer = await refused.json()
            else:
                assert made.status == 422
    assert not [line for line in daemon.log if token in line]


@pytest.mark.needs("ffmpeg")
async def test_a_transcode_nobody_watches_leaves_nothing(tmp_path: Path, provider: HlsOrigin) -> None:
    async with Daemon(tmp_path, SHARED_STREAM_GRACE="0.5", CLIENT_TIMEOUT="1") as daemon:
        for path in ("/movie/end.mp4", "/live/index.m3u8"):
            endpoint = await transcode(daemon, provider.url(path), PIPE)
            async with daemon.http.get(endpoint) as response:
                await response.content.readexactly(188)
            await until(lambda: not ffmpegs(daemon), 5.0)
            await provider.until(lambda: provider.busy() == 0)

            async def is_empty() -> bool:
                return not await daemon.metric("upstream_connections")

            await eventually(is_empty, 2.0)


OPEN, ACCESS = 0x20, 0x01
"""Events of inotify."""


@contextmanager
def watched(path: Path) -> Iterator[int]:
    """An inotify descriptor that becomes readable when somebody opens the file."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert fd >= 0
    try:
        assert libc.inotify_add_watch(fd, os.fsencode(path), OPEN | ACCESS) >= 0
        yield fd
    finally:
        os.close(fd)


@pytest.mark.needs("ffmpeg", "ffprobe")
async def test_nothing_of_this_machine_is_opened(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, tmp_path: Path
) -> None:
    canary = tmp_path / "canary.ts"
    canary.write_bytes(media.low.segments[5])
    evil = [
        f"file://{canary}",
        f"file:{canary}",
        str(canary),
        f"concat:{canary}|{canary}",
        f"subfile,,start,0,end,0,,:{canary}",
        f"crypto:{canary}",
        f"crypto+file:{canary}",
        f"unix:{canary}",
        f"pipe:{canary}",
        f"async:file:{canary}",
        f"cache:{canary}",
        "data:video/mp2t;base64,R0AREA==",
        "rtmp://127.0.0.1/x",
        "udp://127.0.0.1:9",
    ]
    lines = ["#EXTM3U", "#EXT-X-VERSION:5", "#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:0"]
    lines += ["#EXTINF:2,", "/film/index-0.ts"]
    for uri in evil:
        lines += [f'#EXT-X-MAP:URI="{uri}"', "#EXTINF:2,", uri]
        lines += [f'#EXT-X-KEY:METHOD=AES-128,URI="{uri}"', "#EXTINF:2,", "/film/index-1.ts"]
    lines += ["#EXT-X-KEY:METHOD=NONE", "#EXTINF:2,", "/film/index-2.ts", "#EXT-X-ENDLIST", ""]
    provider.on("/evil/index.m3u8", playlist("\n".join(lines)))
    with watched(canary) as fd:
        endpoint = await transcode(daemon, provider.url("/evil/index.m3u8"), PIPE)
        async with daemon.http.get(endpoint) as response:
            body = await response.read()
        assert select.select([fd], [], [], 0)[0] == [], "the canary was opened"
        assert await asyncio.to_thread(canary.read_bytes)
        assert select.select([fd], [], [], 1)[0] == [fd], "the watch does not see anything"
    assert media.low.segments[5][188 * 10 : 188 * 20] not in body


@pytest.mark.needs("ffmpeg")
async def test_a_key_elsewhere_is_not_fetched_by_ffmpeg(daemon: Daemon, provider: HlsOrigin) -> None:
    async with Origin(host="127.0.0.3") as canary:
        canary.always(Answer(body=b"k" * 16, length=True))
        text = (
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n"
            f'#EXT-X-KEY:METHOD=AES-128,URI="{canary.url("/k.key")}"\n'
            "#EXTINF:2,\n/film/index-0.ts\n#EXT-X-ENDLIST\n"
        )
        provider.on("/keys/index.m3u8", playlist(text))
        endpoint = await transcode(daemon, provider.url("/keys/index.m3u8"), PIPE)
        async with aiohttp.ClientSession(daemon.url) as http, http.get(endpoint) as response:
            await response.read()
        for request in canary.path("/k.key").requests:
            assert "lavf" not in request.get("user-agent", "").lower()


@pytest.mark.may_block("it makes a sample with FFmpeg")
@pytest.mark.parametrize(("codec", "has_filter"), [("ac3", False), ("aac", True)])
async def test_audio_of_a_film_is_copied_into_fragments(
    daemon: Daemon, provider: HlsOrigin, tmp_path: Path, codec: str, has_filter: bool
) -> None:
    """Only AAC in ADTS takes the filter that MP4 needs: with it, FFmpeg refuses other audio."""
    path = tmp_path / "film.ts"
    tracks = ("-f", "lavfi", "-i", "testsrc=s=128x72:r=25:d=6", "-f", "lavfi", "-i", "sine=d=6")
    coded = ("-c:v", "libx264", "-g", "25", "-c:a", codec, "-f", "mpegts", str(path))
    subprocess.run([ffmpeg(), "-v", "error", *tracks, *coded], check=True, timeout=60)
    provider.file("/movie/sound.ts", File(path.read_bytes(), "video/mp2t"))
    profile = "-i {input_url} -c copy -f hls -hls_time 1 -hls_segment_type fmp4 index.m3u8"
    made = await daemon.post("/transcode", url=provider.url("/movie/sound.ts"), profile=profile)
    async with daemon.http.get(made["stream_endpoint"]) as response:
        assert response.status == 200, await response.text()
        text = await response.text()
    assert "#EXT-X-MAP" in text
    (pid,) = [
        one for one in descendants(daemon.pid) if b"ffmpeg" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    assert (b"aac_adtstoasc" in Path(f"/proc/{pid}/cmdline").read_bytes()) == has_filter
