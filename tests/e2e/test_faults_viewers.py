"""Viewers that pause, die, crawl, vanish by the hundred, or eat every descriptor."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import socket
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.fake_ffmpeg import until
from tests.support.inv import GRACE, control, eventually, labelled, resident, rig
from tests.support.origin import Answer, Origin
from tests.support.stepped import turn
from tests.support.tsverify import slices_of, verify

MIB = 1 << 20
STUCK = 5
MANY = 500
CLONE_NEWNET = 0x40000000
RST = struct.pack("ii", 1, 0)
OUTSIDE, INSIDE = "203.0.113.1", "203.0.113.2"
"""Ends of the cable to the player that dies; TEST-NET-3 belongs to nobody."""


@pytest.fixture
async def fast(sample: bytes) -> AsyncIterator[Origin]:
    """A provider whose channel has 20 Mbit/s."""
    async with Origin(ts=sample, rate=20e6) as server:
        server.on("/live.ts", Answer(ts=True))
        yield server


async def create(daemon: Daemon, origin: Origin) -> str:
    """Endpoint of the channel."""
    return str((await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"])


def dial(daemon: Daemon, path: str, *, host: str = "127.0.0.1", window: int = 4096) -> socket.socket:
    """A connection that has asked for ``path`` and reads nothing; its window closes soon."""
    player = socket.socket()
    player.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    player.settimeout(10.0)
    player.connect((host, daemon.port))
    player.sendall(f"GET {path} HTTP/1.1\r\nHost: proxy\r\n\r\n".encode())
    player.setblocking(False)
    return player


async def read(player: socket.socket, size: int, rate: float | None = None) -> bytes:
    """``size`` bytes, at ``rate`` bytes per second; at full speed without."""
    loop, data, began = asyncio.get_running_loop(), bytearray(), time.monotonic()

    def due() -> int:
        return size if rate is None else int((time.monotonic() - began) * rate)

    def is_due() -> bool:
        return due() > len(data)

    while len(data) < size:
        await until(is_due)
        piece = await asyncio.wait_for(loop.sock_recv(player, min(1 << 16, due() - len(data))), 20.0)
        assert piece, "the body ended"
        data += piece
    return bytes(data)


def media(answer: bytes) -> bytes:
    """Whole packets of a body."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return body[: len(body) // 188 * 188]


def runs_after_jumps(body: bytes, sample: bytes) -> list[tuple[int, int]]:
    """The contiguous pieces of the source; what is nowhere in it would have offset -1."""
    report = verify(body)
    assert report.sync_errors == 0
    runs = slices_of(body, sample)
    assert all(offset >= 0 for offset, _ in runs), runs[:5]
    return runs


async def viewers(daemon: Daemon, count: int, within: float = 15.0) -> float:
    """Wait until so many are counted."""

    async def counted() -> bool:
        return await daemon.metric("viewers") == count

    return await eventually(counted, within)


@contextmanager
def namespace() -> Iterator[Callable[[Callable[[], socket.socket]], socket.socket]]:
    """A network namespace behind a cable; yields a function that makes sockets in there."""
    name = f"m3u{os.getpid() % 100_000}"

    def run(*command: str) -> None:
        subprocess.run(command, check=True)

    def inside(make: Callable[[], socket.socket]) -> socket.socket:
        made: list[socket.socket] = []

        def enter() -> None:  # the namespace of one thread, which ends at once
            with open(f"/run/netns/{name}", "rb") as place:
                assert ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET) == 0
            made.append(make())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return made[0]

    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", f"{name}o", "type", "veth", "peer", "name", f"{name}i", "netns", name)
        run("ip", "addr", "add", f"{OUTSIDE}/30", "dev", f"{name}o")
        run("ip", "link", "set", f"{name}o", "up")
        run("ip", "-n", name, "addr", "add", f"{INSIDE}/30", "dev", f"{name}i")
        run("ip", "-n", name, "link", "set", f"{name}i", "up")
        yield inside
    finally:
        run("ip", "netns", "del", name)


def cut_cable() -> None:
    """The player's machine is off: no FIN, no RST, no ACK."""
    name = f"m3u{os.getpid() % 100_000}"
    subprocess.run(["ip", "-n", name, "link", "set", f"{name}i", "down"], check=True)


@pytest.mark.may_block
@pytest.mark.needs("root", "netns")
@pytest.mark.timeout(90)
async def test_a_dead_viewer_goes_and_a_paused_one_stays(tmp_path: Path, fast: Origin, sample: bytes) -> None:
    """F87: a zero window for ever, of a dead peer and of a living one."""
    environ = {
        "HOST": "0.0.0.0",
        "ALLOW_LOOPBACK_TARGETS": "true",
        "VIEWER_STUCK": str(STUCK),
        "RELAY_BUFFER_SIZE": str(4 * MIB),
        "CHANGE_BUFFER_CHUNKS": "8",
    }
    with ExitStack() as stack:
        inside = stack.enter_context(namespace())
        async with rig(tmp_path, fast, **environ) as daemon, control(daemon, fast):
            path = await create(daemon, fast)
            dead = stack.enter_context(inside(lambda: dial(daemon, path, host=OUTSIDE, window=1 << 16)))
            paused = stack.enter_context(dial(daemon, path, window=1 << 16))
            await viewers(daemon, 3)
            began = await read(paused, 188 * 1000)
            await read(dead, 188 * 1000)
            cut_cable()
            took = await viewers(daemon, 2, within=STUCK + 10.0)
            assert STUCK - 1.0 < took < STUCK + 6.0
            assert await labelled(daemon, "viewer_disconnects_total") == {"stuck": 1}
            body = media(began + await read(paused, 6 * MIB))
            runs = runs_after_jumps(body, sample)
            assert len(runs) == 2  # one jump, and nothing lost on either side of it
            assert verify(body).flagged_discontinuities
            resumed = runs[1]
            assert verify(sample[resumed[0] :]).first_video_is_keyframe
            assert await daemon.metric("viewer_skips_total") >= 1  # more, if it fell behind again meanwhile
            paused.close()
            dead.close()


@pytest.mark.timeout(90)
async def test_a_slow_viewer_jumps_and_costs_nobody_anything(
    tmp_path: Path, fast: Origin, sample: bytes
) -> None:
    """F88: half the bitrate."""
    environ = {"RELAY_BUFFER_SIZE": str(2 * MIB), "CHANGE_BUFFER_CHUNKS": "8"}
    async with rig(tmp_path, fast, **environ) as daemon, control(daemon, fast):
        with dial(daemon, await create(daemon, fast), window=1 << 16) as player:
            body = media(await read(player, 7 * MIB, rate=20e6 / 8 / 2))
            runs = runs_after_jumps(body, sample)
            skips = int(await daemon.metric("viewer_skips_total"))
            assert 1 <= len(runs) - 1 <= skips
            report = verify(body)
            assert min(report.flagged_discontinuities.values()) >= len(runs) - 1
            for offset, _ in runs[1:]:
                assert verify(sample[offset:]).first_video_is_keyframe


@pytest.mark.timeout(90)
async def test_a_hundred_paused_viewers_are_cheap(tmp_path: Path, fast: Origin) -> None:
    """F87: what many of them cost."""
    async with (
        rig(tmp_path, fast, RELAY_BUFFER_SIZE=str(4 * MIB)) as daemon,
        control(daemon, fast) as capture,
    ):
        path = await create(daemon, fast)

        async def ring_is_full() -> bool:
            return len(capture) > 5 * MIB

        with ExitStack() as stack:
            stack.enter_context(dial(daemon, path))
            await eventually(ring_is_full, 30.0)
            before = resident(daemon.pid)
            players = [stack.enter_context(dial(daemon, path)) for _ in range(100)]
            await viewers(daemon, 102)
            seen = len(capture)

            async def everything_has_passed() -> bool:
                return len(capture) - seen > 7 * MIB

            await eventually(everything_has_passed, 30.0)
            assert resident(daemon.pid) - before < 64 * MIB
            assert await daemon.metric("viewers") == 102
            for player in players:
                player.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        await viewers(daemon, 1, within=4.0)


async def test_five_hundred_viewers_vanish_at_once(tmp_path: Path, origin: Origin) -> None:
    """F89: reset, all at once."""
    async with rig(tmp_path, origin) as daemon, control(daemon, origin):
        path = await create(daemon, origin)
        with ExitStack() as stack:
            players = [stack.enter_context(dial(daemon, path)) for _ in range(MANY)]
            await viewers(daemon, MANY + 1, within=20.0)
            await origin.until(lambda: origin.path("/live.ts").live == 1)
            for player in players:
                player.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        took = await viewers(daemon, 1, within=20.0)
        assert took < 8.0  # 2 s on an idle machine
        await origin.until(lambda: origin.path("/live.ts").live == 0, within=GRACE + 4.0)
        assert sum((await labelled(daemon, "viewer_disconnects_total")).values()) == MANY


async def test_probes_leave_no_ghost(tmp_path: Path, origin: Origin) -> None:
    """F94: HEAD, a range, open and close."""
    async with rig(tmp_path, origin) as daemon:
        path = await create(daemon, origin)
        profile = "-i {input_url} -c copy -f hls index.m3u8"
        hls = (await daemon.post("/transcode", url=origin.url("/live.ts"), profile=profile))[
            "stream_endpoint"
        ]
        for _ in range(100):
            for each in (path, hls):
                async with daemon.http.head(each) as response:
                    assert response.status == 200
        assert await daemon.metric("ffmpeg_starts_total") == 0
        assert not origin.connections
        for _ in range(50):
            async with daemon.http.get(path, headers={"Range": "bytes=0-1023"}) as response:
                assert response.status == 200
                await response.content.readexactly(188)
            dial(daemon, path).close()
        await viewers(daemon, 0)
        assert len(origin.path("/live.ts").connections) == 1
        counts = await daemon.get(f"/streams/{path.rpartition('/')[2]}")
        assert counts["client_count"] == 0


@pytest.mark.timeout(90)
async def test_out_of_descriptors(tmp_path: Path, origin: Origin) -> None:
    """F80: EMFILE on accept."""
    async with rig(tmp_path, origin) as daemon, control(daemon, origin) as capture:
        path = await create(daemon, origin)
        limits = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (64, limits[1]))
        said = len(daemon.log)
        with ExitStack() as stack:
            for _ in range(200):
                player = stack.enter_context(socket.socket())
                player.setblocking(False)
                player.connect_ex(("127.0.0.1", daemon.port))
                await turn()
            seen = len(capture)
            began = time.monotonic()

            async def plays_on() -> bool:
                return len(capture) - seen > MIB // 2

            await eventually(plays_on, 20.0)
            lasted = time.monotonic() - began
            assert len(daemon.log) - said < 20 + 5 * lasted

        async def accepts() -> bool:
            try:
                async with asyncio.timeout(1.0), daemon.http.get(path) as response:
                    return response.status == 200 and bool(await response.content.readexactly(188))
            except (TimeoutError, OSError, asyncio.IncompleteReadError):
                return False

        await eventually(accepts, 8.0)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, limits)
