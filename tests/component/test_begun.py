"""A source that was looked at is read as if it had not been."""

from __future__ import annotations

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.begun import Begun, begin
from m3u_proxy.upstream.source import Source
from tests.support.attempts import CLOSED_WITHIN, at
from tests.support.origin import Answer, Origin
from tests.support.provider import Provider, Reply, refusal

BODY = (b"first", b"second", b"third")


def source(reply: Reply) -> tuple[Provider, Source]:
    provider = Provider()
    provider.on("/x", reply)
    return provider, provider.root("/x")()


async def rest(begun: Begun) -> tuple[bytes, str]:
    """Everything that is read, and why it ends."""
    data = b""
    try:
        while True:
            data += await begun.read()
    except UpstreamError as error:
        return data, error.reason


@pytest.mark.parametrize("size", [0, 1, 5, 6, 16, 1000])
async def test_every_byte_is_read_once(size: int) -> None:
    provider, made = source(Reply(BODY))
    begun = await begin(made, lambda prefix: len(prefix) >= size)
    assert (begun.prefix, begun.is_whole) == (
        b"".join(BODY)[: {0: 0, 1: 5, 5: 5, 6: 11}.get(size, 16)],
        size > 16,
    )
    assert await begun.open() is begun.head
    assert await rest(begun) == (b"".join(BODY), "eof")
    await begun.aclose()
    assert (provider.made, provider.open) == (1, 0)


async def test_an_empty_body_is_whole_and_nothing() -> None:
    _, made = source(Reply(()))
    begun = await begin(made, bool)
    assert (begun.prefix, begun.is_whole) == (b"", True)
    assert await rest(begun) == (b"", "eof")
    await begun.aclose()


@pytest.mark.parametrize("reply", [refusal("http_4xx"), Reply((b"a",), ending="reset")])
async def test_what_breaks_is_raised_with_the_source_to_be_closed(reply: Reply) -> None:
    provider, made = source(reply)
    with pytest.raises(UpstreamError) as caught:
        await begin(made, lambda _: False)
    assert caught.value.reason in {"http_4xx", "reset"}
    assert provider.open == 1
    await made.aclose()
    assert provider.open == 0


async def test_it_takes_no_longer_than_it_may() -> None:
    _, made = source(Reply((b"a",)).endless())
    with pytest.raises(UpstreamError) as caught:
        await begin(made, lambda _: False, patience=0.01)
    assert caught.value.reason == "stall"
    await made.aclose()


async def test_a_trickle_over_http_is_given_up_and_its_socket_closed() -> None:
    async with Origin() as origin:
        origin.on("/x", Answer(body=b"#" * 1000, drip=100))
        made = at(origin.url("/x"))
        with pytest.raises(UpstreamError) as caught:
            await begin(made, lambda prefix: len(prefix) >= 1000, patience=0.1)
        assert caught.value.reason == "stall"
        await made.aclose()
        await origin.until(lambda: origin.path("/x").live == 0, within=CLOSED_WITHIN)
