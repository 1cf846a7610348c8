"""Many do the same thing at the same moment, or one undoes what the others do."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import aiohttp

from tests.support.daemon import Daemon, descendants
from tests.support.fake_ffmpeg import FakeFFmpeg
from tests.support.inv import ask, eventually, rig
from tests.support.origin import Answer, Origin, PathLog

COPY = "-i {input_url} -c copy -f hls index.m3u8"
SLOW = "-i {input_url} -c copy -metadata title=slow -f hls index.m3u8"
ROUNDS = 24
JOINERS = 20
MANY = 500


async def test_five_hundred_join_a_cold_transcoded_stream(tmp_path: Path, origin: Origin) -> None:
    """F90: a herd on a cold channel."""
    async with rig(tmp_path, origin, CLIENT_TIMEOUT="30") as daemon:
        endpoint = (await daemon.post("/transcode", url=origin.url("/live.ts"), profile=COPY))[
            "stream_endpoint"
        ]
        replies = await asyncio.gather(*(ask(daemon, f"{endpoint}?client_id=v{n}") for n in range(MANY)))
        assert {reply.status for reply in replies} == {200}
        assert all("#EXTINF" in reply.text for reply in replies)
        assert await daemon.metric("ffmpeg_starts_total") == 1
        assert len(descendants(daemon.pid)) == 1
        assert len(origin.path("/live.ts").connections) == 1
        assert await daemon.metric("viewers") == MANY
        assert len(list(daemon.segments.iterdir())) == 1


def opened(log: PathLog) -> bool:
    """Whether a path was asked for."""
    return bool(log.connections)


def closed(log: PathLog) -> bool:
    """Whether nobody reads a path."""
    return log.live == 0


async def join(daemon: Daemon, endpoint: str) -> tuple[int, float]:
    """Status of one join, and the seconds until the connection ended."""
    began = time.monotonic()
    try:
        async with daemon.http.get(endpoint) as response:
            status = response.status
            while await response.content.readany():
                pass
    except aiohttp.ClientError:  # cut in the body: it must not look complete
        pass
    return status, time.monotonic() - began


async def test_a_stream_is_deleted_while_twenty_join(tmp_path: Path, origin: Origin) -> None:
    """F99: DELETE during joins."""
    (tmp_path / "bin").mkdir()
    fake = FakeFFmpeg(tmp_path / "bin", segment_every=0.05)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path)) as daemon:
        for number in range(ROUNDS):
            path = f"/live{number}.ts"
            origin.on(path, Answer(ts=True))
            if number % 2:
                made = await daemon.post("/transcode", url=origin.url(path), profile=COPY)
            else:
                made = await daemon.post("/streams", url=origin.url(path))
            joins = [asyncio.ensure_future(join(daemon, made["stream_endpoint"])) for _ in range(JOINERS)]

            async def under_way(wanted: int = number) -> bool:
                return wanted % 3 == 0 or bool(await daemon.metric("viewers"))

            await eventually(under_way, 5.0, every=0.01 * (number % 4))
            began = time.monotonic()
            async with daemon.http.delete(f"/streams/{made['stream_id']}") as response:
                assert response.status == 200
            deleted = time.monotonic()
            rows = (await daemon.get("/streams"))["streams"]
            assert made["stream_id"] not in {row["stream_id"] for row in rows}
            assert not list(daemon.segments.iterdir())
            seen = origin.path(path)
            await origin.until(partial(closed, seen), within=2.0)
            results = await asyncio.wait_for(asyncio.gather(*joins), 5.0)
            assert {status for status, _ in results} <= {200, 404, 410, 503}
            assert time.monotonic() - deleted < 2.0
            assert deleted - began < 4.0
            assert await daemon.metric("viewers") == 0
            assert seen.peak <= 1


async def test_one_of_two_streams_of_a_source_is_deleted_while_twenty_join(
    tmp_path: Path, origin: Origin
) -> None:
    """F99: the source is shared."""
    (tmp_path / "bin").mkdir()
    fake = FakeFFmpeg(tmp_path / "bin", segment_every=0.05)
    async with rig(tmp_path, origin, FFMPEG_PATH=str(fake.path), CLIENT_TIMEOUT="30") as daemon:
        for number in range(4):
            path = f"/shared{number}.ts"
            origin.on(path, Answer(ts=True))
            hls = await daemon.post("/transcode", url=origin.url(path), profile=COPY)
            plain = await daemon.post("/streams", url=origin.url(path))
            stays = asyncio.ensure_future(ask(daemon, hls["stream_endpoint"]))
            joins = [asyncio.ensure_future(join(daemon, plain["stream_endpoint"])) for _ in range(JOINERS)]
            await origin.until(partial(opened, origin.path(path)))
            async with daemon.http.delete(f"/streams/{plain['stream_id']}") as response:
                assert response.status == 200
            results = await asyncio.wait_for(asyncio.gather(*joins), 5.0)
            assert {status for status, _ in results} <= {200, 404, 410, 503}
            assert (await stays).status == 200
            assert origin.path(path).live == 1
            async with daemon.http.delete(f"/streams/{hls['stream_id']}") as response:
                assert response.status == 200


async def test_the_same_address_is_the_same_stream(tmp_path: Path, origin: Origin) -> None:
    """F100: created at once, with and without a profile."""
    async with rig(tmp_path, origin) as daemon:
        url = origin.url("/live.ts")
        plain = [daemon.post("/streams", url=url, metadata={"n": str(n)}) for n in range(20)]
        coded = [daemon.post("/transcode", url=url, profile=COPY) for _ in range(20)]
        other = [daemon.post("/transcode", url=url, profile=SLOW) for _ in range(20)]
        elsewhere = [daemon.post("/streams", url=url + "?other") for _ in range(20)]
        groups = [await asyncio.gather(*group) for group in (plain, coded, other, elsewhere)]
        ids = [{made["stream_id"] for made in group} for group in groups]
        assert [len(group) for group in ids] == [1, 1, 1, 1]
        assert len(set.union(*ids)) == 4
        assert (await daemon.get("/streams"))["total"] == 4
        assert not origin.connections
