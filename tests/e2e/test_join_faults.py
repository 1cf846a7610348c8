"""Whatever goes wrong on the way of a player to its first byte, everything comes back.

F101, with the whole program in the loop of the test: one call of the path fails, or hangs until the player
has left. The stream is deleted, nothing is left, and the next player gets its bytes.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from blockbuster import BlockBuster

from tests.support.children import allow_spawning
from tests.support.fake_ffmpeg import FakeFFmpeg
from tests.support.hls_lists import HlsStream, single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.inside import Inside, inside
from tests.support.origin import Answer, Origin
from tests.support.succession import unpaced

pytestmark = pytest.mark.asyncio(loop_scope="module")

COPY = "-i {input_url} -c copy -f hls index.m3u8"
PIPE = "-i {input_url} -c copy -f mpegts {output_args}"
REQUEST = 1.0
"""Seconds that a player waits before it gives up."""

ADMISSION = [
    "web.players.play.identify",
    "pool.audience.Audience._renew",
    "pool.audience.Audience._check_admission",
    "pool.viewers.ViewerTable.free_id",
    "pool.pool.Pool.acquire",
    "pool.pool.Pool._check_refusal",
    "pool.pool.Pool._supply",
    "pool.pool.Pool._start",
    "pool.workshop.Workshop.__init__",
    "pool.entry.Entry.start",
    "pool.audience.Viewer.__init__",
    "pool.viewers.ViewerTable.add",
    "pool.herald.Herald.connected",
]
SOURCE = [
    "pool.supply.Supply.settled",
    "pool.supply.Supply.run",
    "pool.sources.attempts.Attempts.next",
    "pool.sources.attempts.Attempts._due",
    "daemon.wiring.Opener._attempt",
    "pool.accounts.Accounts.slot",
    "pool.accounts.Slot.acquire",
    "upstream.source.HttpSource.open",
    "upstream.source.HttpSource._hop",
    "upstream.address.Judge.check",
    "upstream.source.HttpSource.read",
    "pool.supply.begin",
    "pool.supply.kind_of",
]
LIVE = [
    "pool.sources.attempts.Attempts.adopt",
    "pool.workshop.Workshop.relay",
    "pool.live.relay.Relay.run",
    "pool.live.relay.Relay._read",
    "pool.live.intake.Intake.connect",
    "pool.live.intake.Intake.feed",
    "pool.live.relay.Relay._take",
    "pool.live.relay.Relay._flush",
    "pool.live.relay.Relay.begun",
]
RESPONSE = [
    "web.players.play.EndlessResponse.__init__",
    "web.players.play.finish",
    "web.players.play.EndlessResponse.prepare",
    "web.players.answers.Outlet.__init__",
    "web.players.answers.SocketSink.__init__",
    "pool.live.outlet.PeerWatch.add",
    "pool.live.relay.Relay.attach",
    "pool.live.fanout.Fanout.attach",
]
PLAYLIST = [
    "pool.workshop.Workshop.passthrough",
    "pool.hls.passthrough.Passthrough.run",
    "pool.hls.passthrough.Passthrough.page",
    "web.players.playlists._page",
    "web.players.playlists._response",
    "web.links.Links.playlist",
]
FFMPEG = [
    "ffmpeg.process.run.Run.__init__",
    "ffmpeg.process.run.Run.start",
    "ffmpeg.process.run.Child.start",
    "pool.live.relay.Tap.__init__",
    "pool.live.relay.Tap.connect",
]
WRITER = [
    "ffmpeg.transcoder.Transcoder.check",
    "ffmpeg.transcoder.Transcoder.writer",
    "ffmpeg.hls.writer.HlsWriter.run",
    "pool.supply.Supply.ready",
    "ffmpeg.hls.writer._held",
    "ffmpeg.transcoder.claim",
    "ffmpeg.hls.writer.Shelf.begin",
    *FFMPEG,
    "ffmpeg.hls.writer.HlsWriter._follow",
    "ffmpeg.hls.writer.HlsWriter._look",
    "ffmpeg.hls.writer.HlsWriter._take",
    "ffmpeg.hls.writer.HlsWriter.ready",
]
PIPED = [
    "ffmpeg.transcoder.Transcoder.pipe",
    "pool.pool.Respawns.__init__",
    "ffmpeg.pipe.PipeSource.open",
    "ffmpeg.pipe.PipeSource.read",
]
PATHS = {
    "ts": [*ADMISSION, *SOURCE, *LIVE, *RESPONSE],
    "hls": [*ADMISSION[4:8], *PLAYLIST],
    "writer": [*ADMISSION[1:3], *ADMISSION[4:], *WRITER, *PLAYLIST[3:]],
    "pipe": [*PIPED, *FFMPEG, *RESPONSE[-3:]],
}
CASES = [(form, call) for form, calls in PATHS.items() for call in calls]


class Fault(Exception):
    """A mistake in the program."""


class Broken:
    """One function whose first call fails, or hangs for ever."""

    def __init__(self, patch: pytest.MonkeyPatch, name: str, *, hangs: bool = False) -> None:
        self.called = asyncio.Event()
        self._hangs = hangs
        owner, attribute = place(name)
        patch.setattr(owner, attribute, self._wrapped(getattr(owner, attribute)))

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if not self.called.is_set():
                self.called.set()
                raise Fault("this call was to fail")
            return function(*arguments, **options)

        @functools.wraps(function)
        async def wait(*arguments: Any, **options: Any) -> Any:
            if self._hangs and not self.called.is_set():
                self.called.set()
                await asyncio.get_running_loop().create_future()
            return await call(*arguments, **options)

        return wait if inspect.iscoroutinefunction(function) else call


def place(name: str) -> tuple[Any, str]:
    """The object that holds what is called, and its name there."""
    words = name.split(".")
    attributes: list[str] = []
    while True:
        try:
            owner: Any = importlib.import_module(".".join(["m3u_proxy", *words]))
            break
        except ModuleNotFoundError:
            attributes.insert(0, words.pop())
    for attribute in attributes[:-1]:
        owner = getattr(owner, attribute)
    return owner, attributes[-1]


def waits(name: str) -> bool:
    """Whether a player may leave while it is under way."""
    owner, attribute = place(name)
    return inspect.iscoroutinefunction(getattr(owner, attribute))


@dataclass(frozen=True)
class Scene:
    """The program, its providers, and what they have."""

    house: Inside
    origin: Origin
    provider: HlsOrigin
    news: HlsStream

    async def create(self, form: str) -> str:
        """Endpoint of a stream of that form."""
        url = self.provider.url(self.news.path()) if form == "hls" else self.origin.url("/live.ts")
        profiles = {"writer": COPY, "pipe": PIPE}
        if form in profiles:
            made = await self.house.post("/transcode", url=url, profile=profiles[form])
        else:
            made = await self.house.post("/streams", url=url)
        return str(made["stream_endpoint"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(
    tmp_path_factory: pytest.TempPathFactory, sample: bytes, media: HlsMedia
) -> AsyncIterator[Scene]:
    """With a FFmpeg that is quick, and an account that allows two connections."""
    home = tmp_path_factory.mktemp("inside")
    fake = FakeFFmpeg(home, segment_every=0.05, stdin="echo")
    async with (
        Origin(ts=sample, rate=8e6) as origin,
        HlsOrigin() as provider,
        inside(
            home,
            lambda: sum(one.closed is None for one in origin.connections),
            lambda: provider.open_connections,
            FFMPEG_PATH=str(fake.path),
            ACCOUNT_LIMITS="127.0.0.1=2",
            HLS_WAIT_TIME=str(REQUEST),
            STREAM_TOTAL_TIMEOUT="1",
        ) as house,
    ):
        origin.on("/live.ts", Answer(ts=True))
        yield Scene(house, origin, provider, provider.add(single("news", media.high)))


@pytest.fixture(autouse=True)
def _unpaced(monkeypatch: pytest.MonkeyPatch, no_blocking_calls: BlockBuster | None) -> None:
    unpaced(monkeypatch)
    allow_spawning(no_blocking_calls)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _nothing_of_the_last_test(scene: Scene) -> AsyncIterator[None]:
    scene.house.events.clear()
    yield
    await scene.house.delete_all()


async def join(house: Inside, endpoint: str) -> int:
    """Status of a player that reads the first bytes of whatever it gets and goes."""
    async with house.http.get(endpoint) as response:
        await response.content.read(188)
        return response.status


async def cleared(scene: Scene) -> None:
    """Delete everything; nothing may be left."""
    await scene.house.delete_all()
    await scene.house.empty()


async def as_new(scene: Scene, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """The next player gets its bytes, and asyncio has nothing to complain about."""
    assert await join(scene.house, await scene.create(form)) == 200
    await cleared(scene)
    gc.collect()
    assert [one.getMessage() for one in caplog.records if one.name == "asyncio"] == []


@pytest.mark.parametrize(("form", "call"), CASES, ids=[f"F101-{form}-{call}" for form, call in CASES])
async def test_an_exception_anywhere_on_the_way(
    scene: Scene, caplog: pytest.LogCaptureFixture, form: str, call: str
) -> None:
    endpoint = await scene.create(form)
    with pytest.MonkeyPatch.context() as patch:
        broken = Broken(patch, call)
        with suppress(aiohttp.ClientError):
            await join(scene.house, endpoint)
        assert broken.called.is_set(), f"{call} is not on the way"
    await cleared(scene)
    await as_new(scene, form, caplog)


HANGING = [(form, call) for form, call in CASES if waits(call)]


@pytest.mark.parametrize(("form", "call"), HANGING, ids=[f"F101-{form}-{call}" for form, call in HANGING])
async def test_a_player_that_leaves_anywhere_on_the_way(
    scene: Scene, caplog: pytest.LogCaptureFixture, form: str, call: str
) -> None:
    endpoint = await scene.create(form)
    with pytest.MonkeyPatch.context() as patch:
        broken = Broken(patch, call, hangs=True)
        joining = asyncio.ensure_future(join(scene.house, endpoint))
        await asyncio.wait_for(broken.called.wait(), REQUEST)
        joining.cancel()
        with suppress(asyncio.CancelledError):
            await joining
        await cleared(scene)
    await as_new(scene, form, caplog)
