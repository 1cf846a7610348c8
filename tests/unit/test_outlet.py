"""Who is still there: paused, slow and dead peers told apart."""

from __future__ import annotations

import pytest

from m3u_proxy.pool.live.outlet import WATCH_INTERVAL, Outlet, PeerWatch
from m3u_proxy.pool.live.sinks import Peer

STUCK, PAUSE = 20.0, 600.0


class Wire:
    """A sink whose kernel says what the test wants."""

    def __init__(self) -> None:
        self.waiting = 0
        self.info: Peer | None = Peer(acked=0, silent=0.0, unacknowledged=0, probes=0)
        self.looked = 0

    def pending(self) -> int:
        return self.waiting

    def write(self, data: bytes) -> None:
        self.waiting += len(data)

    def peer(self) -> Peer | None:
        self.looked += 1
        return self.info


class Watched:
    """An outlet, what it told its owner, and looks at it every two seconds."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.outlet = Outlet(self.wire)
        self.outlet.moved_at = self.now = 1000.0
        self.dead = 0
        self.outlet.on_dead = self._on_dead

    def _on_dead(self) -> None:
        self.dead += 1

    def look(self, *, waiting: int = 0, **info: float) -> str | None:
        """What became of it after one more look."""
        self.now += WATCH_INTERVAL
        self.wire.waiting = waiting
        known = {"acked": 0, "silent": 0.0, "unacknowledged": 0, "probes": 0} | info
        self.wire.info = Peer(**known)  # type: ignore[arg-type]
        self.outlet.inspect(self.now, STUCK, PAUSE)
        return self.outlet.ended.result() if self.outlet.ended.done() else None


@pytest.mark.parametrize(
    ("unacknowledged", "probes", "silent", "dead"),
    [
        (1, 0, 20.0, True),
        (0, 2, 20.0, True),
        (1, 0, 19.9, False),
        (0, 1, 3600.0, False),  # paused: probes are answered, at most one is out
        (0, 0, 3600.0, False),  # nothing was sent
    ],
)
def test_only_a_peer_that_owes_an_ack_can_be_dead(
    unacknowledged: int, probes: int, silent: float, dead: bool
) -> None:
    peer = Peer(acked=1, silent=silent, unacknowledged=unacknowledged, probes=probes)
    assert peer.is_dead(STUCK) is dead


async def test_a_peer_that_left_data_unanswered_for_too_long_is_cut() -> None:
    watched = Watched()
    for silent in range(2, 20, 2):
        assert watched.look(waiting=100, silent=silent, unacknowledged=3) is None
    assert watched.look(waiting=100, silent=20.0, unacknowledged=3) == "stuck"
    assert watched.dead == 1


async def test_a_peer_whose_last_ack_is_old_because_nothing_was_sent_is_not_cut() -> None:
    """The source was silent for a while; its first bytes are on their way, the ACK is not here yet."""
    watched = Watched()
    assert watched.look(silent=25.0) is None
    assert watched.look(silent=27.0, unacknowledged=40, waiting=1000) is None
    assert watched.look(silent=0.1, unacknowledged=2, acked=5000) is None
    assert watched.dead == 0


async def test_a_half_open_peer_that_answers_no_probe_is_cut() -> None:
    watched = Watched()
    assert watched.look(waiting=100, silent=19.0, probes=2) is None
    assert watched.look(waiting=100, silent=21.0, probes=3) == "stuck"


async def test_a_paused_peer_is_kept_for_its_time_and_then_cut() -> None:
    watched = Watched()
    watched.look(waiting=0, acked=7)
    began = watched.now
    while watched.now + WATCH_INTERVAL < began + PAUSE:
        assert watched.look(waiting=100, acked=7, silent=1.0, probes=1) is None
    assert watched.look(waiting=100, acked=7, silent=1.0) == "paused"
    assert watched.dead == 1


async def test_a_peer_that_takes_anything_at_all_is_not_paused() -> None:
    watched = Watched()
    for acked in range(1000):
        assert watched.look(waiting=100, acked=acked) is None


async def test_a_peer_that_has_everything_is_not_paused_however_long_nothing_comes() -> None:
    watched = Watched()
    for _ in range(1000):
        assert watched.look(waiting=0, acked=5) is None


async def test_without_a_kernel_to_ask_only_a_full_queue_counts() -> None:
    outlet = Outlet(wire := Wire())
    wire.info = None
    outlet.moved_at = 0.0
    wire.waiting = 1
    outlet.inspect(PAUSE - 1, STUCK, PAUSE)
    assert not outlet.ended.done()
    outlet.inspect(PAUSE, STUCK, PAUSE)
    assert outlet.ended.result() == "paused"


async def test_what_is_written_is_counted() -> None:
    outlet = Outlet(Wire())
    outlet.write(b"12345")
    outlet.write(b"678")
    assert outlet.sent == 8


async def test_the_watch_looks_now_and_then_at_those_who_are_there() -> None:
    watch = PeerWatch(stuck=STUCK, pause=PAUSE)
    here, gone = Outlet(Wire()), Outlet(Wire())
    watch.add(here)
    watch.add(gone)
    watch.discard(gone)
    watch.discard(gone)
    for tenth in range(50):
        watch.look(1000.0 + tenth / 10)
    assert here.sink.looked == 3  # type: ignore[attr-defined]
    assert gone.sink.looked == 0  # type: ignore[attr-defined]


async def test_an_owner_that_forgets_its_outlet_at_once_does_not_disturb_the_look() -> None:
    watch = PeerWatch(stuck=STUCK, pause=0.0)
    outlets = [Outlet(Wire()) for _ in range(5)]
    for outlet in outlets:
        outlet.moved_at = 0.0
        outlet.sink.write(b"x")
        outlet.on_dead = lambda one=outlet: watch.discard(one)  # type: ignore[misc]
        watch.add(outlet)
    watch.look(1000.0)
    assert {outlet.ended.result() for outlet in outlets} == {"paused"}
