"""Wrong tokens by address: few are looked at, and few addresses are remembered (A8)."""

from __future__ import annotations

from m3u_proxy.web.tries import ADDRESSES, WINDOW, Tries


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_after_so_many_the_rest_of_the_minute_is_waited_for() -> None:
    clock = Clock()
    tries = Tries(3, clock=clock)
    assert [tries.note("a") for _ in range(3)] == [None] * 3
    assert tries.note("a") == WINDOW
    clock.now += 10
    assert tries.note("a") == WINDOW - 10
    assert tries.note("b") is None, "another address has done nothing"
    clock.now += WINDOW - 10
    assert tries.note("a") is None


def test_whoever_has_an_address_of_ipv6_has_its_whole_subnet() -> None:
    tries = Tries(1, clock=Clock())
    assert tries.note("2001:db8:1:2::1") is None
    assert tries.note("2001:db8:1:2:ffff::9") is not None
    assert tries.note("2001:db8:1:3::1") is None


def test_0_is_no_limit() -> None:
    tries = Tries(0)
    assert [tries.note("a") for _ in range(100)] == [None] * 100


def test_memory_is_bounded_and_the_oldest_go_first() -> None:
    tries = Tries(1, clock=Clock())
    for number in range(ADDRESSES + 10):
        tries.note(f"2001:db8:{number:x}::1")
    assert len(tries) == ADDRESSES
    assert tries.note("2001:db8:0::1") is None, "forgotten"
    assert tries.note(f"2001:db8:{ADDRESSES + 9:x}::1") is not None, "remembered"


def test_a_new_window_is_the_youngest() -> None:
    clock = Clock()
    tries = Tries(1, clock=clock)
    tries.note("first")
    for number in range(ADDRESSES - 1):
        tries.note(str(number))
    clock.now += WINDOW
    tries.note("first")
    tries.note("one more")
    assert tries.note("first") is not None
