"""A damaged transport stream goes through a relay: what is good of it arrives unchanged."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from m3u_proxy.model import Kind, State, StreamKey
from m3u_proxy.pool.live import relay as relay_module
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.relay import Relay, RelayLimits
from m3u_proxy.pool.tally import Tally
from tests.support import ts
from tests.support.channel import channel, pieces
from tests.support.stepped import Player, Script, running, settle, until
from tests.support.succession import attempts_at, unpaced
from tests.support.tsverify import verify

PACKET = 188
DATAGRAM = 7 * PACKET
NUMBERS = random.Random(4)
CHANNEL = channel(150)
HURT = 300 * PACKET
"""Where the damage begins."""
RESYNC = 5 * PACKET
LAP = 2**33
"""Of a PTS, in ticks of 90 kHz (ISO/IEC 13818-1 §2.4.3.6)."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    unpaced(monkeypatch)
    monkeypatch.setattr(relay_module, "SHORTEST_PULSE", 0.0)
    monkeypatch.setattr(relay_module, "PULSE_PER_VIEWER", 0.0)


@contextmanager
def watching(relay: Relay) -> Iterator[Player]:
    player = Player()
    outlet = Outlet(player)
    relay.attach(outlet)
    try:
        yield player
    finally:
        relay.detach(outlet)


@asynccontextmanager
async def played(data: bytes) -> AsyncIterator[tuple[Relay, Player]]:
    """A relay that has read all of it over one connection, and goes on; the player who saw it all."""
    script = Script()
    tally = Tally()
    limits = RelayLimits(ring=1 << 24)
    relay = Relay(
        StreamKey("0123456789abcdef"), Kind.LIVE, attempts_at(script, tally), limits=limits, tally=tally
    )
    async with running(relay) as task:
        with watching(relay) as player:
            script.last.feed(*pieces(data, DATAGRAM))
            await until(lambda: relay.bytes_in == len(data) and not relay._parts)
            await settle()
            yield relay, player
        assert not task.done()
        assert (relay.state, len(script.opened)) == (State.LIVE, 1)
        assert not tally.upstream_errors


def flipped(data: bytes) -> bytes:
    """Two hundred bits of sixty packets are wrong."""
    hurt = bytearray(data)
    for _ in range(200):
        hurt[HURT + NUMBERS.randrange(60 * PACKET)] ^= 1 << NUMBERS.randrange(8)
    return bytes(hurt)


def thinned(data: bytes) -> bytes:
    """Every third of sixty packets is lost."""
    packets = [data[at : at + PACKET] for at in range(HURT, HURT + 60 * PACKET, PACKET)]
    return data[:HURT] + b"".join(one for n, one in enumerate(packets) if n % 3) + data[HURT + 60 * PACKET :]


DAMAGE = {
    "F44-bit flips": (flipped, 60 * PACKET),
    "F44-lost packets": (thinned, 60 * PACKET),
    "F44-a byte lost": (lambda data: data[:HURT] + data[HURT + 1 :], 0),
    "F44-a byte too many": (lambda data: data[:HURT] + b"\x11" + data[HURT:], 0),
    "F44-1 KiB of noise": (lambda data: data[:HURT] + NUMBERS.randbytes(1024) + data[HURT:], 0),
    "F44-48 KiB of noise": (lambda data: data[:HURT] + NUMBERS.randbytes(48 * 1024) + data[HURT:], 0),
}
"""What is done to the channel, and how many of its bytes that may cost."""


@pytest.mark.parametrize("kind", DAMAGE)
async def test_what_follows_the_damage_is_unchanged(kind: str) -> None:
    damage, extent = DAMAGE[kind]
    whole = CHANNEL.data
    good = whole[HURT + extent + RESYNC :]
    async with played(damage(whole)) as (_, player):
        assert player.data.endswith(good)
        assert len(player.data) % PACKET == 0
        before = player.data[: len(player.data) - len(good)]
        assert whole[CHANNEL.keyframes[0] : HURT - PACKET] in before
        report = verify(player.data)
    assert report.sync_errors == 0


async def test_tables_that_stay_away_for_five_seconds_are_ours_to_give() -> None:
    """F44: no PAT and PMT for 5 s; who joins meanwhile gets those that are in force."""
    packets = [CHANNEL.data[at : at + PACKET] for at in range(0, len(CHANNEL.data), PACKET)]
    tables = {b"\x00\x00", ts.PMT_PID.to_bytes(2, "big")}
    late = b"".join(packets[:40])
    late += b"".join(one for one in packets[40:] if bytes((one[1] & 0x1F, one[2])) not in tables)
    async with played(late) as (relay, first):
        assert first.data.endswith(late[40 * PACKET :])
        with watching(relay) as second:
            await settle()
            report = verify(second.data)
        assert report.first_packets[:2] == ("PAT", "PMT")
        assert report.first_video_is_keyframe


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(LAP - 50 * 3600, 0, id="F44-wrap at the seam"),
        pytest.param(LAP - 75 * 3600, LAP - 25 * 3600, id="F44-wrap in between"),
        pytest.param(10 * 90_000, 3600 * 90_000, id="F44-an hour ahead"),
        pytest.param(3600 * 90_000, 10 * 90_000, id="F44-an hour back"),
    ],
)
async def test_clocks_that_jump_or_wrap_are_no_fault(first: int, then: int) -> None:
    mux = ts.Mux()
    data = b"".join(ts.programme(pts=pts, pictures=50, mux=mux).data for pts in (first, then))
    async with played(data) as (relay, player):
        assert player.data.endswith(data)
        report = verify(player.data)
        assert report.clean
        assert not report.flagged_discontinuities
        with watching(relay) as late:
            await settle()
        assert verify(late.data).first_video_is_keyframe


async def test_pictures_without_sound_play() -> None:
    """F45: video only."""
    async with played(ts.programme(audio=False, pictures=60).data) as (_, player):
        report = verify(player.data)
    assert report.clean
    assert report.first_packets[:3] == ("PAT", "PMT", "video")
    assert report.first_video_is_keyframe
    assert ts.AUDIO_PID not in report.pids
