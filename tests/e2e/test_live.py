"""A viewer plays a channel, and hundreds share it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.fake_ffmpeg import until
from tests.support.inv import eventually
from tests.support.media import make_live_sample, probe
from tests.support.origin import Answer, Origin
from tests.support.player import read_some
from tests.support.tsverify import slices_of, verify

SECOND = 250_000
"""Bytes of the sample per second."""


async def create(daemon: Daemon, url: str, **fields: object) -> str:
    """Id of a new stream."""
    return str((await daemon.post("/streams", url=url, **fields))["stream_id"])


async def unwatched(daemon: Daemon, stream: str) -> bool:
    """Whether nobody is counted as a viewer of a stream."""
    return not (await daemon.get(f"/streams/{stream}"))["client_count"]


@pytest.mark.needs("ffprobe")
async def test_a_viewer_gets_both_tracks_from_a_keyframe_on(
    daemon: Daemon, origin: Origin, tmp_path: Path
) -> None:
    stream = await create(daemon, origin.url("/live.ts"))

    capture = await read_some(daemon.http, f"/stream/{stream}", 4 * SECOND)

    report = verify(capture[: len(capture) // 188 * 188])
    assert report.clean, report
    assert report.first_video_is_keyframe
    path = tmp_path / "capture.ts"
    path.write_bytes(capture)
    found = probe(path)
    kinds = {row["codec_type"]: int(row["nb_read_frames"]) for row in found["streams"]}
    assert kinds["video"] > 60
    assert kinds["audio"] > 120


async def test_a_hundred_viewers_are_one_connection(daemon: Daemon, origin: Origin, sample: bytes) -> None:
    """Trap 25: one provider connection for each live stream."""
    stream = await create(daemon, origin.url("/live.ts"))
    async with aiohttp.ClientSession(daemon.url, connector=aiohttp.TCPConnector(limit=0)) as http:
        viewers = [read_some(http, f"/stream/{stream}", 2 * SECOND) for _ in range(100)]
        captures = await asyncio.gather(*viewers)

    assert len(origin.path("/live.ts").connections) == 1
    for capture in captures:
        whole = capture[: len(capture) // 188 * 188]
        report = verify(whole)
        assert report.clean
        assert report.first_video_is_keyframe
        assert len(slices_of(whole, sample)) == 1


async def test_a_joiner_of_a_warm_stream_is_served_from_the_newest_keyframe(
    daemon: Daemon, origin: Origin
) -> None:
    stream = await create(daemon, origin.url("/live.ts"))
    async with daemon.http.get(f"/stream/{stream}") as first:
        await first.content.readexactly(SECOND)
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with daemon.http.get(f"/stream/{stream}") as second:
            start = await second.content.readexactly(188 * 20)
        waited = loop.time() - began
    report = verify(start)
    assert report.first_packets[:2] == ("PAT", "PMT")
    assert report.first_video_is_keyframe
    assert waited < 1.0  # nothing of it is waiting for the source: its next keyframe is up to 2 s away


async def test_counts_follow_the_sockets(daemon: Daemon, origin: Origin) -> None:
    stream = await create(daemon, origin.url("/live.ts"))
    assert (await daemon.get(f"/streams/{stream}"))["client_count"] == 0
    async with daemon.http.get(f"/stream/{stream}") as one, daemon.http.get(f"/stream/{stream}") as two:
        await one.content.readexactly(188)
        await two.content.readexactly(188)
        shown = await daemon.get(f"/streams/{stream}")
        assert shown["client_count"] == 2
        assert len({client["client_id"] for client in shown["clients"]}) == 2
    await eventually(lambda: unwatched(daemon, stream), 1.0)


async def test_the_upstream_opens_with_the_first_viewer_and_closes_after_the_grace(
    tmp_path: Path, origin: Origin
) -> None:
    async with Daemon(tmp_path, SHARED_STREAM_GRACE="1") as daemon:
        stream = await create(daemon, origin.url("/live.ts"))
        await daemon.get("/streams")
        assert not origin.path("/live.ts").connections
        await read_some(daemon.http, f"/stream/{stream}", 188)
        assert origin.path("/live.ts").live == 1
        await origin.until(lambda: origin.path("/live.ts").live == 0, within=3.0)
        assert len(origin.path("/live.ts").connections) == 1


async def test_delete_cuts_viewers_and_closes_the_upstream_before_it_answers(
    daemon: Daemon, origin: Origin
) -> None:
    stream = await create(daemon, origin.url("/live.ts"))
    async with daemon.http.get(f"/stream/{stream}") as viewer:
        await viewer.content.readexactly(188)
        async with daemon.http.delete(f"/streams/{stream}") as answer:
            assert await answer.json() == {"message": f"Stream {stream} deleted"}
        await origin.until(lambda: origin.path("/live.ts").live == 0, within=1.0)
        with pytest.raises((aiohttp.ClientError, asyncio.IncompleteReadError)):
            await viewer.content.readexactly(100 * SECOND)
    async with daemon.http.get(f"/stream/{stream}") as gone:
        assert gone.status == 404
    assert await daemon.get("/streams") == {"streams": [], "total": 0}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(status=404), 404),
        (Answer(status=403), 502),
        (Answer(status=500), 503),
        (Answer(status=429), 503),
        (Answer(html=True), 502),
    ],
)
async def test_an_upstream_failure_is_a_status_before_the_first_byte(
    daemon: Daemon, origin: Origin, answer: Answer, status: int
) -> None:
    """F17, F18, F19, F20, F22: without a spare."""
    origin.on("/bad.ts", answer)
    stream = await create(daemon, origin.url("/bad.ts"))
    async with daemon.http.get(f"/stream/{stream}") as response:
        body = await response.json()
    assert response.status == status, body
    assert isinstance(body["detail"], str)
    assert "127.0.0.1" not in body["detail"]
    assert ("Retry-After" in response.headers) == (status == 503)


@pytest.mark.parametrize("answer", [Answer(fin=376), Answer(stall=376)])
async def test_tables_without_media_are_no_stream(
    tmp_path: Path, origin: Origin, sample: bytes, answer: Answer
) -> None:
    """F45: nothing decodable."""
    packets = [sample[at : at + 188] for at in range(0, 188 * 200, 188)]
    tables = [
        next(one for one in packets if one[1] & 0x1F == pid >> 8 and one[2] == pid & 0xFF)
        for pid in (0, 4096)
    ]
    origin.on("/tables.ts", replace(answer, body=b"".join(tables) + b"\x47\x1f\xff\x10" + bytes(184)))
    async with Daemon(tmp_path, LIVE_CHUNK_TIMEOUT_SECONDS="1") as daemon:
        stream = await create(daemon, origin.url("/tables.ts"))
        async with asyncio.timeout(5.0), daemon.http.get(f"/stream/{stream}") as response:
            assert response.status == 503
            assert "detail" in await response.json()


async def test_a_changed_definition_never_makes_two_connections(daemon: Daemon, origin: Origin) -> None:
    path = origin.path("/live.ts")
    stream = await create(daemon, origin.url("/live.ts"), user_agent="A")
    await read_some(daemon.http, f"/stream/{stream}", 188)
    await create(daemon, origin.url("/live.ts"), user_agent="B")
    async with daemon.http.get(f"/stream/{stream}") as viewer:
        await viewer.content.readexactly(188)
        await create(daemon, origin.url("/live.ts"), user_agent="C")
    await eventually(lambda: unwatched(daemon, stream), 2.0)
    await read_some(daemon.http, f"/stream/{stream}", 188)
    assert [request["user-agent"] for request in path.requests] == ["A", "B", "C"]
    assert path.peak == 1


async def test_a_permanent_stream_stays_permanent(daemon: Daemon) -> None:
    stream = await create(daemon, "http://provider.example/1.ts", permanent=True)
    await create(daemon, "http://provider.example/1.ts")
    assert (await daemon.get(f"/streams/{stream}"))["stream"]["permanent"] is True


async def test_a_dead_stream_is_shown_as_failed(daemon: Daemon) -> None:
    stream = await create(daemon, "http://127.0.0.1:1/live.ts")
    async with daemon.http.get(f"/stream/{stream}") as response:
        assert response.status == 503
    shown = (await daemon.get(f"/streams/{stream}"))["stream"]
    assert (shown["state"], shown["is_active"]) == ("failed", False)
    assert shown["reason"]
    await until(lambda: any("WARNING" in line and stream in line for line in daemon.log), 5.0)


async def test_a_closed_port_is_answered_at_once(daemon: Daemon, origin: Origin) -> None:
    """F1: without a spare."""
    stream = await create(daemon, "http://127.0.0.1:1/live.ts")
    async with asyncio.timeout(3.0), daemon.http.get(f"/stream/{stream}") as response:
        assert response.status == 503
        assert response.headers["Retry-After"]


async def test_a_source_without_video_plays(tmp_path: Path) -> None:
    """F45: audio only."""
    path = tmp_path / "radio.ts"
    make_live_sample(path, seconds=10, rate="300k", video=False)
    async with Origin(ts=path.read_bytes(), rate=300e3) as origin, Daemon(tmp_path) as daemon:
        origin.on("/radio.ts", Answer(ts=True))
        stream = await create(daemon, origin.url("/radio.ts"))
        capture = await read_some(daemon.http, f"/stream/{stream}", 188 * 200)
    assert verify(capture[: len(capture) // 188 * 188]).clean


async def test_head_contacts_nobody(daemon: Daemon, origin: Origin) -> None:
    stream = await create(daemon, origin.url("/live.ts"))
    async with daemon.http.head(f"/stream/{stream}") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "video/mp2t"
        assert response.headers["Accept-Ranges"] == "none"
        assert "Content-Length" not in response.headers
    assert not origin.connections
    assert (await daemon.get(f"/streams/{stream}"))["client_count"] == 0


async def test_a_source_that_comes_back_keeps_its_viewers(daemon: Daemon, origin: Origin) -> None:
    """F5: without a spare."""
    origin.on("/flaky.ts", Answer(ts=True, fin=3 * SECOND), Answer(ts=True))
    stream = await create(daemon, origin.url("/flaky.ts"))
    capture = await read_some(daemon.http, f"/stream/{stream}", 5 * SECOND)
    report = verify(capture[: len(capture) // 188 * 188])
    assert report.clean, report
    assert report.flagged_discontinuities
    assert len(origin.path("/flaky.ts").connections) == 2
    assert origin.path("/flaky.ts").peak == 1
