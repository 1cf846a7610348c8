"""Slots of accounts equal the sockets that are open, whatever is cancelled."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine

import pytest

from m3u_proxy.errors import Closed, Unavailable, UpstreamError
from m3u_proxy.pool import accounts as module
from m3u_proxy.pool.accounts import Accounts, LeasedSource, Slot
from m3u_proxy.upstream.source import Head
from tests.support.stepped import Script, SteppedSource, settle, turn, until

LIVE = "http://provider.example/live/u/p/1.ts"
OTHER_CHANNEL = "http://provider.example/live/u/p/2.ts"
OTHER_ACCOUNT = "http://provider.example/live/else/p/1.ts"
NEVER = 3600.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], None]:
    """Sets the two waits; by default nobody loses patience."""

    def be(longest: float, lasting: float) -> None:
        monkeypatch.setattr(module, "LONGEST_WAIT", longest)
        monkeypatch.setattr(module, "LASTING_WAIT", lasting)

    be(NEVER, NEVER)
    return be


def begin(work: Coroutine[object, object, object]) -> asyncio.Task[object]:
    return asyncio.ensure_future(work)


async def held(accounts: Accounts, *, lasting: bool, url: str = LIVE) -> Slot:
    slot = accounts.slot(url, lasting=lasting)
    await slot.acquire()
    return slot


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_without_a_limit_nobody_waits_but_all_are_counted() -> None:
    accounts = Accounts({"other.example": 1})
    slots = [await held(accounts, lasting=bool(number % 2)) for number in range(20)]
    assert accounts.held() == {"provider.example": 20}
    for slot in slots:
        slot.release()
        slot.release()
    assert accounts.held() == {}


async def test_channels_of_an_account_share_its_slots_and_other_accounts_have_their_own() -> None:
    accounts = Accounts({"provider.example": 1})
    first = await held(accounts, lasting=True)
    other = await held(accounts, lasting=True, url=OTHER_ACCOUNT)
    assert accounts.held() == {"provider.example": 2}
    waiting = begin(accounts.slot(OTHER_CHANNEL, lasting=True).acquire())
    await settle()
    assert not waiting.done()
    other.release()
    await settle()
    assert not waiting.done()
    first.release()
    await waiting
    assert accounts.held() == {"provider.example": 1}


async def test_a_limit_may_name_a_port_and_otherwise_holds_for_all_ports() -> None:
    accounts = Accounts({"a.example:8080": 1, "b.example": 1, "[::1]": 1})
    assert accounts.account("http://a.example:8080/1.ts") != accounts.account("http://a.example:81/1.ts")
    assert accounts.account("http://b.example:8080/1.ts") == accounts.account("https://b.example/1.ts")
    for url in ("http://a.example:8080/1.ts", "http://b.example:8080/1.ts", "http://[::1]:9/1.ts"):
        slot = await held(accounts, lasting=True, url=url)
        waiting = begin(accounts.slot(url, lasting=False).acquire())
        await settle()
        assert not waiting.done()
        slot.release()
        await waiting


async def test_short_ones_take_turns_in_the_order_they_came() -> None:
    accounts = Accounts({"provider.example": 1})
    turns: list[int] = []

    async def fetch(number: int) -> None:
        slot = await held(accounts, lasting=False)
        turns.append(number)
        await turn()
        slot.release()

    await asyncio.gather(*(fetch(number) for number in range(10)))
    assert turns == list(range(10))


async def test_a_newcomer_does_not_overtake() -> None:
    accounts = Accounts({"provider.example": 1})
    slot = await held(accounts, lasting=False)
    waiting, late = accounts.slot(LIVE, lasting=True), accounts.slot(LIVE, lasting=False)
    first = begin(waiting.acquire())
    await settle()
    slot.release()
    second = begin(late.acquire())
    await settle()
    assert first.done()
    assert not second.done()
    waiting.release()
    await second


async def test_the_pool_is_told_who_needs_a_slot_and_may_release_at_once() -> None:
    accounts = Accounts({"provider.example": 1})
    slot = await held(accounts, lasting=True)
    told: list[str] = []

    def give_up(account: str) -> None:
        assert accounts.is_wanted(account)
        told.append(account)
        slot.release()

    accounts.on_need = give_up
    await held(accounts, lasting=True, url=OTHER_CHANNEL)
    assert told == [accounts.account(LIVE)]
    assert f"{told[0]}" == "provider.example"
    assert not accounts.is_wanted(told[0])


async def test_nobody_is_bothered_while_a_slot_is_free() -> None:
    accounts = Accounts({"provider.example": 2})
    told: list[str] = []
    accounts.on_need = told.append
    await asyncio.gather(held(accounts, lasting=True), held(accounts, lasting=False))
    assert told == []


async def test_a_lasting_one_does_not_wait_long_for_others_like_it(
    patience: Callable[[float, float], None],
) -> None:
    patience(NEVER, 0.02)
    accounts = Accounts({"provider.example": 2})
    slots = [await held(accounts, lasting=True) for _ in range(2)]
    with pytest.raises(Unavailable, match="2 connections") as caught:
        await held(accounts, lasting=True)
    assert caught.value.reason == "account_limit"
    assert accounts.held() == {"provider.example": 2}
    slots[0].release()
    await held(accounts, lasting=True)


async def test_a_lasting_one_waits_for_a_short_one_to_end(patience: Callable[[float, float], None]) -> None:
    patience(NEVER, 0.001)
    accounts = Accounts({"provider.example": 1})
    slot = await held(accounts, lasting=False)
    waiting = begin(held(accounts, lasting=True))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    slot.release()
    await waiting


@pytest.mark.parametrize("is_lasting", [True, False])
async def test_nobody_waits_for_ever(is_lasting: bool, patience: Callable[[float, float], None]) -> None:
    patience(0.03, 0.01)
    accounts = Accounts({"provider.example": 1})
    slot = await held(accounts, lasting=not is_lasting)
    with pytest.raises(Unavailable, match="1 connection at a time"):
        await held(accounts, lasting=is_lasting)
    assert not accounts.is_wanted(accounts.account(LIVE))
    slot.release()
    assert accounts.held() == {}


async def test_who_is_cancelled_just_as_the_slot_is_handed_over_passes_it_on() -> None:
    accounts = Accounts({"provider.example": 1})
    slot = await held(accounts, lasting=False)
    first, second = (begin(held(accounts, lasting=False)) for _ in range(2))
    await settle()
    slot.release()  # handed to the first, which has not run yet
    await cancelled(first)
    await second
    assert accounts.held() == {"provider.example": 1}


async def test_who_is_cancelled_in_the_queue_leaves_it() -> None:
    accounts = Accounts({"provider.example": 1})
    slot = await held(accounts, lasting=False)
    waiting = begin(held(accounts, lasting=False))
    await settle()
    await cancelled(waiting)
    assert not accounts.is_wanted(accounts.account(LIVE))
    slot.release()
    assert accounts.held() == {}


@pytest.mark.parametrize("is_handed_over", [True, False])
async def test_a_slot_released_before_it_is_had_is_not_had(is_handed_over: bool) -> None:
    accounts = Accounts({"provider.example": 1})
    holder, slot = await held(accounts, lasting=True), accounts.slot(LIVE, lasting=True)
    waiting = begin(slot.acquire())
    await settle()
    if is_handed_over:
        holder.release()
    slot.release()
    with pytest.raises(Closed):
        await waiting
    holder.release()
    assert accounts.held() == {}


async def test_a_slot_is_not_given_back_twice_by_its_release_and_a_cancellation() -> None:
    accounts = Accounts({"provider.example": 1})
    holder, slot = await held(accounts, lasting=True), accounts.slot(LIVE, lasting=True)
    waiting = begin(slot.acquire())
    await settle()
    holder.release()
    slot.release()
    await cancelled(waiting)
    assert accounts.held() == {}


# -- sources ------------------------------------------------------------------------------------------------


def leased(accounts: Accounts, script: Script) -> LeasedSource:
    return LeasedSource(script(), accounts.slot(LIVE, lasting=True))


async def test_a_source_is_opened_with_the_slot_in_hand_and_closed_before_it_is_passed_on() -> None:
    accounts, script = Accounts({"provider.example": 1}), Script()
    old, new = leased(accounts, script), leased(accounts, script)
    assert (await old.open()).status == 200
    script.last.feed(b"media")
    assert await old.read() == b"media"
    opening = begin(new.open())
    await settle()
    assert len(script.opened) == 1
    script.may_close.clear()
    closing = begin(old.aclose())
    await settle()
    assert len(script.opened) == 1  # still closing: the provider would see two
    script.may_close.set()
    await closing
    assert isinstance(await opening, Head)
    assert script.most_open == 1
    await new.aclose()
    await new.aclose()
    assert accounts.held() == {}


async def test_a_closing_that_is_cancelled_keeps_its_slot_until_the_socket_is_closed() -> None:
    accounts, script = Accounts({"provider.example": 1}), Script()
    old = leased(accounts, script)
    await old.open()
    script.may_close.clear()
    closing = begin(old.aclose())
    for _ in range(3):
        await settle()
        closing.cancel()
    await settle()
    assert accounts.held() == {"provider.example": 1}
    script.may_close.set()
    await until(lambda: accounts.held() == {})
    assert script.open == 0
    await asyncio.wait([closing])


class Hasty(SteppedSource):
    """Whoever closes it a second time does not wait for the first."""

    is_closing = False

    async def aclose(self) -> None:
        if not self.is_closing:
            self.is_closing = True
            await super().aclose()


async def test_two_who_close_wait_for_the_same_end() -> None:
    accounts, script = Accounts({"provider.example": 1}), Script()
    source = LeasedSource(Hasty(script), accounts.slot(LIVE, lasting=True))
    await source.open()
    script.may_close.clear()
    closings = [begin(source.aclose()), begin(source.aclose())]
    await settle()
    assert accounts.held() == {"provider.example": 1}
    assert not any(closing.done() for closing in closings)
    script.may_close.set()
    await asyncio.gather(*closings)


async def test_a_refused_source_keeps_its_slot_until_it_is_closed() -> None:
    accounts, script = Accounts({"provider.example": 1}), Script()
    script.refusal = UpstreamError("refused", "refused")
    source = leased(accounts, script)
    with pytest.raises(UpstreamError):
        await source.open()
    assert accounts.held() == {"provider.example": 1}
    await source.aclose()
    assert accounts.held() == {}


async def test_a_source_closed_while_it_waits_is_never_opened() -> None:
    accounts, script = Accounts({"provider.example": 1}), Script()
    holder, source = await held(accounts, lasting=True), leased(accounts, script)
    opening = begin(source.open())
    await settle()
    await source.aclose()
    with pytest.raises(Closed):
        await opening
    holder.release()
    with pytest.raises(Closed):
        await source.open()
    assert script.opened == []
    assert accounts.held() == {}


# -- any order ----------------------------------------------------------------------------------------------


class Provider:
    """Counts the sockets that are open."""

    def __init__(self) -> None:
        self.open = 0
        self.most = 0


class Socket:
    """A source whose opening and closing take some turns of the loop."""

    def __init__(self, provider: Provider, chance: random.Random) -> None:
        self._provider = provider
        self._chance = chance
        self._is_open = False

    async def open(self) -> Head:
        self._provider.open += 1
        self._provider.most = max(self._provider.most, self._provider.open)
        self._is_open = True
        await self.take_time()
        if self._chance.random() < 0.2:
            raise UpstreamError("refused", "refused")
        return Head(200, "video/mp2t", LIVE)

    async def read(self) -> bytes:
        await self.take_time()
        return b"media"

    async def aclose(self) -> None:
        await self.take_time()
        self._provider.open -= self._is_open
        self._is_open = False

    async def take_time(self) -> None:
        for _ in range(self._chance.randrange(4)):
            await turn()


async def visit(accounts: Accounts, provider: Provider, chance: random.Random) -> None:
    source = LeasedSource(Socket(provider, chance), accounts.slot(LIVE, lasting=chance.random() < 0.5))
    try:
        await source.open()
        for _ in range(chance.randrange(4)):
            await source.read()
    except (UpstreamError, Unavailable):
        pass
    finally:
        await source.aclose()


@pytest.mark.parametrize("seed", range(40))
async def test_the_provider_never_sees_one_too_many(
    seed: int, patience: Callable[[float, float], None]
) -> None:
    chance = random.Random(seed)
    limit = chance.randint(1, 3)
    patience(0.004, 0.001)
    accounts, provider = Accounts({"provider.example": limit}), Provider()
    tasks: list[asyncio.Task[None]] = []
    for _ in range(40):
        tasks.append(asyncio.ensure_future(visit(accounts, provider, chance)))
        for _ in range(chance.randrange(3)):
            await turn()
            counted = sum(accounts.held().values())
            assert provider.open <= counted <= limit
        if chance.random() < 0.3:
            chance.choice(tasks).cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(result) for result in results} <= {type(None), asyncio.CancelledError}
    await until(lambda: accounts.held() == {})
    assert provider.open == 0
    assert provider.most == limit
