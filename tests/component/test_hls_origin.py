"""The HLS provider of the tests does what it is told, and its media is what it says."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.answer import Answer
from tests.support.hls_lists import PARTS, groups, single, variants
from tests.support.hls_media import COUNT, HlsMedia, hls_media
from tests.support.hls_origin import File, HlsOrigin, gzip_bomb, gzipped, playlist
from tests.support.hls_player import HlsReader, parse
from tests.support.media import probe


@pytest.fixture(scope="session")
def media() -> HlsMedia:
    return hls_media()


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with HlsOrigin() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        yield session


def decoded(path: Path, data: bytes) -> dict[str, int]:
    """Frames by kind of stream; nothing may go wrong on the way."""
    path.write_bytes(data)
    said = probe(path)
    assert not said["errors"]
    return {row["codec_type"]: int(row["nb_read_frames"]) for row in said["streams"]}


async def test_a_live_window_moves_by_steps(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high))
    reader = HlsReader(http, origin.url(news.path()))
    assert [each.sequence for each in (await reader.playlist()).segments] == [0, 1, 2, 3]
    origin.step("news", 3)
    now = await reader.playlist()
    assert (now.sequence, len(now.segments), now.ended) == (3, 4, False)
    assert await reader.fetch(now.segments[0]) == media.high.segments[3]
    assert reader.types[now.segments[0].span.url] == "video/mp2t"
    assert origin.count(news.segment(3)) == 1
    assert origin.asked(news.segment(3))[0].sent == len(media.high.segments[3])
    async with http.get(origin.url(news.segment(7))) as response:
        assert response.status == 404, "it is not out yet"


async def test_a_live_window_loops_with_a_discontinuity(media: HlsMedia) -> None:
    news = single("news", media.high)
    news.step(COUNT - 2)
    now = parse(news.main.text().decode(), "http://x/")
    assert [each.discontinuity for each in now.segments] == [False, False, True, False]
    news.step(4)
    assert "#EXT-X-DISCONTINUITY-SEQUENCE:1" in news.main.text().decode()


async def test_it_moves_by_clock(origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia) -> None:
    news = origin.add(single("news", media.high))
    origin.play("news", speed=20)
    reader = HlsReader(http, origin.url(news.path()))
    await reader.follow(reader.url, segments=6, poll=0.02)
    assert not reader.errors
    for sequence, data in reader.fetched.items():
        assert data == media.high.segments[sequence % COUNT]


@pytest.mark.needs("ffprobe")
async def test_media_decodes(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia, tmp_path: Path
) -> None:
    for name, track in (("ts", media.high), ("fmp4", media.fmp4)):
        film = origin.add(single(name, track, window=None))
        reader = HlsReader(http, origin.url(film.path()))
        now = await reader.playlist()
        assert now.ended
        frames = decoded(tmp_path / name, await reader.read(now))
        assert frames["video"] == 1000
        assert frames["audio"] > 1800
    for name in ("mp4", "mp4_faststart", "mkv"):
        assert decoded(tmp_path / name, getattr(media, name))["video"] == 1000
    assert media.mp4.find(b"moov") > media.mp4.find(b"mdat")
    assert media.mp4_faststart.find(b"moov") < media.mp4_faststart.find(b"mdat")


@pytest.mark.parametrize("mode", ["explicit", "implicit"])
async def test_encrypted_segments_are_the_plain_ones(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia, mode: str
) -> None:
    keys = {"keys": media.keys, "key_mode": mode}
    film = origin.add(single("film", media.encrypted, **keys))  # type: ignore[arg-type]
    origin.step("film", 2)
    reader = HlsReader(http, origin.url(film.path()))
    await reader.read(await reader.playlist())
    assert reader.fetched == {n: media.high.segments[n] for n in (2, 3, 4, 5)}
    assert sorted(origin.counts(r".*\.key").items()) == [("/film/index-0.key", 1), ("/film/index-1.key", 1)]


async def test_byte_ranges_are_the_segments(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    film = origin.add(single("film", media.high, one_file=True, window=None))
    reader = HlsReader(http, origin.url(film.path()))
    assert await reader.read(await reader.playlist()) == b"".join(media.high.segments)
    assert origin.count("/film/index-all.ts") == COUNT


async def test_groups_name_audio_and_subtitles(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    channel = origin.add(groups("tv", media))
    reader = HlsReader(http, origin.url(channel.path()))
    top = await reader.playlist()
    assert len(top.variants) == 2
    for url, track in (
        (top.variant("640x360").url, media.high_video),
        (top.rendition("AUDIO", "de").url, media.audio_de),
        (top.rendition("SUBTITLES", "en").url, media.subtitles),
    ):
        now = await reader.playlist(url)
        assert await reader.fetch(now.segments[1]) == track.segments[1]
    assert media.subtitles.segments[1].startswith(b"WEBVTT\n")


async def test_low_latency_parts_make_the_segment_and_a_hint_waits(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high, low_latency=True))
    text = news.main.text().decode()
    for tag in ("SERVER-CONTROL:CAN-BLOCK-RELOAD=YES", "PART:", "PRELOAD-HINT:", "RENDITION-REPORT:"):
        assert f"#EXT-X-{tag}" in text
    parts = []
    for part in range(PARTS):
        async with http.get(origin.url(news.path(news.main.part_uri(3, part)))) as response:
            parts.append(await response.read())
    assert b"".join(parts) == media.high.segments[3]
    hint = asyncio.ensure_future(http.get(origin.url(news.path(news.main.part_uri(4, 0)))))
    reload = asyncio.ensure_future(http.get(origin.url(news.path() + "?_HLS_msn=4")))
    await origin.until(lambda: origin.busy() == 2)
    origin.step("news")
    async with await hint as response, await reload as reloaded:
        assert response.status == 200
        assert parse(await reloaded.text(), "http://x/").segments[-1].sequence == 4


async def test_scripts_change_what_is_listed(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high))
    reader = HlsReader(http, origin.url(news.path()))
    news.main.freeze()
    origin.step("news")
    assert (await reader.playlist()).segments[-1].sequence == 3
    news.main.thaw()
    assert (await reader.playlist()).segments[-1].sequence == 4
    news.main.restart()
    now = await reader.playlist()
    assert [each.sequence for each in now.segments] == [0]
    assert await reader.fetch(now.segments[0]) == media.high.segments[5]
    news.main.missing.add(0)
    async with http.get(now.segments[0].span.url) as response:
        assert response.status == 404
    news.main.ended = True
    assert (await reader.playlist()).ended
    news.main.override = lambda: "#EXTM3U\n#EXT-X-TARGETDURATION:7\n"
    assert (await reader.playlist()).target == 7


async def test_scripts_change_how_it_answers(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high))
    path, url = news.path(), origin.url(news.path())

    async def status() -> int:
        async with http.get(url) as response:
            return response.status

    origin.on(path, Answer(status=503), None)
    assert [await status() for _ in range(3)] == [503, 200, 200]
    origin.every(path, 3, Answer(status=500))
    assert [await status() for _ in range(3)] == [200, 200, 500]
    origin.on(path, Answer(html=True))
    async with http.get(url) as response:
        assert b"<html>" in await response.read()
    origin.on(path)
    news.require["X-Token"] = "secret"
    assert await status() == 403
    async with http.get(url, headers={"X-Token": "secret"}) as response:
        assert response.status == 200


async def test_bodies_are_framed_as_told(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high))
    for framing, name in (("chunked", "Transfer-Encoding"), ("close", None), ("length", "Content-Length")):
        origin.framing[news.path()] = framing  # type: ignore[assignment]
        async with http.get(origin.url(news.path())) as response:
            assert await response.read() == news.main.text()
            assert (set(response.headers) & {"Transfer-Encoding", "Content-Length"}) == ({name} - {None})


async def test_encodings_right_wrong_and_huge(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    text = single("news", media.high).main.text()
    bodies = []
    for answer in (gzipped(text), gzipped(text, broken=True), gzip_bomb(2**21), playlist("#EXTM3U\n")):
        origin.on("/x.m3u8", answer)
        async with http.get(origin.url("/x.m3u8")) as response:
            bodies.append(await response.read())
    assert gzip.decompress(bodies[0]) == text
    with pytest.raises((OSError, EOFError, zlib.error)):
        gzip.decompress(bodies[1])
    assert len(bodies[2]) < 2**15
    assert 2**20 < len(gzip.decompress(bodies[2])) <= 2**21 + 64
    assert bodies[3] == b"#EXTM3U\n"


async def test_a_held_answer_comes_in_pieces(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high))
    path = news.segment(2)
    hold = origin.hold(path)
    asking = asyncio.ensure_future(http.get(origin.url(path)))
    await origin.until(lambda: origin.busy(path) == 1)
    assert not asking.done()
    hold.release(500)
    async with await asking as response:
        assert await response.content.readexactly(500) == media.high.segments[2][:500]
        assert origin.asked(path)[0].closed is None
        hold.finish()
        assert await response.read() == media.high.segments[2][500:]


async def test_a_held_answer_can_be_cut(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    origin.file("/film.mp4", File(media.mp4, "video/mp4"))
    hold = origin.hold("/film.mp4", after=1000)
    async with http.get(origin.url("/film.mp4"), headers={"Range": "bytes=100-"}) as response:
        assert await response.content.readexactly(1000) == media.mp4[100:1100]
        hold.cut()
        with pytest.raises(aiohttp.ClientError):
            await response.content.readexactly(1)
    async with http.get(origin.url("/film.mp4")) as response:
        assert await response.read() == media.mp4


async def test_files_have_ranges_validators_and_head(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    origin.file("/film.mkv", File(media.mkv, "video/x-matroska"))
    url, size = origin.url("/film.mkv"), len(media.mkv)
    async with http.head(url) as response:
        assert response.headers["Content-Length"] == str(size)
        tag = response.headers["ETag"]
    for asked, start, stop in (("0-0", 0, 1), ("-5", size - 5, size), (f"{size - 2}-", size - 2, size)):
        async with http.get(url, headers={"Range": f"bytes={asked}", "If-Range": tag}) as response:
            assert response.status == 206
            assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
            assert await response.read() == media.mkv[start:stop]
    async with http.get(url, headers={"Range": f"bytes={size}-"}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{size}")
    async with http.get(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}) as response:
        assert response.status == 200


async def test_redirects_rotate_over_hosts_and_relative_names_follow(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    channel = origin.add(variants("tv", media))
    origin.rotate(channel.path())
    reader = HlsReader(http, origin.url(channel.path()))
    tops = [await reader.playlist() for _ in range(2)]
    assert [top.url.split("/")[2].split(":")[0] for top in tops] == ["127.0.0.1", "127.0.0.2"]
    now = await reader.playlist(tops[1].variants[1].url)
    assert await reader.fetch(now.segments[0]) == media.low.segments[0]
    request = origin.asked(channel.segment(0, "low"))[0]
    assert (request.host, request.target) == ("127.0.0.2", "/edge/tv/low-0.ts")


async def test_a_playlist_under_another_name(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high))
    origin.alias("/live/1.ts", news.path())
    async with http.get(origin.url("/live/1.ts")) as response:
        assert await response.read() == news.main.text()


async def test_the_log_knows_how_many_at_once(
    origin: HlsOrigin, http: aiohttp.ClientSession, media: HlsMedia
) -> None:
    news = origin.add(single("news", media.high))
    hold = origin.hold(news.segment(1), after=1)

    async def fetch() -> bytes:
        async with http.get(origin.url(news.segment(1))) as response:
            return await response.read()

    fetching = [asyncio.ensure_future(fetch()) for _ in range(3)]
    await origin.until(lambda: origin.busy() == 3)
    assert origin.open_connections == 3
    hold.finish()
    assert await asyncio.gather(*fetching) == [media.high.segments[1]] * 3
    await origin.until(lambda: origin.busy() == 0)
    assert origin.peak(news.segment(1)) == 3
    await fetch()
    assert len(origin.wires) == 3, "connections are kept"
    await http.close()
    await origin.until(lambda: origin.open_connections == 0)
