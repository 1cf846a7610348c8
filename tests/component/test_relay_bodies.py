"""A relay of other containers than MPEG-TS: joiners, slow viewers, and a FFmpeg that is replaced."""

from __future__ import annotations

import asyncio

import imageio_ffmpeg
import pytest

from m3u_proxy.model import Kind, State, StreamKey
from m3u_proxy.pool.live import relay as relay_module
from m3u_proxy.pool.live.body import BodyIntake
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.relay import Relay, RelayLimits
from m3u_proxy.pool.tally import Tally
from tests.support.bodies import BODIES, decode, make_body
from tests.support.channel import pieces
from tests.support.stepped import Player, Script, ended, running, settle, until
from tests.support.succession import attempts_at, unpaced

KEY = StreamKey("0123456789abcdef")
SECONDS = 5


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    unpaced(monkeypatch)
    monkeypatch.setattr(relay_module, "SHORTEST_PULSE", 0.0)
    monkeypatch.setattr(relay_module, "PULSE_PER_VIEWER", 0.0)


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    names = ("mp4", "matroska", "adts")
    return {
        name: make_body(imageio_ffmpeg.get_ffmpeg_exe(), BODIES[name][1], name, SECONDS) for name in names
    }


def a_relay(script: Script, container: str, **limits: int) -> Relay:
    tally = Tally()
    return Relay(
        KEY,
        Kind.TRANSCODE_PIPE,
        attempts_at(script, tally),
        limits=RelayLimits(**limits),  # type: ignore[arg-type]
        tally=tally,
        intake=BodyIntake(container),
    )


def join(relay: Relay) -> tuple[Player, Outlet]:
    player = Player()
    outlet = Outlet(player)
    relay.attach(outlet)
    return player, outlet


async def taken(relay: Relay, size: int) -> None:
    """Wait until so many bytes have come in and have been handed on."""
    await until(lambda: relay.bytes_in == size and not relay._parts)
    await settle()


@pytest.mark.parametrize("container", ["mp4", "matroska"])
async def test_who_joins_later_gets_the_head_and_the_newest_key_picture(
    bodies: dict[str, bytes], container: str
) -> None:
    script, body = Script(), bodies[container]
    relay = a_relay(script, container)
    async with running(relay):
        early, _ = join(relay)
        script.last.feed(*pieces(body[: len(body) * 9 // 10], 9000))
        await relay.begun()
        await taken(relay, len(body) * 9 // 10)
        late, _ = join(relay)
        script.last.feed(*pieces(body[len(body) * 9 // 10 :], 9000))
        await taken(relay, len(body))
    assert len(late.data) < len(early.data) / 2
    head = BodyIntake(container)
    head.connect(0.0)
    head.feed(body, 0.0)
    for player in (early, late):
        assert player.data.startswith(head.tables()[0])
        assert decode(player.data) == ""
    assert early.data.endswith(late.data[len(head.tables()[0]) :])


@pytest.mark.parametrize("container", ["mp4", "matroska"])
async def test_a_slow_viewer_goes_on_at_a_later_point_without_another_head(
    bodies: dict[str, bytes], container: str
) -> None:
    script, body = Script(), bodies[container]
    relay = a_relay(script, container, ring=len(body) // 4, queue=1)
    fifth = len(body) // SECONDS
    async with running(relay):
        slow, outlet = join(relay)
        for number, piece in enumerate(pieces(body, fifth)):
            slow.paused = 1 <= number < SECONDS - 1
            if not slow.paused:
                slow.read()
            script.last.feed(piece)
            await taken(relay, min((number + 1) * fifth, len(body)))
    assert outlet.skips == 1
    assert len(slow.data) < len(body) * 3 // 4
    assert decode(slow.data) == ""


@pytest.mark.parametrize("container", ["mp4", "matroska"])
async def test_a_body_ends_with_its_ffmpeg_and_nobody_gets_the_old_head(
    bodies: dict[str, bytes], container: str
) -> None:
    script, body = Script(), bodies[container]
    relay = a_relay(script, container)
    async with running(relay):
        script.last.feed(body)
        await relay.begun()
        player, outlet = join(relay)
        script.last.lose("ffmpeg_signal")
        assert await outlet.ended == "ffmpeg_signal"
        assert relay.state is State.RECONNECTING
        assert not relay.is_warm
        waiting = asyncio.create_task(relay.begun())
        between, between_outlet = join(relay)
        await settle()
        assert between.data == b""
        assert not waiting.done()
        (await script.attempt(2)).feed(body)
        await waiting
        await taken(relay, 2 * len(body))
        assert decode(between.data) == ""
        assert not between_outlet.ended.done()
    assert decode(player.data) == ""


async def test_sound_goes_on_with_the_next_ffmpeg(bodies: dict[str, bytes]) -> None:
    script, body = Script(), bodies["adts"]
    relay = a_relay(script, "adts")
    async with running(relay):
        player, outlet = join(relay)
        script.last.feed(body[:-50])
        await taken(relay, len(body) - 50)
        script.last.lose("ffmpeg_signal")
        (await script.attempt(2)).feed(body)
        await taken(relay, 2 * len(body) - 50)
        assert not outlet.ended.done()
    assert len(player.data) > 2 * len(body) - 1000
    assert decode(player.data, "adts") == ""


async def test_the_last_units_reach_viewers_before_the_end(bodies: dict[str, bytes]) -> None:
    script, body = Script(), bodies["mp4"]
    relay = a_relay(script, "mp4")
    async with running(relay) as task:
        player, outlet = join(relay)
        script.last.feed(*pieces(body, 9000))
        script.last.lose("completed")
        assert await outlet.ended == "completed"
        await ended(task)
    intake = BodyIntake("mp4")
    intake.connect(0.0)
    assert player.data == intake.feed(body, 0.0).data


async def test_what_cannot_be_joined_fails_with_a_word(bodies: dict[str, bytes]) -> None:
    script = Script()
    relay = a_relay(script, "webm")
    async with running(relay) as task:
        script.last.feed(bodies["mp4"])
        await ended(task)
    assert relay.error is not None
    assert relay.error.reason == "not_media"
    assert "Matroska" in relay.error.detail
