"""How long a failure is the answer to whoever asks again."""

from __future__ import annotations

import gc
import weakref

import pytest

from m3u_proxy.errors import ProxyError, Unavailable, UpstreamError
from m3u_proxy.ffmpeg.process.run import Lost
from m3u_proxy.model import StreamKey
from m3u_proxy.pool.refusals import HEALTHY, LONGEST, Refusals

KEY, OTHER = StreamKey.of("one"), StreamKey.of("other")
DEAD = UpstreamError("refused", "Nobody answers")


def refusal(refusals: Refusals, now: float, *, may_ask: bool = False) -> ProxyError | None:
    """What whoever asks at ``now`` is told."""
    try:
        refusals.check(KEY, now, may_ask=lambda: may_ask)
    except ProxyError as error:
        return error
    return None


def pause(refusals: Refusals, error: ProxyError, now: float) -> float:
    """Seconds for which a failure at ``now`` is the answer."""
    refusals.note(KEY, error, began=now, now=now)
    told = refusal(refusals, now)
    assert told is not None
    assert told.retry_after is not None
    assert refusal(refusals, now + told.retry_after) is None
    return told.retry_after


def test_nothing_is_refused_that_has_not_failed() -> None:
    refusals = Refusals()
    refusals.note(OTHER, DEAD, began=0.0, now=0.0)
    assert refusal(refusals, 0.0) is None
    assert refusals.get(KEY) is None
    assert str(refusals.get(OTHER)) == str(DEAD)


def test_the_longer_it_fails_the_longer_it_is_refused_up_to_a_bound_for_ever() -> None:
    refusals, now, pauses = Refusals(), 1000.0, []
    for _ in range(5000):  # two days of it
        pauses.append(pause(refusals, DEAD, now))
        now += pauses[-1]
    assert pauses[:5] == [2.0, 4.0, 8.0, 16.0, 30.0]
    assert set(pauses[5:]) == {LONGEST}


def test_what_ran_well_for_a_while_fails_for_the_first_time_again() -> None:
    refusals = Refusals()
    assert [pause(refusals, DEAD, now) for now in (0.0, 2.0, 6.0)] == [2.0, 4.0, 8.0]
    refusals.note(KEY, DEAD, began=14.0, now=14.0 + HEALTHY)
    told = refusal(refusals, 14.0 + HEALTHY)
    assert told is not None
    assert told.retry_after == 2.0


def test_what_is_not_its_own_fault_is_not_held_against_it() -> None:
    refusals = Refusals()
    full = Unavailable("The disk is full", reason="disk_full")
    assert [pause(refusals, full, now) for now in (0.0, 2.0, 4.0)] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UpstreamError("http_429", "Too many", status=429, retry_after=20.0), 20.0),
        (Lost("FFmpeg ended", reason="ffmpeg_error", retry_after=5.0), 5.0),
        (Unavailable("Not to be asked yet", reason="paced", retry_after=40.0), 40.0),
        (UpstreamError("refused", "Nobody answers", retry_after=20.0), 2.0),
    ],
    ids=[
        "the provider asks for time",
        "FFmpeg was lost",
        "no source may be asked",
        "nobody has asked for it",
    ],
)
def test_time_that_somebody_asks_for_is_given(error: ProxyError, expected: float) -> None:
    assert pause(Refusals(), error, 0.0) == expected


@pytest.mark.parametrize(("reason", "ends"), [("paced", True), ("circuit_open", True), ("disk_full", False)])
def test_what_only_waits_for_a_source_is_over_when_one_may_be_asked(reason: str, ends: bool) -> None:
    refusals = Refusals()
    refusals.note(KEY, Unavailable("Not now", reason=reason, retry_after=40.0), began=0.0, now=0.0)
    assert refusal(refusals, 1.0) is not None
    assert (refusal(refusals, 1.0, may_ask=True) is None) == ends


def test_each_who_asks_is_told_by_an_error_of_its_own() -> None:
    refusals = Refusals()
    refusals.note(KEY, DEAD, began=0.0, now=0.0)
    one, other = refusal(refusals, 0.0), refusal(refusals, 0.5)
    assert one is not other
    assert one is not DEAD
    assert (one, other) != (None, None)


def test_a_failure_is_forgotten_when_it_is_forgiven_and_when_it_is_long_over() -> None:
    refusals = Refusals()
    for key in (KEY, OTHER):
        refusals.note(key, DEAD, began=0.0, now=0.0)
    refusals.forget(KEY)
    refusals.forget(KEY)
    assert refusal(refusals, 0.0) is None
    refusals.expire(2.0 + LONGEST)
    assert str(refusals.get(OTHER)) == str(DEAD)
    refusals.expire(2.1 + LONGEST)
    assert refusals.get(OTHER) is None


class _Heavy:
    """Stands for a connection, and all that hangs on it."""


def test_what_had_failed_is_not_kept_in_memory_with_the_reason() -> None:
    def fail() -> weakref.ref[_Heavy]:
        connection = _Heavy()
        try:
            raise UpstreamError("refused", "Nobody answers")
        except UpstreamError as error:
            refusals.note(KEY, error, began=0.0, now=0.0)
        return weakref.ref(connection)

    refusals = Refusals()
    held = fail()
    gc.collect()
    assert refusals.get(KEY) is not None
    assert held() is None
