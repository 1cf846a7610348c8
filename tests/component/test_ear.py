"""FFmpeg listens to a relay: sound, silence, and what it cannot hear. Real FFmpeg, fed by hand."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import imageio_ffmpeg
import pytest

from m3u_proxy.errors import ProxyError
from m3u_proxy.ffmpeg import ear as module
from m3u_proxy.ffmpeg.ear import Ear
from m3u_proxy.ffmpeg.process.confine import Confinement
from m3u_proxy.ffmpeg.process.run import Kit, Ledger
from m3u_proxy.model import Kind, SilenceCheck, StreamKey
from m3u_proxy.pool.live.relay import Relay, RelayLimits
from m3u_proxy.pool.tally import Tally
from tests.support.fake_ffmpeg import FakeFFmpeg, until
from tests.support.media import ffmpeg
from tests.support.stepped import Script, paced, running
from tests.support.succession import attempts_at

CHECK = SilenceCheck(threshold_db=-50, duration=0.5, interval=1, failures=1, grace=0)
SECONDS = 6


def ts_with(path: Path, sound: str, *, seconds: int = SECONDS) -> bytes:
    """A small picture and this lavfi source as sound; keyframes twice a second."""
    command = [ffmpeg(), "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25"]
    command += ["-f", "lavfi", "-i", sound] if sound else []
    command += ["-c:v", "mpeg2video", "-g", "12", "-c:a", "mp2", "-t", str(seconds), "-f", "mpegts"]
    subprocess.run([*command, "-y", str(path)], check=True, timeout=60)
    return path.read_bytes()


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("sounds")
    sources = {
        "loud": "sine=440",
        "quiet": "sine=440,volume=-44dB",  # a sine of lavfi has -18 dB: 62 below full scale
        "silent": "anullsrc",
        "falls": "sine=440,volume='if(lt(t,2),1,0)':eval=frame",
        "comes": "sine=440,volume='if(lt(t,2),0,1)':eval=frame",
    }
    return {name: ts_with(folder / f"{name}.ts", source) for name, source in sources.items()}


class Scene:
    def __init__(self, relay: Relay, script: Script, ear: Ear, ledger: Ledger) -> None:
        self.relay, self.script, self.ear, self.ledger = relay, script, ear, ledger

    async def play(self, data: bytes) -> None:
        """All of it, in pieces that the relay hands on one by one."""
        cut = len(data) // 4
        self.script.last.feed(data[:cut])
        await self.relay.begun()
        await self.ear.open(monotonic())
        for at in range(cut, len(data), len(data) // 24):
            self.script.last.feed(data[at : at + len(data) // 24])
            await paced()

    def hears(self) -> bool | None:
        return self.ear.hears(monotonic(), is_live=True)


@pytest.fixture(params=["system", "wheel"])
def binary(request: pytest.FixtureRequest) -> str:
    return ffmpeg() if request.param == "system" else str(imageio_ffmpeg.get_ffmpeg_exe())


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MUTE", 1.0)


async def _scene(program: str, check: SilenceCheck = CHECK) -> AsyncIterator[Scene]:
    script, tally, ledger = Script(), Tally(), Ledger()
    relay = Relay(
        StreamKey("0123456789abcdef"),
        Kind.LIVE,
        attempts_at(script, tally),
        limits=RelayLimits(),
        tally=tally,
    )
    kit = Kit(Confinement(marker="test"), ledger, 2.0)
    ear = Ear(program, kit, relay, check, "x")
    async with running(relay):
        try:
            yield Scene(relay, script, ear, ledger)
        finally:
            await ear.aclose()
            assert ledger.running["silence"] == 0


@pytest.fixture
async def scene(binary: str) -> AsyncIterator[Scene]:
    async for one in _scene(binary):
        yield one


@pytest.mark.parametrize(
    ("sound", "hears"), [("loud", True), ("quiet", False), ("silent", False), ("falls", False)]
)
async def test_what_is_heard_at_the_end(
    scene: Scene, sounds: dict[str, bytes], sound: str, hears: bool
) -> None:
    await scene.play(sounds[sound])
    await until(lambda: (scene.ear._run.position or 0) > SECONDS - 3, 45)
    await until(lambda: scene.hears() is hears, 45)
    assert scene.ledger.running["silence"] == 1
    assert not scene.ear.has_silence_ended()


async def test_a_sound_ends_a_silence(scene: Scene, sounds: dict[str, bytes]) -> None:
    await scene.play(sounds["comes"])
    await until(scene.ear.has_silence_ended, 45)
    assert scene.hears() is not False
    assert not scene.ear.has_silence_ended(), "it is told once"


async def test_the_threshold_decides(sounds: dict[str, bytes], binary: str) -> None:
    check = SilenceCheck(threshold_db=-70, duration=0.5, interval=1, failures=1, grace=0)
    async for scene in _scene(binary, check):
        await scene.play(sounds["quiet"])
        await until(lambda scene=scene: scene.hears() is True, 45)  # type: ignore[misc]


async def test_a_source_without_sound_cannot_be_heard(scene: Scene, tmp_path: Path) -> None:
    await scene.play(ts_with(tmp_path / "picture.ts", ""))
    error: ProxyError = await asyncio.wait_for(asyncio.shield(scene.ear.failure), 45)
    assert error.reason == "ffmpeg_error"


@pytest.mark.usefixtures("_short")
async def test_a_listener_that_takes_everything_and_hears_nothing(
    tmp_path: Path, sounds: dict[str, bytes]
) -> None:
    """Sound that is announced and stays away is silence; an FFmpeg that hangs is not."""
    fake = FakeFFmpeg(tmp_path, stdin="drain", progress_every=1e6)
    async for scene in _scene(str(fake.path)):
        await scene.play(sounds["loud"])
        scene.hears()
        scene.script.last.feed(sounds["loud"])
        await until(lambda scene=scene: scene.hears() is False, 10)  # type: ignore[misc]
        assert scene.ear.hears(monotonic(), is_live=False) is None
    fake.set(stdin="ignore", progress_every=1e6)
    async for scene in _scene(str(fake.path)):
        await scene.play(sounds["loud"])
        started = monotonic()
        scene.script.last.feed(sounds["loud"])
        await until(lambda started=started: monotonic() > started + 1.5, 10)  # type: ignore[misc]
        assert scene.hears() is None


async def test_a_listener_that_deafens_is_killed_at_once(tmp_path: Path, sounds: dict[str, bytes]) -> None:
    fake = FakeFFmpeg(tmp_path, ignore_sigterm=True, stdin="ignore")
    async for scene in _scene(str(fake.path)):
        await scene.play(sounds["loud"])
        await fake.run()
        started = monotonic()
        await scene.ear.aclose()
        assert monotonic() - started < 0.5
