"""Faults, joins and leaves in any order that a seed gives; at the end every count is zero.

The whole program runs in the loop of the test, beside providers that are stepped. ``CHAOS_SEEDS=200`` tries
so many seeds, ``CHAOS_STEPS=500`` makes the schedules longer; a seed that fails is named by its test.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from tests.support.children import allow_spawning
from tests.support.fake_ffmpeg import FakeFFmpeg, alive
from tests.support.hls_lists import HlsStream, single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.inside import Inside, inside
from tests.support.inv import PATIENCE
from tests.support.origin import Answer, Origin
from tests.support.stepped import settle
from tests.support.succession import unpaced

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEEDS = int(os.environ.get("CHAOS_SEEDS", "6"))
STEPS = int(os.environ.get("CHAOS_STEPS", "60"))
LIMIT = 3
"""Connections that the account of the live channels allows."""
COPY = "-i {input_url} -c copy -f hls index.m3u8"
PIPE = "-i {input_url} -c copy -f mpegts {output_args}"
LIVE = ["/live/u/p/1.ts", "/live/u/p/2.ts", "/live/u/p/3.ts"]
BODIES = {"one": LIVE[0], "two": LIVE[1], "piped": LIVE[2]}
LISTS = ["written", "passed"]
TROUBLE = [
    Answer(status=503),
    Answer(status=404),
    Answer(html=True),
    Answer(ts=True, rst=100_000),
    Answer(ts=True, fin=200_000),
    Answer(ts=True, stall=150_000),
    Answer(mute=True),
    Answer(raw=b""),
]
WELL = Answer(ts=True)
ENDINGS = {200, 302, 404, 410, 429, 502, 503}
"""Statuses that a player may see."""


@dataclass
class World:
    """The program, what surrounds it, and the players that watch just now."""

    house: Inside
    origin: Origin
    provider: HlsOrigin
    news: HlsStream
    chance: random.Random = field(default_factory=random.Random)
    players: list[asyncio.Task[None]] = field(default_factory=list)
    paused: list[aiohttp.ClientResponse] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    ids: dict[str, str] = field(default_factory=dict)

    # what exists

    async def define(self, name: str) -> None:
        """Create a stream, or renew it."""
        profiles = {"written": COPY, "piped": PIPE}
        first, *others = [BODIES.get(name, LIVE[1]), *LIVE]
        body: dict[str, object] = {"url": self.origin.url(first)}
        if name == "passed":
            body = {"url": self.provider.url(self.news.path())}
        elif self.chance.random() < 0.7:
            body["failover_urls"] = [self.origin.url(other) for other in others if other != first]
        if name in profiles:
            made = await self.house.post("/transcode", **body, profile=profiles[name])
        else:
            made = await self.house.post("/streams", **body)
        self.ids[name] = str(made["stream_id"])

    async def delete(self) -> None:
        name = self.chance.choice(list(self.ids))
        async with self.house.http.delete(f"/streams/{self.ids[name]}") as response:
            assert response.status in {200, 404}

    async def create(self) -> None:
        await self.define(self.chance.choice([*BODIES, *LISTS]))

    async def fail_over(self) -> None:
        stream = self.ids[self.chance.choice(list(self.ids))]
        async with self.house.http.post(f"/streams/{stream}/failover") as response:
            assert response.status < 600

    # players

    async def join(self) -> None:
        """Somebody reads a body for good."""
        path = f"/stream/{self.ids[self.chance.choice(list(BODIES))]}"
        self.players.append(asyncio.create_task(self._read(path)))

    async def _read(self, path: str) -> None:
        with suppress(aiohttp.ClientError):
            async with self.house.http.get(path) as response:
                self.statuses.add(response.status)
                while await response.content.readany():
                    pass

    async def poll(self) -> None:
        """Somebody asks for a playlist and all it lists."""
        path = f"/hls/{self.ids[self.chance.choice(LISTS)]}/playlist.m3u8"
        self.players.append(asyncio.create_task(self._follow(f"{path}?client_id={self.chance.random()}")))

    async def _follow(self, path: str) -> None:
        with suppress(aiohttp.ClientError):
            async with self.house.http.get(path) as response:
                self.statuses.add(response.status)
                text = await response.text()
            for line in text.splitlines() if response.status == 200 else ():
                if not line.startswith("#"):
                    async with self.house.http.get(line) as response:
                        self.statuses.add(response.status)
                        await response.read()

    async def leave(self) -> None:
        """Somebody closes the player, wherever it is on its way."""
        if self.players:
            player = self.players.pop(self.chance.randrange(len(self.players)))
            player.cancel()
            await asyncio.wait([player])

    async def pause(self) -> None:
        """Somebody reads nothing any more."""
        path = f"/stream/{self.ids[self.chance.choice(list(BODIES))]}"
        with suppress(aiohttp.ClientError, TimeoutError):
            async with asyncio.timeout(2.0):
                self.paused.append(await self.house.http.get(path))

    async def vanish(self) -> None:
        """All who have paused are gone without a word."""
        while self.paused:
            self.paused.pop().close()

    # what goes wrong

    async def trouble(self) -> None:
        path = self.chance.choice(LIVE)
        faults = self.chance.choices(TROUBLE, k=self.chance.randint(1, 3))
        self.origin.on(path, *faults, WELL)

    async def recover(self) -> None:
        for path in LIVE:
            self.origin.on(path, WELL)
        self.provider.on(self.news.path())

    async def trouble_of_playlists(self) -> None:
        fault = self.chance.choice([Answer(status=503), Answer(status=404), Answer(raw=b"")])
        self.provider.on(self.news.path(), fault, None)

    async def new_segment(self) -> None:
        self.provider.step("news")

    async def kill(self) -> None:
        """FFmpeg dies, or stands still."""
        children = [pid for pid in self.house.children() if alive(pid)]
        if children:
            how = self.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
            os.kill(self.chance.choice(children), how)

    # the schedule

    @property
    def steps(self) -> list[tuple[Callable[[], Awaitable[None]], int]]:
        """What may happen, and how often."""
        return [
            (self.join, 8),
            (self.poll, 8),
            (self.leave, 8),
            (self.pause, 2),
            (self.vanish, 1),
            (self.trouble, 5),
            (self.recover, 3),
            (self.trouble_of_playlists, 2),
            (self.new_segment, 4),
            (self.kill, 3),
            (self.fail_over, 3),
            (self.delete, 3),
            (self.create, 3),
        ]

    async def run(self, steps: int) -> list[str]:
        """The schedule; what was done."""
        actions, weights = zip(*self.steps, strict=True)
        done: list[str] = []
        for name in [*BODIES, *LISTS]:
            await self.define(name)
        for action in self.chance.choices(actions, weights, k=steps):
            done.append(action.__name__)
            await action()
            self.origin.step(self.chance.randint(0, 60))
            await settle()
        return done

    async def end(self) -> None:
        """Every viewer leaves, every stream is deleted."""
        await self.recover()
        await self.vanish()
        for player in self.players:
            player.cancel()
        await asyncio.gather(*self.players, return_exceptions=True)
        self.players.clear()
        await self.house.delete_all()

    @property
    def peak(self) -> int:
        """Most connections of the account that the provider answered at one time."""
        moments = [(one.opened, 1) for one in self.origin.connections]
        moments += [(one.closed, -1) for one in self.origin.connections if one.closed is not None]
        most = now = 0
        for _, change in sorted(moments):
            now += change
            most = max(most, now)
        return most


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, sample: bytes, media: HlsMedia
) -> AsyncIterator[World]:
    """With a FFmpeg that is quick and a few seconds of patience for everything."""
    home = tmp_path_factory.mktemp("chaos")
    fake = FakeFFmpeg(home, segment_every=0.1, stdin="echo")
    async with (
        Origin(ts=sample) as origin,
        HlsOrigin() as provider,
        inside(
            home,
            lambda: sum(one.closed is None for one in origin.connections),
            lambda: provider.open_connections,
            FFMPEG_PATH=str(fake.path),
            ACCOUNT_LIMITS=f"127.0.0.1:{origin.port}={LIMIT}",
            HLS_WAIT_TIME="1",
            STREAM_TOTAL_TIMEOUT="1",
            LIVE_CHUNK_TIMEOUT_SECONDS="0.5",
            DEFAULT_READ_TIMEOUT="0.5",
            SEG_STALL="1",
            FILLER="1",
        ) as house,
    ):
        yield World(house, origin, provider, provider.add(single("news", media.high)))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, no_blocking_calls: BlockBuster | None) -> None:
    unpaced(monkeypatch, apart=0.05)
    allow_spawning(no_blocking_calls)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(SEEDS))
async def test_any_schedule_ends_with_every_count_at_zero(
    world: World, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    world.chance.seed(seed)
    world.statuses.clear()
    world.house.events.clear()
    try:
        done = await world.run(STEPS)
    finally:
        await asyncio.wait_for(world.end(), PATIENCE)
    await world.house.empty()
    gc.collect()
    assert world.peak <= LIMIT, done
    assert world.statuses <= ENDINGS, done
    assert "Traceback" not in caplog.text, done
    assert "crashed" not in caplog.text, done
    assert [one.getMessage() for one in caplog.records if one.name == "asyncio"] == []
