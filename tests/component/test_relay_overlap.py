"""A relay whose source repeats what it has sent: viewers get each byte once."""

from __future__ import annotations

import pytest

from m3u_proxy.model import Kind, State, StreamKey
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.overlap import OverlapLimits
from m3u_proxy.pool.live.relay import Relay, RelayLimits
from m3u_proxy.pool.tally import Tally
from tests.support.channel import channel, pieces
from tests.support.stepped import Player, Script, running, settle, until
from tests.support.succession import attempts_at, unpaced
from tests.support.tsverify import verify

ONE = channel(60)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    unpaced(monkeypatch)


@pytest.mark.parametrize("size", [188, 1316, 65536])
async def test_a_reconnect_to_repeated_bytes_leaves_no_trace(size: int) -> None:
    script, tally = Script(), Tally()
    limits = RelayLimits(overlap=OverlapLimits(signature=8 * 1024))
    relay = Relay(
        StreamKey("0123456789abcdef"), Kind.LIVE, attempts_at(script, tally), limits=limits, tally=tally
    )
    cut = 188 * 201 + 50
    async with running(relay):
        player = Player()
        relay.attach(Outlet(player))
        script.last.feed(*pieces(ONE.data[:cut], size))
        script.last.lose("reset")
        second = await script.attempt(2)
        second.feed(*pieces(ONE.data[: cut - 188], size))
        await until(lambda: relay.bytes_in == 2 * cut - 188)
        await settle()
        assert relay.snapshot().state is State.RECONNECTING, "nothing new has come"
        second.feed(*pieces(ONE.data[cut - 188 :], size))
        goal = ONE.psi[0] + ONE.data[ONE.keyframes[0] :]
        await until(lambda: len(player.data) == len(goal))
        assert relay.snapshot().state is State.LIVE
    assert player.data == goal
    report = verify(player.data)
    assert report.clean
    assert not report.flagged_discontinuities
