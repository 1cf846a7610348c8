"""An HLS source as a whole: what its playlists name, how long, on whose word, and what nobody may fetch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from m3u_proxy.errors import Closed, NotFound, ProxyError
from m3u_proxy.media.playlist import GAP_URL, Role
from m3u_proxy.model import State, StreamKey
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls import downloads, listing, pulse, tree, view
from m3u_proxy.pool.hls import passthrough as module
from m3u_proxy.pool.hls.listing import Page
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.hls.resources import Resource, Resources
from m3u_proxy.pool.sources import attempts
from m3u_proxy.pool.sources.sticky import Settled
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Source
from tests.support.answer import null_packets
from tests.support.house import Clock
from tests.support.provider import HOST, Provider, Reply, media, refusal, text
from tests.support.stepped import settle, until
from tests.support.succession import attempts_at

ROOT = "/live.m3u8"
TS = null_packets(10)
VARIANTS = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=100
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900,AUDIO="a"
high.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=500
mid.m3u8
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",DEFAULT=YES,URI="audio.m3u8"
"""


class Rig:
    """One source and its provider; ``clock`` moves by hand."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.provider = Provider()
        self.resources = Resources(b"secret")
        self.tally = Tally()
        self.budget = Budget(10**6)
        self.attempts = attempts_at(self.root, self.tally, urls=(HOST + ROOT,))

    async def first(self) -> Source:
        """The source as it is opened to be judged."""
        return await self.attempts.next()

    def make(self, *, prefetch: bool = False) -> Passthrough:
        return Passthrough(
            StreamKey.of(HOST + ROOT),
            self._open_root,
            self.provider.child,
            attempts=self.attempts,
            resources=self.resources,
            budget=self.budget,
            tally=self.tally,
            prefetch=prefetch,
        )

    def _open_root(self, settled: Settled | None) -> Source:
        return self.provider.child(*settled) if settled else self.root()

    def root(self) -> Source:
        return self.provider(Ask(HOST + ROOT, {}))

    @asynccontextmanager
    async def running(self, *, prefetch: bool = False) -> AsyncIterator[Passthrough]:
        """Alive from its first playlist on."""
        self.attempts = attempts_at(self.root, self.tally, urls=(HOST + ROOT,))
        source = self.make(prefetch=prefetch)
        task = asyncio.create_task(source.run(await self.first()))
        await settle()
        try:
            yield source
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert (self.provider.open, self.budget.used) == (0, 0)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    clock = Clock()
    for room in (module, tree, listing, downloads, attempts):
        monkeypatch.setattr(room, "monotonic", clock)
    yield Rig(clock)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("fetch-")]


def urls(page: Page) -> list[str | None]:
    """Where the resources of a playlist are, in order; ``None`` for what nobody may fetch."""
    found = [page.resources[reference] for reference in page.playlist.references]
    return [resource.url if resource is not None else None for resource in found]


def named(page: Page, number: int = 0) -> Resource:
    resource = page.resources[page.playlist.references[number]]
    assert resource is not None
    return resource


def shown(page: Page) -> str:
    return page.render(lambda resource: f"/x/{resource.name}{resource.suffix}")


# --- names


async def test_names_are_stable_and_tell_nothing(rig: Rig) -> None:
    rig.provider.on(ROOT, text(media(0)), text(media(1)))
    async with rig.running() as source:
        first = await source.page()
        rig.clock.now += 3
        second = await source.page()
        assert named(first, 1) is named(second, 0)
        names = [named(page, place).name for page in (first, second) for place in range(3)]
        assert len(set(names)) == 4
        assert "provider" not in shown(second)
        assert "s1.ts" not in shown(second)


async def test_a_live_windows_names_are_forgotten_after_a_while(rig: Rig) -> None:
    rig.provider.on(ROOT, *[text(media(number)) for number in range(20)])
    rig.provider.on("/s0.ts", Reply((TS,)))
    async with rig.running() as source:
        old = named(await source.page())
        await source.downloads.fetch(old).begun()
        await until(lambda: not len(source.downloads))
        while rig.clock.now < old.keep_until:
            assert source.resource(old.name) is old
            rig.clock.now += 3
            await source.page()
        with pytest.raises(NotFound):
            source.resource(old.name)
        assert source.downloads.find(old) is None
        assert rig.budget.used == 0
        assert len(rig.resources) <= 3 + view.KEEP / 3 + 1


async def test_an_unchanged_playlist_keeps_what_it_lists(rig: Rig) -> None:
    rig.provider.on(ROOT, *[text(media(0))] * 20, text(media(1)))
    async with rig.running() as source:
        gone = named(await source.page())
        for _ in range(20):
            rig.clock.now += 3
            page = await source.page()
        assert page.playlist.media_sequence == 1
        assert source.resource(gone.name) is gone


async def test_the_names_of_a_film_last(rig: Rig) -> None:
    rig.provider.on(ROOT, text(media(0, end=True)))
    async with rig.running() as source:
        page = await source.page()
        rig.clock.now += 10**6
        assert source.resource(named(page).name) is named(page)
    async with rig.running() as successor:
        rig.clock.now += 10**6
        assert successor.resource(named(page).name) is named(page)


async def test_a_live_playlist_that_ends_keeps_what_it_lists(rig: Rig) -> None:
    rig.provider.on(ROOT, text(media(0)), text(media(0, end=True)))
    async with rig.running() as source:
        await source.page()
        rig.clock.now += 3
        page = await source.page()
        rig.clock.now += 10**6
        assert rig.resources.expire(rig.clock.now) == []
        assert source.resource(named(page).name) is named(page)


async def test_variants_do_not_expire_each_others_segments(rig: Rig) -> None:
    rig.provider.on(ROOT, text(VARIANTS))
    rig.provider.on("/low.m3u8", *[text(media(number, target=2)) for number in range(60)])
    rig.provider.on("/high.m3u8", text(media(100, target=30)))
    async with rig.running() as source:
        low, high = named(await source.page(), 0), named(await source.page(), 1)
        slow = named(await source.page(high.name))
        for _ in range(30):
            rig.clock.now += 2
            await source.page(low.name)
        assert source.resource(slow.name) is slow
        while rig.clock.now <= slow.keep_until:
            rig.clock.now += 2
            await source.page(low.name)
        with pytest.raises(NotFound):
            source.resource(slow.name)


async def test_what_was_forgotten_is_known_again_when_it_is_listed_still(rig: Rig) -> None:
    rig.provider.on(ROOT, text(VARIANTS))
    rig.provider.on("/low.m3u8", *[text(media(number, target=2)) for number in range(60)])
    rig.provider.on("/high.m3u8", text(media(100, target=2)))
    async with rig.running() as source:
        low, high = named(await source.page(), 0), named(await source.page(), 1)
        old = named(await source.page(high.name))
        for _ in range(15):
            rig.clock.now += 2
            await source.page(low.name)
        with pytest.raises(NotFound):
            source.resource(old.name)
        await source.page(high.name)
        assert source.resource(old.name) is old


async def test_ranges_of_a_growing_file_are_forgotten_too(rig: Rig) -> None:
    def grown(first: int) -> Reply:
        lines = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
        parts = (f"#EXTINF:4,\n#EXT-X-BYTERANGE:100@{100 * at}\nf.ts\n" for at in range(first, first + 3))
        return text(lines + "".join(parts))

    rig.provider.on(ROOT, *[grown(number) for number in range(40)])
    rig.provider.on("/f.ts", Reply((TS[:100],)))
    async with rig.running() as source:
        for number in range(40):
            page = await source.page()
            await source.downloads.fetch(named(page), (100 * number, 100 * number + 99)).begun()
            rig.clock.now += 3
        file = named(page)
        assert (3900, 3999) in file.ranges
        assert (0, 99) not in file.ranges
        assert len(file.ranges) <= 3 + view.KEEP / 3 + 1
        assert source.downloads.find(file, (0, 99)) is None
        assert source.downloads.find(file, (3900, 3999)) is not None


# --- trust


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "rtsp://h/x",
        "udp://h:1",
        "concat:a|b",
        "subfile,,start,0,end,0,,:/etc/passwd",
        "javascript:alert(1)",
        "http://user@a@b/x.ts",
        "http:///x.ts",
    ],
)
async def test_what_is_no_address_becomes_a_gap(rig: Rig, uri: str) -> None:
    rig.provider.on(ROOT, text(media().replace("s1.ts", uri)))
    async with rig.running(prefetch=True) as source:
        page = await source.page()
        assert urls(page)[1] in (None, f"{HOST}/{uri}")
        if urls(page)[1] is None:
            assert f"#EXT-X-GAP\n{GAP_URL}\n" in shown(page)
        assert all(url is None or url.startswith(HOST) for url in urls(page))
    assert all(ask.url.startswith(HOST) for ask in rig.provider.asks)


async def test_nobody_is_trusted_more_than_who_named_him(rig: Rig) -> None:
    inside = text(VARIANTS)
    inside.address_class = AddressClass.PRIVATE
    rig.provider.on(ROOT, inside)
    rig.provider.on("/low.m3u8", text(media(target=4)))
    high = text(media(target=4))
    high.address_class = AddressClass.LOOPBACK
    rig.provider.on("/high.m3u8", high)
    async with rig.running() as source:
        page = await source.page()
        assert named(page).named_by is AddressClass.PRIVATE
        trusted = named(await source.page(named(page, 1).name))
        assert trusted.named_by is AddressClass.LOOPBACK
        same = named(await source.page(named(page, 0).name))
        assert same is trusted
        assert same.named_by is AddressClass.PUBLIC
    assert [ask.named_by for ask in rig.provider.asks] == ["operator", *[AddressClass.PRIVATE] * 2]


@pytest.mark.parametrize("path", ["live.m3u8", "low.m3u8"])
async def test_playlists_in_a_circle_are_refused(rig: Rig, path: str) -> None:
    rig.provider.on(ROOT, text(VARIANTS.replace("low.m3u8", path)))
    rig.provider.on("/low.m3u8", text(VARIANTS))
    async with rig.running() as source:
        child = named(await source.page())
        assert child.url == f"{HOST}/{path}"
        with pytest.raises(ProxyError) as caught:
            await source.page(child.name)
        assert caught.value.reason == "not_media"
        assert source.error is None


async def test_a_circle_of_two_is_refused_wherever_it_is_entered(rig: Rig) -> None:
    def to(path: str) -> Reply:
        return text(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{path}\n")

    rig.provider.on(ROOT, to("a.m3u8"))
    rig.provider.on("/a.m3u8", to("b.m3u8"))
    rig.provider.on("/b.m3u8", to("a.m3u8"))
    async with rig.running() as source:
        with pytest.raises(ProxyError) as caught:
            await source.media_page()
        assert caught.value.reason == "not_media"
    assert len(rig.provider.asks) == 3


async def test_playlists_may_be_nested_twice(rig: Rig) -> None:
    rig.provider.on(ROOT, text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n"))
    rig.provider.on("/a.m3u8", text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n"))
    rig.provider.on("/b.m3u8", text(media(7)))
    async with rig.running() as source:
        assert (await source.media_page()).playlist.media_sequence == 7
        assert source.target == 4


async def test_a_long_playlist_is_named_in_steps(rig: Rig) -> None:
    count = 2 * view.NAMED_AT_ONCE + 1
    rig.provider.on(ROOT, text(media(count=count, end=True)))
    async with rig.running() as source:
        found = urls(await source.page())
        assert found == [f"{HOST}/s{number}.ts" for number in range(count)]
        assert len(rig.resources) == count


async def test_of_many_opened_playlists_only_the_newest_are_kept(rig: Rig) -> None:
    count = 2 * tree.CHILDREN
    named = "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={n + 1}\nv{n}.m3u8\n" for n in range(count))
    rig.provider.on(ROOT, text(f"#EXTM3U\n{named}"))
    for number in range(count):
        rig.provider.on(f"/v{number}.m3u8", text(media()))
    async with rig.running() as source:
        root = await source.page()
        names = [resource.name for resource in root.resources.values() if resource is not None]
        assert len(names) == count
        for name in names:
            await source.page(name)
        kept = [name for name in names if source.known_page(name) is not None]
        assert kept == names[-tree.CHILDREN :]
        assert source.known_page(None) is not None
        assert not (await source.page(names[0])).playlist.is_multivariant


# --- variants


async def test_ffmpeg_reads_the_best_variant_wherever_it_stands(rig: Rig) -> None:
    rig.provider.on(ROOT, text(VARIANTS))
    rig.provider.on("/high.m3u8", text(media(9)))
    async with rig.running() as source:
        assert (await source.media_page()).playlist.media_sequence == 9
    assert [ask.url for ask in rig.provider.asks] == [HOST + ROOT, f"{HOST}/high.m3u8"]


async def test_ffmpeg_reads_the_best_variant_that_may_be_fetched(rig: Rig) -> None:
    rig.provider.on(ROOT, text(VARIANTS.replace("high.m3u8", "file:///high.m3u8")))
    rig.provider.on("/mid.m3u8", text(media(5)))
    async with rig.running() as source:
        assert (await source.media_page()).playlist.media_sequence == 5
        narrow = (await source.page()).narrowed()
        assert urls(narrow) == [f"{HOST}/mid.m3u8"]


async def test_ffmpeg_reads_the_best_variant_that_works(rig: Rig) -> None:
    """F43: as a player would, which takes another one."""
    rig.provider.on(ROOT, text(VARIANTS))
    rig.provider.on("/mid.m3u8", text(media(5)))
    async with rig.running() as source:
        assert (await source.media_page()).playlist.media_sequence == 5
        assert urls(source.narrowed(await source.page())) == [f"{HOST}/mid.m3u8"]
        assert (await source.media_page()).playlist.media_sequence == 5
        assert rig.tally.failovers == {"variant": 1}
        assert source.state is State.LIVE
    assert rig.provider.counts() == {HOST + ROOT: 1, f"{HOST}/high.m3u8": 1, f"{HOST}/mid.m3u8": 1}


async def test_when_no_variant_works_ffmpeg_is_told_after_one_attempt_at_each(rig: Rig) -> None:
    rig.provider.on(ROOT, text(VARIANTS))
    async with rig.running() as source:
        with pytest.raises(ProxyError) as caught:
            await source.media_page()
        assert caught.value.reason == "http_404"
    assert set(rig.provider.counts().values()) == {1}
    assert len(rig.provider.counts()) == 1 + VARIANTS.count("STREAM-INF")


async def test_without_a_usable_variant_there_is_nothing_for_ffmpeg(rig: Rig) -> None:
    rig.provider.on(ROOT, text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///a.m3u8\n"))
    async with rig.running() as source:
        with pytest.raises(ProxyError) as caught:
            await source.media_page()
        assert caught.value.reason == "not_media"


async def test_a_variant_that_fails_is_not_the_end_of_the_others(rig: Rig) -> None:
    rig.provider.on(ROOT, text(VARIANTS))
    rig.provider.on("/high.m3u8", text(media(9)))
    async with rig.running() as source:
        page = await source.page()
        with pytest.raises(ProxyError):
            await source.page(named(page, 0).name)
        assert (await source.page(named(page, 1).name)).playlist.media_sequence == 9
        assert (source.state, source.error) == (State.LIVE, None)
        assert rig.tally.upstream_errors == {"http_404": 1}


async def test_a_segment_is_no_playlist(rig: Rig) -> None:
    rig.provider.on(ROOT, text(media()))
    async with rig.running() as source:
        with pytest.raises(NotFound):
            await source.page(named(await source.page()).name)
        with pytest.raises(NotFound):
            await source.page("p0123")


async def test_an_address_with_two_uses_is_two_resources(rig: Rig) -> None:
    key = '#EXT-X-KEY:METHOD=AES-128,URI="s1.ts"\n'
    rig.provider.on(ROOT, text(media(more=key)))
    async with rig.running() as source:
        page = await source.page()
        roles = {resource.role for resource in page.resources.values() if resource is not None}
        assert roles == {Role.KEY, Role.SEGMENT}


# --- ahead of viewers


async def test_the_newest_segment_is_fetched_ahead_when_a_viewer_polls(rig: Rig) -> None:
    rig.provider.on(ROOT, text(media(0)), text(media(1)))
    for number in range(5):
        rig.provider.on(f"/s{number}.ts", Reply((TS,)))
    async with rig.running(prefetch=True) as source:
        await until(lambda: rig.provider.count("/s2.ts") == 1)
        rig.clock.now += 100
        await settle()
        assert rig.provider.count(ROOT) == 1
        page = await source.page()
        await source.downloads.fetch(named(page, 2)).begun()
        await until(lambda: not len(source.downloads))
    assert {ask.url.removeprefix(HOST) for ask in rig.provider.asks} == {ROOT, "/s2.ts", "/s3.ts"}
    assert rig.provider.count("/s3.ts") == 1


async def test_of_a_film_nothing_is_fetched_ahead(rig: Rig) -> None:
    rig.provider.on(ROOT, text(media(end=True)))
    async with rig.running(prefetch=True) as source:
        await source.page()
        await settle()
        assert len(rig.provider.asks) == 1


# --- life


async def test_a_source_that_fails_for_good_ends_with_its_reason(rig: Rig) -> None:
    rig.provider.on(ROOT, text(media()), refusal("refused"))
    source = rig.make()
    task = asyncio.create_task(source.run(await rig.first()))
    await source.ready()
    assert source.is_warm
    rig.clock.now += pulse.FREEZE + 1
    with pytest.raises(ProxyError):
        await source.page()
    await task
    assert source.error is not None
    assert (source.state, source.error.reason) == (State.FAILED, "refused")
    assert source.snapshot().reason == "refused"
    with pytest.raises(ProxyError) as caught:
        await source.page()
    assert caught.value.reason == "refused"
    assert rig.provider.open == 0


async def test_a_first_playlist_that_is_none_is_the_end(rig: Rig) -> None:
    rig.provider.on(ROOT, text("<html><body>Subscription expired"))
    source = rig.make()
    await source.run(await rig.first())
    assert source.error is not None
    assert (source.state, source.error.reason) == (State.FAILED, "not_media")


async def test_the_end_leaves_nothing_and_tells_who_waits(rig: Rig) -> None:
    rig.provider.on(ROOT, text(VARIANTS))
    rig.provider.on("/low.m3u8", text(media()).held())
    rig.provider.on("/high.m3u8", text(media(9)))
    rig.provider.on("/s9.ts", Reply((TS[:188],)).endless())
    source = rig.make()
    task = asyncio.create_task(source.run(await rig.first()))
    page = await source.page()
    child = await source.page(named(page, 1).name)
    download = source.downloads.fetch(named(child))
    waiting = [asyncio.create_task(source.page(named(page).name)), asyncio.create_task(download.whole())]
    await settle()
    assert source.snapshot().upstream_connections == rig.provider.open == 2
    task.cancel()
    await asyncio.wait([task])
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Closed, Closed]
    assert (source.state, rig.provider.open, rig.budget.used) == (State.CLOSED, 0, 0)
    with pytest.raises(Closed):
        source.downloads.fetch(named(child, 1))
    with pytest.raises(Closed):
        await source.page()
    assert rig.tally.upstream_errors == {}
