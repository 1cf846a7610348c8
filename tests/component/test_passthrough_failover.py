"""Sources of playlists fail, viewers stay: what players read while one source takes another's place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from m3u_proxy.errors import NotFound, ProxyError, Unusable
from m3u_proxy.media.playlist import Role
from m3u_proxy.model import State
from m3u_proxy.pool.hls import downloads, listed, listing, tree
from m3u_proxy.pool.hls import passthrough as module
from m3u_proxy.pool.sources import attempts
from tests.support.hls_sources import (
    BREAK,
    ONE,
    THREE,
    TS,
    TWO,
    Rig,
    fetched,
    live,
    master,
    named,
    reason,
    shown,
    urls,
)
from tests.support.house import Clock
from tests.support.provider import Reply, refusal, text
from tests.support.stepped import settle, until


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Rig]]:
    clock = Clock()
    for room in (module, tree, listing, downloads, attempts):
        monkeypatch.setattr(room, "monotonic", clock)
    monkeypatch.setattr(listing, "REVALIDATE", 20.0)  # a machine that stalls is no source that is slow
    monkeypatch.setattr(listed, "RETRY", 0.01)
    yield lambda *urls: Rig(clock, *urls)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("fetch-")]


# --- the source's own playlist fails


@pytest.mark.parametrize(
    "fault",
    [
        refusal("refused"),
        refusal("http_5xx"),
        refusal("http_404"),
        refusal("reset"),
        text("<html>expired</html>"),
        text("#EXTM3U\n"),
        Reply((b"#EXTM3U\n",), ending="short"),
    ],
)
async def test_a_hard_fault_is_bridged_within_the_same_request(
    make: Callable[..., Rig], fault: Reply
) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), fault)
    rig.provider.on(TWO, live("b", 700), live("b", 701))
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 3
        pages = await asyncio.gather(*(source.page() for _ in range(20)))
        assert all(page is pages[0] for page in pages)
        page = pages[0]
        assert urls(page)[-4:] == [f"two.example/b{number}.ts" for number in range(700, 704)]
        assert urls(page)[:-4] == [f"one.example/a{number}.ts" for number in range(11, 14)]
        assert page.playlist.media_sequence == 11
        assert shown(page).count(BREAK) == 1
        assert named(page) is named(first, 1)
        rig.clock.now += 3
        page = await source.page()
        assert page.playlist.media_sequence == 12
        assert shown(page).count(BREAK) == 1
        assert source.state is State.LIVE
    assert (rig.count(ONE), rig.count(TWO)) == (2, 2)
    assert [(one.old_url, one.new_url, one.index) for one in rig.switches] == [(ONE, TWO, 1)]
    assert sum(rig.tally.failovers.values()) == 1
    kinds = [what for what, _ in rig.told()]
    assert kinds == ["start", "lost", "failover", "start", "connected"]


async def test_segments_of_before_can_be_fetched_while_they_are_listed(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), refusal())
    rig.provider.on(TWO, *[live("b", 700)] * 12, *[live("b", number) for number in range(701, 720)])
    rig.provider.on("http://one.example/a13.ts", Reply((TS,)))
    async with rig.running() as source:
        await source.page()
        rig.clock.now += 3
        old = named(await source.page(), 2)
        assert old.url == "http://one.example/a13.ts"
        for _ in range(11):
            rig.clock.now += 2
            await source.page()
            assert source.resource(old.name) is old
        assert await fetched(source, old) == "got"
        for _ in range(19):
            rig.clock.now += 4
            page = await source.page()
        assert urls(page) == [f"two.example/b{number}.ts" for number in range(719, 723)]
        with pytest.raises(NotFound):
            source.resource(old.name)


async def test_a_source_that_is_slow_to_answer_costs_no_viewer_an_error(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "REVALIDATE", 0.05)
    rig = make(ONE, TWO)
    slow = live("b", 700).held()
    rig.provider.on(ONE, live("a", 10), refusal())
    rig.provider.on(TWO, slow)
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 3
        assert await source.page() is first
        assert await source.page() is first
        slow.may_begin.set()
        await until(lambda: not source.snapshot().upstream_connections)
        assert shown(await source.page()).count(BREAK) == 1
    assert rig.count(TWO) == 1


async def test_when_all_fail_attempts_are_paced_and_the_old_revision_is_given(
    make: Callable[..., Rig],
) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), refusal("refused"), live("a", 13))
    rig.provider.on(TWO, refusal("refused"))
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 3
        assert await source.page() is first
        assert (rig.count(ONE), rig.count(TWO)) == (2, 1)
        assert await source.page() is first
        assert (rig.count(ONE), rig.count(TWO)) == (2, 1)
        rig.clock.now += 2
        page = await source.page()
        assert urls(page)[-1] == "one.example/a16.ts"
        assert BREAK not in shown(page), "the same source goes on where it was"
        assert page.playlist.media_sequence >= 11
    assert [one.index for one in rig.switches] == [1, 0]


async def test_given_up_it_fails_with_the_last_reason(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), refusal("http_5xx"))
    rig.provider.on(TWO, refusal("refused"))
    async with rig.running() as source:
        await source.page()
        reasons = []
        for _ in range(60):
            rig.clock.now += 2
            await settle()
            if source.error is not None:
                break
            try:
                await source.page()
            except ProxyError as error:
                reasons.append(error.reason)
        assert source.error is not None
        assert (source.state, source.error.reason) == (State.FAILED, reasons[-1])
        assert set(reasons) <= {"http_5xx", "refused"}
        assert await reason(source) == source.error.reason
    assert rig.count(ONE) + rig.count(TWO) < 20
    assert rig.told()[-1][0] == "failed"


async def test_a_first_playlist_that_is_none_leads_to_the_next_source(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, text("#EXTM3U\n"))
    rig.provider.on(TWO, live("b", 5))
    async with rig.running() as source:
        page = await source.page()
        assert urls(page)[0] == "two.example/b5.ts"
        assert page.playlist.media_sequence == 5
        assert BREAK not in shown(page)


async def test_a_resolver_names_the_next_source(make: Callable[..., Rig]) -> None:
    rig = make(ONE)
    rig.answers = [THREE]
    rig.provider.on(ONE, live("a", 10), refusal())
    rig.provider.on(THREE, live("c", 1))
    async with rig.running() as source:
        await source.page()
        rig.clock.now += 3
        page = await source.page()
        assert urls(page)[-1] == "three.example/c4.ts"
    assert rig.answers == []


async def test_without_another_source_the_old_revision_is_given_as_ever(make: Callable[..., Rig]) -> None:
    rig = make(ONE)
    rig.provider.on(ONE, live("a", 10), refusal("http_404"), refusal("http_404"), live("a", 12))
    async with rig.running() as source:
        first = await source.page()
        for pause, asked in ((3, 2), (0.5, 2), (0.5, 3), (1.5, 3), (0.5, 4)):
            rig.clock.now += pause
            page = await source.page()
            assert rig.count(ONE) == asked
            assert (page is first) == (asked < 4)
        assert page.playlist.media_sequence == 12
    assert rig.told().count(("lost", "http_404")) == 2


# --- the same source begins anew: F32


async def test_a_reset_of_the_numbers_is_one_discontinuity(make: Callable[..., Rig]) -> None:
    rig = make(ONE)
    rig.provider.on(ONE, live("a", 500), live("r", 0, 2), live("r", 0, 3), live("r", 1, 4))
    sequences, breaks = [], []
    async with rig.running() as source:
        for _ in range(4):
            page = await source.page()
            sequences.append(page.playlist.media_sequence)
            breaks.append(shown(page).count(BREAK))
            rig.clock.now += 3
        assert breaks == [0, 1, 1, 0]
        assert "#EXT-X-DISCONTINUITY-SEQUENCE:1\n" in shown(page)
        assert urls(page)[-1] == "one.example/r4.ts"
        assert sequences == sorted(sequences)
        assert sequences[0] == 500


async def test_nothing_special_is_the_page_as_it_was_read(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), live("a", 10), live("a", 11))
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 3
        assert await source.page() is first
        rig.clock.now += 3
        page = await source.page()
        assert page.resources.keys() == set(page.playlist.references)
        assert source._tree.root.page is page


# --- live playlists that stand still or end: F31, F39


async def test_a_frozen_playlist_is_left_when_its_time_is_over(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10, target=6))
    rig.provider.on(TWO, live("b", 5, target=6))
    async with rig.running() as source:
        first = await source.page()
        start = rig.clock.now
        while (page := await source.page()) is first:
            rig.clock.now += 0.5
        assert 18 <= rig.clock.now - start <= 18 + 3
        assert urls(page)[-1] == "two.example/b8.ts"
    assert rig.count(ONE) <= 18 / 3 + 2
    assert [one.reason for one in rig.switches] == ["playlist_fetch_error_Stale"]
    assert ("lost", "playlist_freeze") in rig.told()


async def test_a_frozen_playlist_without_another_source_is_shown_on(make: Callable[..., Rig]) -> None:
    rig = make(ONE)
    rig.provider.on(ONE, *[live("a", 10)] * 20, live("a", 11))
    async with rig.running() as source:
        first = await source.page()
        for _ in range(19):
            rig.clock.now += 2
            assert await source.page() is first
        rig.clock.now += 2
        assert (await source.page()).playlist.media_sequence == 11
    assert rig.tally.upstream_errors["playlist_freeze"] == 3


async def test_nobody_asked_for_a_while_is_no_freeze(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10))
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 60
        assert await source.page() is first
    assert rig.switches == []


async def test_caches_that_take_turns_are_no_news(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), *[live("a", 11 - number % 2) for number in range(20)])
    rig.provider.on(TWO, live("b", 5))
    async with rig.running() as source:
        for _ in range(9):
            await source.page()
            rig.clock.now += 2
        assert urls(await source.page())[-1] == "two.example/b8.ts"


async def test_the_end_of_a_live_playlist_is_taken_back(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(
        ONE, live("a", 10), *[live("a", 11, end=True)] * 3, live("a", 12), *[live("a", 13, end=True)] * 3
    )
    async with rig.running() as source:
        for _ in range(8):
            assert "ENDLIST" not in shown(await source.page())
            rig.clock.now += 2.5
    assert rig.switches == []


async def test_a_live_playlist_that_stays_ended_is_left(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), live("a", 11, end=True))
    rig.provider.on(TWO, live("b", 5))
    async with rig.running() as source:
        await source.page()
        rig.clock.now += 2.5
        start = rig.clock.now
        while "b8.ts" not in urls(page := await source.page())[-1]:
            assert "ENDLIST" not in shown(page)
            rig.clock.now += 0.5
        assert 10 <= rig.clock.now - start <= 12.5
    assert [one.reason for one in rig.switches] == ["live_stream_silent_close"]


async def test_without_another_source_the_end_is_a_failure(make: Callable[..., Rig]) -> None:
    rig = make(ONE)
    rig.provider.on(ONE, live("a", 10), live("a", 11, end=True))
    async with rig.running() as source:
        await source.page()
        start = rig.clock.now
        while rig.clock.now - start < 22:
            assert "ENDLIST" not in shown(await source.page())
            rig.clock.now += 0.5
        rig.clock.now += 4
        assert await reason(source) == "eof"
        await settle()
        assert source.state is State.FAILED
    assert ("failed", "eof") in rig.told()


async def test_a_film_says_that_it_ends(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 0, end=True))
    async with rig.running() as source:
        page = await source.page()
        assert "#EXT-X-ENDLIST" in shown(page)
        rig.clock.now += 1000
        assert await source.page() is page
    assert rig.count(ONE) == 1


# --- segments: F34, F35


async def test_three_segments_in_a_row_that_are_missing_are_too_many(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10))
    rig.provider.on(TWO, live("b", 5))
    async with rig.running() as source:
        page = await source.page()
        for number in range(3):
            assert rig.switches == []
            assert await fetched(source, named(page, number)) == "http_404"
        page = await source.page()
        assert urls(page)[-1] == "two.example/b8.ts"
        assert [one.reason for one in rig.switches] == ["segment_fetch_error"]
        for number in range(3):
            await fetched(source, named(page, number))
        assert len(rig.switches) == 1, "those of before are no fault of the source in use"
    counts = rig.provider.counts()
    assert counts["http://one.example/a11.ts"] <= 2


async def test_a_missing_segment_among_others_is_none(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10, 8))
    for number in (12, 15):
        rig.provider.on(f"http://one.example/a{number}.ts", Reply((TS,)))
    async with rig.running() as source:
        page = await source.page()
        outcomes = [await fetched(source, named(page, number)) for number in range(8)]
        assert outcomes == [*["http_404"] * 2, "got", *["http_404"] * 2, "got", *["http_404"] * 2]
    assert rig.switches == []


async def test_no_segment_for_too_long_is_a_failure(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, *[live("a", 10 + number) for number in range(9)])
    rig.provider.on(TWO, live("b", 5))
    for number in range(10, 30):
        rig.provider.on(f"http://one.example/a{number}.ts", Reply((TS[:188],)).endless())
    async with rig.running() as source:
        page = await source.page()
        start = rig.clock.now
        source.downloads.fetch(named(page))
        await settle()
        while not rig.switches:
            rig.clock.now += 1
            page = await source.page()
        assert rig.clock.now - start == 12
        assert urls(page)[-1] == "two.example/b8.ts"
    assert ("lost", "segments") in rig.told()


# --- variants: F43


async def test_a_dead_variant_is_the_players_business(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, master("900 high.m3u8", "500 mid.m3u8", "100 low.m3u8"))
    rig.provider.on("http://one.example/mid.m3u8", *[live("m", 10 + number) for number in range(9)])
    async with rig.running() as source:
        page = await source.page()
        assert await reason(source, named(page, 0).name) == "http_404"
        for _ in range(8):
            await source.page(named(page, 1).name)
            rig.clock.now += 2
        assert await reason(source, named(page, 0).name) == "http_404"
    assert rig.switches == []
    assert rig.count(ONE) == 1


@pytest.mark.parametrize("is_known", [True, False])
async def test_when_every_wanted_variant_fails_the_source_has(
    make: Callable[..., Rig], is_known: bool
) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, master("900 high.m3u8", "100 low.m3u8"))
    rig.provider.on("http://one.example/high.m3u8", *[live("h", 10)] * is_known, refusal())
    rig.provider.on(TWO, master("120 a.m3u8", "800 b.m3u8", "2000 c.m3u8"))
    rig.provider.on("http://two.example/b.m3u8", live("b", 70))
    rig.provider.on("http://two.example/a.m3u8", live("a", 90))
    async with rig.running() as source:
        page = await source.page()
        high, low = named(page, 0), named(page, 1)
        if is_known:
            await source.page(high.name)
            rig.clock.now += 2
            await source.page(high.name)
            rig.clock.now += 1
            spliced = await source.page(high.name)
            assert shown(spliced).count(BREAK) == 1
            assert urls(spliced)[-1] == "two.example/b73.ts"
        else:
            assert await reason(source, high.name) == "http_5xx"
        assert urls(await source.page(low.name))[-1] == "two.example/a93.ts"
        other = await source.page()
        assert [named(other, 0), named(other, 1)] == [low, high]
        assert named(other, 2).url == "http://two.example/c.m3u8"
    assert len(rig.switches) == 1
    assert rig.count(TWO) == 1


async def test_variants_lead_to_a_plain_playlist_and_back(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    subtitles = '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="t",NAME="x",URI="subs.m3u8"\n'
    rig.provider.on(ONE, master("900 high.m3u8", "100 low.m3u8", more=subtitles))
    for name in ("high", "low", "subs"):
        rig.provider.on(f"http://one.example/{name}.m3u8", live(name, 10), live(name, 11))
    rig.provider.on(TWO, live("b", 70), live("b", 71))
    async with rig.running() as source:
        page = await source.page()
        subs, high, low = (named(page, number).name for number in range(3))
        for name in (subs, high, low):
            await source.page(name)
        await rig.attempts.switch()
        spliced = [await source.page(name) for name in (high, low)]
        assert [urls(one)[-1] for one in spliced] == ["two.example/b73.ts"] * 2
        assert [shown(one).count(BREAK) for one in spliced] == [1, 1]
        assert rig.count(TWO) == 1
        with pytest.raises(NotFound):
            await source.page(subs)
        plain = await source.page()
        assert plain.playlist.media_sequence == 70
        rig.clock.now += 3
        await rig.attempts.switch()
        back = await source.page(high)
        assert urls(back)[-1] == "one.example/high14.ts"
        assert back.playlist.media_sequence > spliced[0].playlist.media_sequence
        under_the_root = await source.page()
        assert urls(under_the_root)[-1] == "one.example/high14.ts"
        assert under_the_root.playlist.media_sequence > 70
        assert urls(await source.page(subs))[-1] == "one.example/subs14.ts"


async def test_ffmpeg_is_led_from_variant_to_variant(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, master("900 high.m3u8", "100 low.m3u8"))
    rig.provider.on("http://one.example/high.m3u8", live("h", 10))
    rig.provider.on(TWO, master("700 only.m3u8"))
    rig.provider.on("http://two.example/only.m3u8", live("o", 1))
    async with rig.running() as source:
        assert urls(await source.media_page())[-1] == "one.example/h13.ts"
        await rig.attempts.switch()
        assert urls(await source.media_page())[-1] == "two.example/o4.ts"


# --- by hand


async def test_by_hand_the_next_request_reads_the_new_source(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO, THREE)
    rig.provider.on(ONE, *[live("a", 10 + number) for number in range(9)])
    rig.provider.on(TWO, *[live("b", 500 + number) for number in range(9)])
    rig.provider.on(THREE, *[live("c", 1 + number) for number in range(9)])
    sequences, names = [], []
    async with rig.running() as source:
        for step in range(9):
            page = await source.page()
            sequences.append(page.playlist.media_sequence)
            names.append(urls(page)[-1].partition(".")[0])
            if step in (1, 5):
                await rig.attempts.switch()
            rig.clock.now += 2
        assert names == [*["one"] * 2, *["two"] * 4, *["three"] * 3]
        assert sequences == sorted(sequences)
        assert 1 <= shown(page).count(BREAK) <= 2
    assert [one.reason for one in rig.switches] == ["manual"] * 2
    assert rig.tally.failovers == {"manual": 2}


async def test_by_hand_to_a_source_that_fails_is_no_end(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, *[live("a", 10 + number) for number in range(9)])
    rig.provider.on(TWO, refusal("http_404"))
    async with rig.running() as source:
        first = await source.page()
        await rig.attempts.switch()
        assert await source.page() is not None
        rig.clock.now += 2
        page = await source.page()
        assert urls(page)[-1] == "one.example/a15.ts"
        assert BREAK not in shown(page)
        assert page.playlist.media_sequence > first.playlist.media_sequence
    assert rig.count(TWO) == 1


async def test_by_hand_without_another_source_nothing_happens(make: Callable[..., Rig]) -> None:
    rig = make(ONE)
    rig.provider.on(ONE, live("a", 10))
    async with rig.running() as source:
        first = await source.page()
        with pytest.raises(Unusable):
            await rig.attempts.switch()
        assert await source.page() is first
        assert {one.role for one in rig.resources} == {Role.SEGMENT}


async def test_by_hand_nobody_waits_for_a_source_that_hangs(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "REVALIDATE", 0.05)
    rig = make(ONE, TWO)
    rig.provider.on(ONE, live("a", 10), live("a", 11).held())
    rig.provider.on(TWO, live("b", 500))
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 3
        assert await source.page() is first
        await rig.attempts.switch()
        assert urls(await source.page())[-1] == "two.example/b503.ts"
        assert rig.provider.most_open == 1


async def test_frozen_variants_are_a_frozen_source(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, master("900 high.m3u8", "100 low.m3u8"))
    for name in ("high", "low"):
        rig.provider.on(f"http://one.example/{name}.m3u8", live(name, 10))
    rig.provider.on(TWO, live("b", 70))
    async with rig.running() as source:
        page = await source.page()
        high, low = named(page, 0).name, named(page, 1).name
        await source.page(high)
        start = rig.clock.now
        while not rig.switches:
            rig.clock.now += 1
            await source.page(high)
            await source.page(low)
        assert 12 <= rig.clock.now - start <= 16
        assert urls(await source.page(low))[-1] == "two.example/b73.ts"
    assert [one.reason for one in rig.switches] == ["playlist_fetch_error_Stale"]


async def test_one_missing_segment_and_a_pause_are_no_failure(make: Callable[..., Rig]) -> None:
    rig = make(ONE, TWO)
    rig.provider.on(ONE, *[live("a", 10 + number) for number in range(30)])
    async with rig.running() as source:
        assert await fetched(source, named(await source.page())) == "http_404"
        for _ in range(10):
            rig.clock.now += 2
            page = await source.page()
        assert await fetched(source, named(page, 3)) == "http_404"
        rig.clock.now += 2
        await source.page()
    assert rig.switches == []
