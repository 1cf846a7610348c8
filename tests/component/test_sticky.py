"""Where redirects led, a live stream is asked for again, and elsewhere as soon as that fails."""

from __future__ import annotations

from functools import partial

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.pool.sources.sticky import ENOUGH, PLACES, Session, StickySource
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.policy import AddressClass
from tests.support.provider import HOST, Provider, Reply, refusal

URL = f"{HOST}/live/u/p/1.ts"
EDGE = "http://edge.example/x/1.ts"
OTHER = "http://other.example/y/1.ts"
ASK = Ask(URL, {"Authorization": "Basic Og==", "X-Key": "k"}, is_lasting=True)


class Rig:
    def __init__(self) -> None:
        self.provider = Provider()
        self.session = Session()

    def next(self) -> StickySource:
        return self.session.open(
            URL, lambda: self.provider(ASK), lambda place: self.provider(ASK.moved(*place))
        )

    async def play(self) -> str:
        """One attempt to its end; its reason."""
        source = self.next()
        try:
            await source.open()
            while True:
                await source.read()
        except UpstreamError as error:
            return error.reason
        finally:
            await source.aclose()
            assert self.provider.open == 0

    @property
    def asked(self) -> list[str]:
        return [ask.url for ask in self.provider.asks]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def media(size: int = ENOUGH, **fields: object) -> Reply:
    return Reply(pieces=(bytes(size // 2), bytes(size - size // 2)), **fields)  # type: ignore[arg-type]


async def test_it_stays_where_it_was_sent_while_that_works(rig: Rig) -> None:
    rig.provider.on(URL, media(url=EDGE, address_class=AddressClass.PRIVATE), media())
    rig.provider.on(EDGE, media(), media(), refusal("http_4xx"))
    for _ in range(4):
        assert await rig.play() == "eof"
    assert rig.asked == [URL, EDGE, EDGE, EDGE, URL]
    assert await rig.play() == "eof"
    assert rig.asked[5:] == [URL], "it led nowhere the last time"
    assert rig.provider.most_open == 1
    there = rig.provider.asks[1]
    assert there.headers == {"X-Key": "k"}, "no secret of one host for another"
    assert (there.payer, there.is_lasting, there.named_by) == (URL, True, AddressClass.PRIVATE)


@pytest.mark.parametrize("reason", ["connect_timeout", "first_byte_timeout"])
async def test_there_is_no_second_request_behind_a_slow_one(rig: Rig, reason: str) -> None:
    rig.provider.on(URL, media(url=EDGE), media())
    rig.provider.on(EDGE, refusal(reason))
    assert [await rig.play() for _ in range(3)] == ["eof", reason, "eof"]
    assert rig.asked == [URL, EDGE, URL]


async def test_a_page_is_no_place_to_stay(rig: Rig) -> None:
    rig.provider.on(URL, media(ENOUGH - 1, url=EDGE), media(url=EDGE), media(url=OTHER))
    rig.provider.on(EDGE, media(4000))
    rig.provider.on(OTHER, media())
    for _ in range(5):
        await rig.play()
    assert rig.asked == [URL, URL, EDGE, URL, OTHER]


async def test_where_a_thousand_addresses_led_is_not_all_remembered(rig: Rig) -> None:
    for number in range(1000):
        url = f"{HOST}/{number}.ts"
        rig.provider.on(url, media(url=EDGE))
        entry = partial(rig.provider, Ask(url, {}))
        source = rig.session.open(url, entry, lambda place: rig.provider(ASK.moved(*place)))
        await source.open()
        for _ in range(2):
            await source.read()
        await source.aclose()
    assert len(rig.session._places) == PLACES
    assert f"{HOST}/999.ts" in rig.session._places
