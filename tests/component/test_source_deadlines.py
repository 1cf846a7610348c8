"""No wait of an attempt is without a bound, and no bound is counted against a provider for our own sleep."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream import source as source_module
from m3u_proxy.upstream.source import Limits
from tests.support.answer import CHUNK
from tests.support.attempts import at, ending, opened
from tests.support.origin import Answer, Origin
from tests.support.stepped import settle


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as server:
        yield server


@asynccontextmanager
async def mute_listener(*, full: bool) -> AsyncIterator[int]:
    """A port that nobody accepts on. ``full``: the kernel drops further SYNs, else it connects."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0 if full else 8)
        first.setblocking(False)
        await asyncio.get_running_loop().sock_connect(first, listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize(("scheme", "full"), [("http", True), ("https", False)])
async def test_connecting_has_a_bound_that_includes_tls(scheme: str, full: bool) -> None:
    """F2."""
    async with mute_listener(full=full) as port:
        error, _ = await ending(at(f"{scheme}://127.0.0.1:{port}/", Limits(connect=0.1)))
    assert error.reason == "connect_timeout"


async def test_connecting_has_a_bound_that_includes_name_resolution(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args: answered.wait(5.0))
    try:
        error, _ = await ending(at("http://provider.example/", Limits(connect=0.1)))
    finally:
        answered.set()
    assert error.reason == "connect_timeout"


async def test_no_limit_means_none(origin: Origin) -> None:
    origin.on("/", Answer(ts=True))
    source = at(origin.url("/"), Limits(connect=0, first_byte=0, stall=0))
    async with opened(source):
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await source.read()
            origin.step()
            await source.read()


class Clock:
    """The loop's own clock, which a test may push forward."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        real = loop.time
        monkeypatch.setattr(loop, "time", lambda: real() + self._ahead)

    def push(self, seconds: float) -> None:
        self._ahead += seconds


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clock]:
    with monkeypatch.context() as patch:
        yield Clock(asyncio.get_running_loop(), patch)


only_asyncio = pytest.mark.asyncio(loop_factories=["asyncio"])  # the other loop's clock cannot be pushed


@only_asyncio
async def test_a_stall_counts_from_the_last_byte(origin: Origin, clock: Clock) -> None:
    """F6."""
    origin.on("/", Answer(ts=True))
    source = at(origin.url("/"), Limits(first_byte=30.0, stall=4.0))
    async with opened(source):
        for _ in range(5):  # 15 s in all, never 4 s without a byte
            reading = asyncio.ensure_future(source.read())
            await settle()
            clock.push(3.0)
            await settle()
            origin.step()
            assert await reading
        reading = asyncio.ensure_future(source.read())
        await settle()
        clock.push(3.9)
        await settle()
        assert not reading.done()
        clock.push(0.2)
        with pytest.raises(UpstreamError) as caught:
            await reading
    assert (caught.value.reason, caught.value.detail) == ("stall", "No byte for 4 s")


@only_asyncio
async def test_a_reader_that_takes_its_time_is_no_stall(origin: Origin, clock: Clock) -> None:
    origin.on("/", Answer(ts=True))
    source = at(origin.url("/"), Limits(stall=4.0))
    async with opened(source):
        for _ in range(2):
            origin.step()
            await origin.until(lambda: origin.connections[0].sent == origin.edge)
            clock.push(9.0)
            await settle()
            assert await source.read()


@only_asyncio
@pytest.mark.parametrize("first", [True, False])
async def test_a_deadline_that_our_own_loop_slept_through_starts_again(
    origin: Origin, clock: Clock, first: bool
) -> None:
    origin.on("/", Answer(ts=True))
    source = at(origin.url("/"), Limits(first_byte=4.0, stall=4.0))
    async with opened(source):
        if not first:
            origin.step()
            await source.read()
        reading = asyncio.ensure_future(source.read())
        await settle()
        clock.push(4.0 + source_module.LOOP_GAP + 1.0)
        await settle()
        origin.step()
        assert await reading == (origin.ts[:CHUNK] if first else origin.ts[CHUNK : 2 * CHUNK])
