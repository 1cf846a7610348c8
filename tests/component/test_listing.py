"""One upstream playlist: when it is fetched, what is given meanwhile, and how that fails."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

import pytest

from m3u_proxy.errors import Closed, ProxyError, UpstreamError
from m3u_proxy.media.playlist import Playlist, Reference
from m3u_proxy.pool.hls import listing as module
from m3u_proxy.pool.hls import pulse
from m3u_proxy.pool.hls.listing import Found, Listing, Page
from m3u_proxy.pool.hls.resources import Resource
from m3u_proxy.pool.sources.sticky import Settled
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Source
from tests.support.house import Clock
from tests.support.provider import HOST, Provider, Reply, media, refusal, text
from tests.support.stepped import settle, turn, until

PATH = "/live.m3u8"
MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n"


class Owner:
    """Notes what it is told."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.settled: list[Settled | None] = []
        self.found: list[Found] = []
        self.errors: list[str] = []
        self.delays: list[float] = []
        """What it says to those to come."""
        self.alive_at = 0.0
        self.renewed = 0
        self.refusal: UpstreamError | None = None

    async def open(self, settled: Settled | None) -> Source:
        self.settled.append(settled)
        return self.provider.child(*settled) if settled else self.provider.root(PATH)()

    def reading(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def index(self, playlist: Playlist, found: Found) -> Mapping[Reference, Resource | None]:
        if self.refusal is not None:
            raise self.refusal.again()
        self.found.append(found)
        return dict.fromkeys(playlist.references)

    def renew(self, page: Page) -> None:
        self.renewed += 1

    def variables(self) -> Mapping[str, str]:
        return {}

    def alive(self, now: float) -> None:
        self.alive_at = now

    def lost(self, error: ProxyError) -> float | None:
        self.errors.append(error.reason)
        return self.delays.pop(0) if self.delays else None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "monotonic", made)
    monkeypatch.setattr(module, "REVALIDATE", 0.05)
    return made


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    yield made
    assert made.open == 0
    assert made.most_open <= 1
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert "fetch-playlist" not in names


@pytest.fixture
async def owner(provider: Provider) -> Owner:
    return Owner(provider)


@pytest.fixture
async def listing(owner: Owner, clock: Clock) -> AsyncIterator[Listing]:
    made = Listing(owner.provider.root(PATH)()._ask.url, owner)
    yield made
    await made.aclose()


async def fails(listing: Listing) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await listing.current()
    return caught.value


async def sequence(listing: Listing) -> int:
    return (await listing.current()).playlist.media_sequence


# --- when it is fetched


async def test_a_hundred_callers_are_one_fetch(provider: Provider, listing: Listing) -> None:
    reply = text(media()).held()
    provider.on(PATH, reply)
    callers = [asyncio.create_task(listing.current()) for _ in range(100)]
    await settle()
    assert listing.is_fetching
    reply.may_begin.set()
    pages = await asyncio.gather(*callers)
    assert all(page is pages[0] for page in pages)
    assert provider.count(PATH) == 1
    assert not listing.is_fetching


async def test_it_is_fetched_again_after_half_the_target_duration(
    provider: Provider, listing: Listing, clock: Clock
) -> None:
    provider.on(PATH, text(media(0)), text(media(1)))
    assert await sequence(listing) == 0
    clock.now += 1.9
    assert await sequence(listing) == 0
    clock.now += 0.2
    assert await sequence(listing) == 1
    assert provider.count(PATH) == 2


@pytest.mark.parametrize("body", [media(end=True), MASTER])
async def test_what_does_not_change_is_fetched_once(
    provider: Provider, listing: Listing, clock: Clock, body: str
) -> None:
    provider.on(PATH, text(body), refusal())
    page = await listing.current()
    clock.now += 100_000
    assert await listing.current() is page
    assert provider.count(PATH) == 1


async def test_an_unchanged_text_is_the_same_page(
    provider: Provider, owner: Owner, listing: Listing, clock: Clock
) -> None:
    provider.on(PATH, text(media(0)))
    page = await listing.current()
    clock.now += 3
    assert await listing.current() is page
    assert (provider.count(PATH), len(owner.found), owner.renewed) == (2, 1, 1)


async def test_the_same_text_from_elsewhere_is_another_page(
    provider: Provider, owner: Owner, listing: Listing, clock: Clock
) -> None:
    moved = text(media(0))
    moved.url = "http://other.example/live.m3u8"
    provider.on(PATH, text(media(0)), moved)
    page = await listing.current()
    clock.now += 3
    assert await listing.current() is not page
    assert [found.base.resolve("s0.ts") for found in owner.found] == [
        f"{HOST}/s0.ts",
        "http://other.example/s0.ts",
    ]


# --- while the provider is slow or fails


async def test_a_slow_refresh_gives_the_old_revision_after_a_moment(
    provider: Provider, listing: Listing, clock: Clock
) -> None:
    slow = text(media(1)).held()
    provider.on(PATH, text(media(0)), slow)
    await listing.current()
    clock.now += 3
    assert await sequence(listing) == 0
    assert listing.is_fetching
    assert await sequence(listing) == 0
    slow.may_begin.set()
    await until(lambda: not listing.is_fetching)
    assert await sequence(listing) == 1
    assert provider.count(PATH) == 2


async def test_too_old_a_revision_is_not_given_so_its_viewers_wait(
    provider: Provider, listing: Listing, clock: Clock
) -> None:
    slow = text(media(1)).held()
    provider.on(PATH, text(media(0)), slow)
    await listing.current()
    clock.now += pulse.FREEZE + 1
    waiting = asyncio.create_task(listing.current())
    await settle()
    assert not waiting.done()
    slow.may_begin.set()
    assert (await waiting).playlist.media_sequence == 1


async def test_a_revision_that_gets_too_old_while_one_waits_is_given_still(
    provider: Provider, listing: Listing, clock: Clock
) -> None:
    provider.on(PATH, text(media(0)), text(media(1)).held())
    await listing.current()
    clock.now += pulse.FREEZE - 0.001
    waiting = asyncio.create_task(listing.current())
    await settle()
    clock.now += 1
    assert (await waiting).playlist.media_sequence == 0


async def test_a_failing_refresh_gives_the_old_revision_until_it_is_too_old(
    provider: Provider, listing: Listing, clock: Clock
) -> None:
    provider.on(PATH, text(media(0)), refusal("http_5xx"))
    await listing.current()
    end = clock.now + pulse.FREEZE
    while clock.now < end - 0.5:
        clock.now += 0.5
        assert await sequence(listing) == 0
    clock.now = end
    error = await fails(listing)
    assert error.reason == "http_5xx"
    assert error.retry_after is not None
    assert error.retry_after >= 1


async def test_failures_are_paced(provider: Provider, listing: Listing, clock: Clock) -> None:
    provider.on(PATH, refusal("refused"))
    asked: list[float] = []
    start = clock.now
    while clock.now < start + 100:
        before = provider.count(PATH)
        await fails(listing)
        if provider.count(PATH) > before:
            asked.append(clock.now - start)
        clock.now += 0.5
    assert asked == [0, 1, 3, 7, 15, 31, 61, 91]


async def test_a_good_answer_ends_the_pacing(
    provider: Provider, owner: Owner, listing: Listing, clock: Clock
) -> None:
    provider.on(PATH, *[refusal()] * 3, text(media(0)), refusal(), text(media(1)))
    for pause in (1, 2, 4):
        await fails(listing)
        clock.now += pause
    assert await sequence(listing) == 0
    clock.now += 2
    assert await sequence(listing) == 0  # the refusal
    clock.now += 1
    assert await sequence(listing) == 1
    assert owner.errors == ["http_5xx"] * 4
    assert listing.error is None


async def test_every_third_answer_a_503_is_seen_by_nobody(
    provider: Provider, listing: Listing, clock: Clock
) -> None:
    """F36."""
    answers = [refusal() if number % 3 == 2 else text(media(number)) for number in range(60)]
    provider.on(PATH, *answers)
    seen = []
    for _ in range(60):
        seen.append(await sequence(listing))
        clock.now += 1
    assert seen == sorted(seen)
    assert seen[-1] >= 30
    assert provider.count(PATH) <= 37


async def test_retry_after_is_obeyed(provider: Provider, listing: Listing, clock: Clock) -> None:
    provider.on(PATH, refusal("http_429", retry_after=60), text(media(0)))
    assert (await fails(listing)).retry_after == 60
    clock.now += 59
    assert (await fails(listing)).retry_after == 1
    assert provider.count(PATH) == 1
    clock.now += 1
    assert await sequence(listing) == 0


async def test_every_waiter_gets_an_error_of_its_own(provider: Provider, listing: Listing) -> None:
    reply = refusal("reset").held()
    provider.on(PATH, reply)
    waiters = [asyncio.create_task(listing.current()) for _ in range(10)]
    await settle()
    reply.may_begin.set()
    errors = await asyncio.gather(*waiters, return_exceptions=True)
    assert {error.reason for error in errors if isinstance(error, ProxyError)} == {"reset"}
    assert len({id(error) for error in errors}) == 10
    assert provider.count(PATH) == 1


async def test_a_revision_that_cannot_be_indexed_is_no_revision(
    provider: Provider, owner: Owner, listing: Listing, clock: Clock
) -> None:
    provider.on(PATH, text(media(0)), text(media(1)))
    await listing.current()
    owner.refusal = UpstreamError("not_media", "too deep")
    clock.now += 3
    assert await sequence(listing) == 0
    clock.now += 30
    assert (await fails(listing)).reason == "not_media"
    owner.refusal = None
    clock.now += 30
    assert await sequence(listing) == 1


# --- redirects


async def test_a_session_stays_where_it_was_sent_while_that_works(
    provider: Provider, owner: Owner, listing: Listing, clock: Clock
) -> None:
    """F41."""
    edge = "http://edge1.example/x/live.m3u8"
    moved = text(media(0))
    moved.url, moved.address_class = edge, AddressClass.PRIVATE
    provider.on(PATH, moved, text(media(9)))
    there = text(media(1))
    there.address_class = AddressClass.PRIVATE
    provider.on(edge, there, refusal(), text(media(2)))
    await listing.current()
    clock.now += 3
    assert await sequence(listing) == 1
    assert owner.settled == [None, Settled(edge, AddressClass.PRIVATE)]
    assert [ask.named_by for ask in provider.asks] == ["operator", AddressClass.PRIVATE]
    clock.now += 3
    assert await sequence(listing) == 9, "it failed there, and is asked for at its own address at once"
    assert owner.settled[2:] == [Settled(edge, AddressClass.PRIVATE), None]


# --- what is no playlist


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda: text("<!DOCTYPE html><html><body>expired</body></html>"), "not_media"),
        (lambda: text(" \r\n\n"), "not_media"),
        (lambda: text("#EXTM3U\n"), "not_media"),
        (lambda: Reply((), content_type="text/html"), "not_media"),
        (lambda: text(gzip.compress(b"#EXTM3U\n" + b"\n" * 10**8), Content_Encoding="gzip"), "too_large"),
        (lambda: text(gzip.compress(media().encode())[:40], Content_Encoding="gzip"), "not_media"),
        (lambda: text(media(), Content_Encoding="gzip"), "not_media"),
        (lambda: text(media(), Content_Encoding="br"), "not_media"),
        (lambda: Reply((media().encode(), *[b"#\n" * 2**16] * 17)).endless(), "too_large"),
        (lambda: text(media(count=20_001 * 6)), "too_large"),
        (lambda: Reply((media().encode(),), ending="short"), "short"),
        (lambda: Reply((media().encode(),)).endless(), "stall"),
        (lambda: text(media()).held(), "stall"),
    ],
)
async def test_bad_input_has_a_reason_and_an_end(
    provider: Provider,
    owner: Owner,
    listing: Listing,
    monkeypatch: pytest.MonkeyPatch,
    reply: object,
    reason: str,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05 if reason == "stall" else 5.0)
    assert callable(reply)
    provider.on(PATH, reply())
    assert (await fails(listing)).reason == reason
    assert owner.errors == [reason]
    assert provider.open == 0


async def test_a_compressed_playlist_is_read(provider: Provider, listing: Listing) -> None:
    provider.on(PATH, text(gzip.compress(media(7).encode()), Content_Encoding="GZIP"))
    assert await sequence(listing) == 7


async def test_a_large_playlist_is_read_beside_the_loop(provider: Provider, listing: Listing) -> None:
    body = media(count=10_000)
    assert len(body) > module.AT_ONCE
    provider.on(PATH, text(body))
    assert len((await listing.current()).playlist.segments()) == 10_000


@pytest.mark.parametrize(
    ("url", "line", "is_shown"),
    [
        ("http://secret.example/x.m3u8", "# from secret.example", False),
        ("http://user:longpassword@h.example/x.m3u8", "# longpassword", False),
        ("http://tv/x.m3u8", "# our tv programme", True),
    ],
)
async def test_names_of_the_provider_stay_here(
    owner: Owner, provider: Provider, listing: Listing, url: str, line: str, is_shown: bool
) -> None:
    reply = text(media(more=f"{line}\n"))
    reply.url = url
    provider.on(PATH, reply)
    shown = (await listing.current()).render(lambda resource: "x")
    assert (line in shown) is is_shown


# --- ends


async def test_callers_that_leave_do_not_end_the_fetch(provider: Provider, listing: Listing) -> None:
    reply = text(media(5)).held()
    provider.on(PATH, reply)
    callers = [asyncio.create_task(listing.current()) for _ in range(3)]
    await settle()
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)
    assert listing.is_fetching
    reply.may_begin.set()
    assert await sequence(listing) == 5
    assert provider.count(PATH) == 1


@pytest.mark.parametrize("hangs", ["before the head", "in the body"])
async def test_the_end_leaves_nothing_and_says_so(provider: Provider, listing: Listing, hangs: str) -> None:
    reply = text(media())
    provider.on(PATH, reply.held() if hangs == "before the head" else reply.endless())
    waiters = [asyncio.create_task(listing.current()) for _ in range(3)]
    await settle()
    waiters[0].cancel()
    await listing.aclose()
    assert (provider.open, listing.is_fetching) == (0, False)
    outcomes = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError, Closed, Closed]
    assert (await fails(listing)).reason == "closed"
    assert provider.count(PATH) == 1


async def test_the_end_comes_before_the_first_step(provider: Provider, listing: Listing) -> None:
    provider.on(PATH, text(media()).held())
    waiter = asyncio.create_task(listing.current())
    await turn()
    await listing.aclose()
    with pytest.raises(Closed):
        await waiter


async def test_the_first_revision_may_come_from_a_source_that_is_open(
    provider: Provider, listing: Listing, clock: Clock
) -> None:
    provider.on(PATH, text(media(3)), text(media(4)))
    assert (await listing.adopt(provider.root(PATH)())).playlist.media_sequence == 3
    assert provider.open == 0
    clock.now += 3
    assert await sequence(listing) == 4
