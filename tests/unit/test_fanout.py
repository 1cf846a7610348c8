"""One ring, many cursors: who gets what, and what a slow viewer costs whom."""

from __future__ import annotations

import pytest

from m3u_proxy.media.mpegts import Point
from m3u_proxy.pool.live import fanout as fanout_module
from m3u_proxy.pool.live.fanout import SLICE, Fanout
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.ring import Ring
from m3u_proxy.pool.tally import Tally
from tests.support import ts
from tests.support.stepped import Player, settle, turn, until
from tests.support.tsverify import slices_of, verify

SAMPLE = ts.programme(pictures=60, gop=10)
PIDS = tuple(verify(SAMPLE.data).pids)


class Stage:
    """A ring fed with the sample in chunks that begin at its pictures' groups, and its fan-out."""

    def __init__(self, *, capacity: int = 1 << 20, queue: int = 1 << 20) -> None:
        self.ring = Ring(capacity)
        self.tally = Tally()
        self.fanout = Fanout(self.ring, lambda: (SAMPLE.psi[0], PIDS), queue=queue, tally=self.tally)
        self._group = 0

    def feed(self, groups: int = 1) -> None:
        """So many groups of pictures more, one chunk each."""
        for _ in range(groups):
            number = self._group
            self._group += 1
            begin = SAMPLE.keyframes[number]
            end = SAMPLE.keyframes[number + 1] if number + 1 < len(SAMPLE.keyframes) else len(SAMPLE.data)
            self.ring.append(SAMPLE.data[begin:end], [Point(0, SAMPLE.psi[number])])
            self.fanout.pulse()

    def join(self, *, paused: bool = False) -> tuple[Player, Outlet]:
        player = Player()
        player.paused = paused
        outlet = Outlet(player)
        self.fanout.attach(outlet)
        return player, outlet


async def test_before_the_first_chunk_nothing_is_written() -> None:
    stage = Stage()
    player, outlet = stage.join()
    assert player.data == b""
    stage.feed(2)
    await settle()
    assert player.data == stage.ring[0] + stage.ring[1]
    assert outlet.sent == len(player.data)


async def test_everybody_is_sent_the_same_object() -> None:
    stage = Stage()
    players = [stage.join()[0] for _ in range(5)]
    stage.feed()
    await settle()
    assert all(player.chunks[0] is stage.ring[0] for player in players)


async def test_a_joiner_of_a_warm_ring_starts_at_once_at_the_newest_keyframe() -> None:
    stage = Stage()
    stage.feed(3)
    player, _ = stage.join()
    assert player.data == SAMPLE.psi[2] + stage.ring[2]
    stage.feed()
    await settle()
    assert verify(player.data).clean


async def test_a_viewer_that_was_detached_gets_nothing_more() -> None:
    stage = Stage()
    player, outlet = stage.join()
    stage.feed()
    await settle()
    before = player.data
    stage.fanout.detach(outlet)
    stage.fanout.detach(outlet)
    stage.feed()
    await settle()
    assert player.data == before
    assert len(stage.fanout) == 0


async def test_viewers_are_served_in_slices_and_the_loop_gets_its_turn_between() -> None:
    stage = Stage()
    players = [stage.join()[0] for _ in range(3 * SLICE)]

    def served() -> int:
        return sum(bool(player.data) for player in players)

    stage.feed()
    counts = [served()]
    while counts[-1] < len(players):
        await turn()
        counts.append(served())
        assert len(counts) < 20
    assert SLICE in counts
    assert 2 * SLICE in counts


async def test_a_chunk_that_comes_during_a_round_reaches_those_who_had_their_turn() -> None:
    stage = Stage()
    players = [stage.join()[0] for _ in range(2 * SLICE)]
    stage.feed()
    stage.feed()
    await settle()
    assert {player.data for player in players} == {stage.ring[0] + stage.ring[1]}


async def test_a_viewer_that_leaves_during_a_round_is_not_written_to() -> None:
    stage = Stage()
    stage_players = [stage.join() for _ in range(2 * SLICE)]
    stage.feed()
    player, outlet = stage_players[-1]
    stage.fanout.detach(outlet)
    await settle()
    assert player.data == b""


async def test_a_slow_viewer_holds_no_more_than_its_queue_and_one_chunk() -> None:
    queue = 20_000
    stage = Stage(queue=queue)
    player, outlet = stage.join(paused=True)
    stage.feed(5)
    await settle()
    assert player.most < queue + max(len(stage.ring[number]) for number in range(5))
    assert outlet.number < stage.ring.next
    player.resume()
    await until(lambda: outlet.number == stage.ring.next)
    assert player.data == b"".join(stage.ring[number] for number in range(5))
    assert stage.fanout.skips == 0


async def test_a_joiner_that_takes_nothing_is_not_given_the_whole_ring() -> None:
    stage = Stage(queue=2000)
    stage.feed()
    chunk = SAMPLE.data[: ts.SIZE * 20]
    for _ in range(20):
        stage.ring.append(chunk, [])
    player, _ = stage.join(paused=True)
    assert player.most <= len(SAMPLE.psi[0]) + len(stage.ring[0]) + len(chunk)


async def test_a_slow_viewer_costs_only_itself() -> None:
    stage = Stage(capacity=30_000, queue=10_000)
    slow, _ = stage.join(paused=True)
    quick, _ = stage.join()
    for _ in range(6):
        stage.feed()
        await settle()
    assert quick.data == SAMPLE.data[SAMPLE.keyframes[0] :]
    assert len(slow.data) == 0


async def test_a_viewer_that_fell_out_jumps_once_to_a_keyframe_and_the_loss_is_flagged_and_counted() -> None:
    stage = Stage(capacity=30_000, queue=10_000)
    player, outlet = stage.join(paused=True)
    stage.feed(5)
    await settle()
    assert outlet.number < stage.ring.first
    assert (outlet.skips, stage.fanout.skips, stage.tally.skips) == (0, 0, 0)  # not while it takes nothing
    player.resume()
    await until(lambda: outlet.number == stage.ring.next)
    stage.feed()
    await settle()

    assert (outlet.skips, stage.fanout.skips, stage.tally.skips) == (1, 1, 1)
    report = verify(player.data)
    assert report.clean, report
    assert set(report.flagged_discontinuities) == set(PIDS)
    runs = slices_of(player.data, SAMPLE.data)
    assert len(runs) == 2
    assert all(offset in SAMPLE.keyframes for offset, _ in runs)
    assert all(length % ts.SIZE == 0 for _, length in runs)
    assert outlet.sent == len(player.data)


async def test_a_joiner_whose_first_picture_is_long_gets_all_of_it_although_the_source_is_silent() -> None:
    stage = Stage(queue=2000)
    stage.feed()
    for number in range(1, 5):  # what follows the keyframe, in chunks of their own
        stage.ring.append(SAMPLE.data[number * ts.SIZE * 20 :][: ts.SIZE * 20], [])
    player, outlet = stage.join()
    await until(lambda: outlet.number == stage.ring.next)
    assert len(player.chunks) == 5


async def test_closing_cuts_everybody_with_the_reason_and_leaves_no_timer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanout_module, "CATCH_UP", 0.0)
    stage = Stage(queue=1)
    outlets = [stage.join(paused=True)[1] for _ in range(2 * SLICE)]
    stage.feed(3)
    stage.fanout.close("stall")
    stage.fanout.close("again")
    assert {outlet.ended.result() for outlet in outlets} == {"stall"}
    rounds: list[int] = []
    monkeypatch.setattr(Fanout, "pulse", lambda self: rounds.append(1))
    await settle()
    assert rounds == []


async def test_a_viewer_that_has_ended_gets_nothing_more() -> None:
    stage = Stage()
    player, outlet = stage.join()
    outlet.end("stuck")
    outlet.end("later")
    stage.feed()
    await settle()
    assert player.data == b""
    assert outlet.ended.result() == "stuck"
