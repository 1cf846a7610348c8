"""Upstream connections that fail, row by row: what the provider sees, what viewers get, what is counted."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.answer import HTML
from tests.support.daemon import Daemon
from tests.support.inv import ask, eventually, labelled, rig
from tests.support.line import Line
from tests.support.media import make_live_sample
from tests.support.origin import Answer, Connection, Origin
from tests.support.watching import SECOND, grown, watching

SPEED = 4
"""How much faster than it plays the sample is sent here."""
SECRETS = ("CANARYuser", "CANARYpass", "CANARYkey")


@pytest.fixture
async def origin(sample: bytes) -> AsyncIterator[Origin]:
    async with Origin(ts=sample, rate=SPEED * 2e6) as server:
        yield server


async def create(daemon: Daemon, url: str, **fields: object) -> str:
    return str((await daemon.post("/streams", url=url, **fields))["stream_id"])


def place(case: str) -> str:
    """A path of an account of its own, so that the pace of one case is not that of another."""
    return f"/live/{SECRETS[0]}{case}/{SECRETS[1]}/1.ts"


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@contextmanager
def black_hole() -> Iterator[int]:
    """A port whose queue is full: the kernel drops further SYNs."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield listener.getsockname()[1]


async def first_byte(daemon: Daemon, stream: str) -> float:
    """Seconds from a request to its first byte of media."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with daemon.http.get(f"/stream/{stream}") as response:
        assert response.status == 200, await response.text()
        assert (await response.content.readexactly(1)) == b"\x47"
        return loop.time() - began


# --- at the join

BAD: dict[str, tuple[Answer, str, int]] = {
    "F14-six redirects": (Answer(redirect=6, ts=True), "redirects", 6),
    "F15-loop": (Answer(redirect="loop"), "redirects", 1),
    "F17-401": (Answer(status=401), "http_4xx", 1),
    "F17-403": (Answer(status=403), "http_4xx", 1),
    "F18-404": (Answer(status=404), "http_404", 1),
    "F19-429": (Answer(status=429, headers={"Retry-After": "20"}), "http_429", 1),
    "F20-500": (Answer(status=500), "http_5xx", 1),
    "F20-503": (Answer(status=503), "http_5xx", 1),
    "F22-html": (Answer(html=True), "not_media", 1),
}
"""What a primary answers, the reason that is counted, and the requests it takes."""


async def test_who_joins_a_bad_source_is_served_by_the_next_within_a_second(
    tmp_path: Path, origin: Origin
) -> None:
    """F1, F14, F15, F17, F18, F19, F20, F22; and no credential is in the log, whatever the log says."""
    expected: Counter[str] = Counter({"refused": 1})
    async with rig(tmp_path, origin, LOG_LEVEL="debug") as daemon:
        with closed_port() as port:
            cases = [("F1", f"http://127.0.0.1:{port}{place('F1')}?key={SECRETS[2]}")]
            for number, (answer, reason, _) in enumerate(BAD.values()):
                origin.on(place(str(number)), answer)
                cases.append((str(number), origin.url(f"{place(str(number))}?key={SECRETS[2]}")))
                expected[reason] += 1
            for case, url in cases:
                origin.on(place(f"{case}spare"), Answer(ts=True))
                stream = await create(daemon, url, failover_urls=[origin.url(place(f"{case}spare"))])
                assert await first_byte(daemon, stream) < 1.0 + 1.0, case  # a second until a keyframe
                assert len(origin.path(place(f"{case}spare")).connections) == 1
        assert await labelled(daemon, "upstream_errors_total") == expected
        assert await labelled(daemon, "failovers_total") == expected
    for number, (_, _, requests) in enumerate(BAD.values()):
        assert len(origin.path(place(str(number))).connections) == requests, list(BAD)[number]
    assert not [each for each in daemon.log if any(secret in each for secret in SECRETS)]


async def test_a_port_that_refuses_is_told_at_once(daemon: Daemon) -> None:
    """F1: without a spare 503 within 3 s, and when to ask again."""
    with closed_port() as port:
        stream = await create(daemon, f"http://127.0.0.1:{port}/1.ts")
        async with asyncio.timeout(3):
            reply = await ask(daemon, f"/stream/{stream}")
    assert (reply.status, reply.retry_after) == (503, 2)
    assert await labelled(daemon, "upstream_errors_total") == {"refused": 1}


async def test_a_black_hole_costs_the_time_to_connect(tmp_path: Path, origin: Origin) -> None:
    """F2: the next source after CONNECT."""
    origin.on("/two.ts", Answer(ts=True))
    async with Daemon(tmp_path, DEFAULT_CONNECTION_TIMEOUT="1") as daemon:
        with black_hole() as port:
            url = f"http://127.0.0.1:{port}/1.ts"
            stream = await create(daemon, url, failover_urls=[origin.url("/two.ts")])
            assert 1.0 <= await first_byte(daemon, stream) < 1.0 + 2.0
        assert await labelled(daemon, "upstream_errors_total") == {"connect_timeout": 1}
        assert await labelled(daemon, "failovers_total") == {"connect_timeout": 1}


# --- while it plays


async def test_a_long_and_uneven_line_is_no_fault(daemon: Daemon, origin: Origin, tmp_path: Path) -> None:
    """F9: 500 ms ± 300 ms."""
    origin.on("/far.ts", Answer(ts=True))
    origin.on("/two.ts", Answer(ts=True))
    async with Line(origin.port, latency=0.5, jitter=0.3) as far:
        url = f"http://127.0.0.1:{far.port}/far.ts"
        stream = await create(daemon, url, failover_urls=[origin.url("/two.ts")])
        async with watching(daemon, stream, 2) as viewers:
            await grown(viewers, 8 * SECOND)
            assert not any(viewer.ended for viewer in viewers)
            assert not await labelled(daemon, "upstream_errors_total")
            assert len(origin.path("/far.ts").connections) == 1
            assert not origin.path("/two.ts").connections
        for viewer in viewers:
            viewer.check(tmp_path, seams=0)


async def test_a_page_instead_of_media_after_a_break_reaches_nobody(
    daemon: Daemon, origin: Origin, tmp_path: Path
) -> None:
    """F22: HTML as video/mp2t from the first spare."""
    origin.on("/one.ts", Answer(ts=True, rst=3 * SECOND), Answer(mute=True))
    origin.on("/two.ts", Answer(html=True))
    origin.on("/three.ts", Answer(ts=True))
    urls = [origin.url(f"/{name}.ts") for name in ("one", "two", "three")]
    stream = await create(daemon, urls[0], failover_urls=urls[1:])
    async with watching(daemon, stream, 2) as viewers:
        await origin.until(lambda: bool(origin.path("/three.ts").connections), within=10)
        await grown(viewers, 4 * SECOND)
    for viewer in viewers:
        viewer.check(tmp_path, seams=1)
        assert HTML not in viewer.data
    lost, opened = (
        origin.path("/two.ts").connections[0].opened,
        origin.path("/three.ts").connections[0].opened,
    )
    assert opened - lost < 1.0
    assert await labelled(daemon, "failovers_total") == {"reset": 1, "not_media": 1}


def between(requests: list[Connection]) -> list[float]:
    """Seconds from each request to the next."""
    return [later.opened - one.opened for one, later in pairwise(requests)]


async def test_a_source_alone_is_asked_as_seldom_as_it_wants(daemon: Daemon, origin: Origin) -> None:
    """F19, F20: the origin's log decides, while the viewers stay."""
    late = Answer(status=429, headers={"Retry-After": "5"})
    origin.on(place("late"), Answer(ts=True, fin=3 * SECOND), late, Answer(ts=True))
    origin.on(place("ill"), Answer(ts=True, fin=3 * SECOND), *[Answer(status=502)] * 2, Answer(ts=True))

    async def watch(path: str, requests: int) -> list[float]:
        stream = await create(daemon, origin.url(path))
        async with watching(daemon, stream, 2) as viewers:
            await origin.until(lambda: len(origin.path(path).connections) == requests, within=15)
            await grown(viewers, 2 * SECOND)
            assert not any(viewer.ended for viewer in viewers)
            for viewer in viewers:
                viewer.check_packets(seams=1)
        return between(origin.path(path).connections)

    asked_late, asked_ill = await asyncio.gather(watch(place("late"), 3), watch(place("ill"), 4))
    assert 4.0 <= asked_late[1] <= 6.0
    assert all(pause >= 1.0 for pause in asked_ill)
    assert 1.6 <= asked_ill[1] <= 2.9
    assert 3.2 <= asked_ill[2] <= 5.3, "four requests in ten seconds at most"


async def test_a_slate_that_is_a_valid_stream_plays(tmp_path: Path) -> None:
    """F24: three seconds round and round; by default nobody judges what is in the picture."""
    clip = tmp_path / "slate.ts"
    make_live_sample(clip, seconds=3)
    async with Origin(ts=clip.read_bytes(), rate=SPEED * 2e6) as origin, Daemon(tmp_path) as daemon:
        origin.on("/slate.ts", Answer(ts=True))
        origin.on("/two.ts", Answer(ts=True))
        stream = await create(daemon, origin.url("/slate.ts"), failover_urls=[origin.url("/two.ts")])
        async with watching(daemon, stream) as viewers:
            await grown(viewers, 12 * SECOND)
        assert (await daemon.get(f"/streams/{stream}"))["stream"]["failover_attempts"] == 0
        assert not origin.path("/two.ts").connections
        assert len(origin.path("/slate.ts").connections) == 1


# --- everything is dead


async def test_when_everything_dies_viewers_are_kept_a_while_and_then_let_go(
    tmp_path: Path, origin: Origin
) -> None:
    """F28: null packets, then an end; the last playlist, then 503; joiners are answered from memory."""
    copy = "-i {input_url} -c copy -f hls index.m3u8"
    settings = {"FILLER": "4", "STREAM_TOTAL_TIMEOUT": "4", "CLIENT_TIMEOUT": "30"}
    async with rig(tmp_path, origin, **settings) as daemon:
        for path in ("/one.ts", "/two.ts"):
            origin.on(path, Answer(ts=True))
        one, two = origin.url("/one.ts"), origin.url("/two.ts")
        stream = await create(daemon, one, failover_urls=[two])
        made = await daemon.post("/transcode", url=one, failover_urls=[two], profile=copy)
        playlist = f"/hls/{made['stream_id']}/playlist.m3u8"
        async with watching(daemon, stream, 3) as viewers:
            assert (await ask(daemon, playlist)).status == 200
            size = len(viewers[0].data)
            for path in ("/one.ts", "/two.ts"):
                origin.on(path, Answer(status=503))
            await origin.cut()

            async def all_ended() -> bool:
                kept = await ask(daemon, playlist)
                assert kept.status in {200, 503}
                return kept.status == 503 and all(viewer.ended for viewer in viewers)

            assert await eventually(all_ended, within=12, every=0.2) < 9
        for viewer in viewers:
            viewer.check_packets(seams=0)
            assert b"\x47\x1f\xff\x10" in viewer.data[size:], "null packets while there was hope"
        asked = len(origin.connections)
        for _ in range(5):
            reply = await ask(daemon, f"/stream/{stream}")
            assert reply.status == 503
            assert reply.retry_after
        assert len(origin.connections) <= asked + 2
        assert await daemon.metric("ffmpeg_processes") == 0
        told = (await daemon.get(f"/streams/{stream}/timeline"))["events"]
        assert [moment["kind"] for moment in told].count("failed") == 1
        assert not list(daemon.segments.glob("*/*.ts"))
