"""What becomes of a source that cannot be heard: listeners made by hand, and the attempts that follow."""

from __future__ import annotations

import asyncio
import logging
from typing import cast

import pytest

from m3u_proxy.errors import ProxyError, Unavailable, UpstreamError
from m3u_proxy.ffmpeg.ear import Ear
from m3u_proxy.ffmpeg.process.run import SWITCHED, Feed
from m3u_proxy.model import SilenceCheck
from m3u_proxy.pool.quality.leaving import Leaving
from m3u_proxy.pool.quality.sound import AGAIN, Sound
from m3u_proxy.pool.sources.attempts import Switch
from m3u_proxy.pool.tally import Tally
from tests.support.stepped import Script
from tests.support.succession import URL, attempts_at, unpaced

SPARE = "http://other.example/live/1.ts"
CHECK = SilenceCheck(threshold_db=-50, duration=3, interval=10, failures=3, grace=15)


class HandEar:
    """Hears what the scene says."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.failure: asyncio.Future[ProxyError] = asyncio.get_running_loop().create_future()
        self.is_open = False
        self.has_ended = False

    async def open(self, now: float) -> None:
        if self._scene.refusal is not None:
            raise self._scene.refusal
        self.is_open = True

    def hears(self, now: float, *, is_live: bool) -> bool | None:
        return self._scene.hears

    def has_silence_ended(self) -> bool:
        ended, self.has_ended = self.has_ended, False
        return ended

    async def aclose(self) -> None:
        self.is_open = False


class Scene:
    """A source and its attempts. Time passes by hand, with four looks a second."""

    def __init__(self, *urls: str) -> None:
        self.playing = URL
        self.is_live = True
        self.has_audio: bool | None = True
        self.hears: bool | None = True
        self.refusal: ProxyError | None = None
        self.check: SilenceCheck | None = CHECK
        self.ears: list[HandEar] = []
        self.now = 1000.0
        self.switches: list[Switch] = []
        self.attempts = attempts_at(
            Script(), Tally(), urls=urls or (URL, SPARE), on_switch=self.switches.append
        )
        who = {"stream": "x"}
        self.sound = Sound(
            self, cast("Feed", None), self._listen, lambda: self.check, Leaving(self.attempts, who), who
        )

    def _listen(self, feed: Feed, check: SilenceCheck, stream: str) -> Ear:
        self.ears.append(HandEar(self))
        return cast("Ear", self.ears[-1])

    async def play(self, seconds: float) -> None:
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            if self.attempts.is_pending:
                await self.attempts.next()
                if self.playing != self.attempts.url:
                    self.playing = self.attempts.url
                    self.lose(SWITCHED)
            await self.sound.look(self.now)

    def lose(self, reason: str) -> None:
        if self.ears and not self.ears[-1].failure.done():
            self.ears[-1].failure.set_result(Unavailable("FFmpeg ended", reason=reason))

    @property
    def open(self) -> int:
        return sum(ear.is_open for ear in self.ears)

    @property
    def warnings(self) -> list[str | None]:
        return [one.detail for one in self.attempts._history.moments() if one.what == "warning"]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    unpaced(monkeypatch)


async def test_a_silent_source_is_left_after_its_grace_and_so_many_checks() -> None:
    scene = Scene()
    scene.hears = False
    await scene.play(15 + 30)
    assert not scene.switches
    await scene.play(0.5)
    assert [(one.reason, one.new_url) for one in scene.switches] == [("silence_detected", SPARE)]
    scene.hears = True
    await scene.play(120)
    assert len(scene.switches) == 1
    assert scene.open == 1
    assert len(scene.ears) == 2
    await scene.sound.aclose()
    assert scene.open == 0


async def test_a_sound_between_two_checks_begins_the_count_anew() -> None:
    scene = Scene()
    scene.hears = False
    for _ in range(6):
        await scene.play(20)
        scene.ears[-1].has_ended = True
    assert not scene.switches


async def test_a_programme_that_is_silent_everywhere_is_looked_for_once() -> None:
    scene = Scene()
    scene.hears = False
    await scene.play(600)
    assert [one.new_url for one in scene.switches] == [SPARE, URL]
    assert scene.warnings


@pytest.mark.parametrize("has_audio", [True, None])
async def test_what_nobody_can_tell_is_no_silence(has_audio: bool | None) -> None:
    scene = Scene()
    scene.hears, scene.has_audio = None, has_audio
    await scene.play(300)
    assert not scene.switches
    assert not scene.warnings


async def test_a_source_without_audio_is_silent_and_needs_no_listener() -> None:
    scene = Scene(URL)
    scene.has_audio = False
    await scene.play(15 + 30 + 1)
    assert scene.warnings == ["The source has no audio"]
    assert not scene.ears


async def test_while_no_media_comes_nothing_is_held_against_a_source() -> None:
    scene = Scene()
    scene.hears = False
    await scene.play(30)
    scene.is_live = False
    await scene.play(300)
    assert not scene.switches


async def test_nobody_listens_where_nobody_watches() -> None:
    scene = Scene()
    await scene.play(5)
    assert scene.open == 1
    scene.check = None
    await scene.play(1)
    assert scene.open == 0
    scene.check = CHECK
    await scene.play(1)
    assert scene.open == 1


@pytest.mark.parametrize(
    "error", [Unavailable("ffmpeg unavailable", reason="ffmpeg_missing"), UpstreamError("reset", "Gone")]
)
async def test_a_listener_that_cannot_be_had_is_missed_once(
    error: ProxyError, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    scene.refusal, scene.hears = error, False
    with caplog.at_level(logging.WARNING):
        await scene.play(5 * AGAIN)
    assert len(caplog.records) == 1
    assert len(scene.ears) == 5
    assert not scene.switches


async def test_a_listener_that_dies_is_replaced_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    await scene.play(5)
    scene.lose("ffmpeg_signal")
    with caplog.at_level(logging.WARNING):
        await scene.play(AGAIN - 1)
        assert scene.open == 0
        await scene.play(2)
    assert scene.open == 1
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "nobody listens for silence"
    ]
