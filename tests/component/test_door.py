"""Connections: how many are let in, and what happens when descriptors run out (F80, A91)."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest
from aiohttp import web

from m3u_proxy.errors import StartError
from m3u_proxy.web.door import PER_ADDRESS, Arrivals
from m3u_proxy.web.listener import Deadlines, Listener, bind
from tests.support.inv import eventually
from tests.support.patience import patience
from tests.support.stepped import turn

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextmanager
def descriptors(limit: int) -> Iterator[None]:
    """RLIMIT_NOFILE of this process, for a while."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def lowest_free() -> int:
    """The number that the next descriptor gets."""
    number = os.dup(0)
    os.close(number)
    return number


def with_room_below(first_reserved: int) -> int:
    """The RLIMIT_NOFILE at which connections may have the numbers below ``first_reserved``."""
    return next(
        limit for limit in range(first_reserved, 4096) if limit - max(limit // 4, 16) == first_reserved
    )


async def test_a_port_that_another_process_was_faster_to_listen_on() -> None:
    """Two that start at once may both bind it; one of them says why it cannot start."""
    (first,) = bind("127.0.0.1", 0)
    port = first.getsockname()[1]
    (second,) = bind("127.0.0.1", port)
    with first, second:
        listener = Listener(web.Application(), [second], Deadlines(header=5.0, idle=5.0), Arrivals())
        first.listen()
        with pytest.raises(StartError, match=f"cannot listen on 127.0.0.1 port {port}: Address already"):
            await listener.start()
        await listener.aclose()


async def hello(request: web.Request) -> web.Response:
    return web.Response(headers={"X-Hello": request.path})


@asynccontextmanager
async def serving(gate: Arrivals, *, inside: bool = False) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/", hello)
    listener = Listener(app, bind("127.0.0.1", 0), Deadlines(header=5.0, idle=5.0), gate, inside=inside)
    await listener.start()
    try:
        yield listener.addresses[0][1]
    finally:
        await listener.aclose()


@asynccontextmanager
async def peers(port: int, count: int) -> AsyncIterator[list[Peer]]:
    """Connections that say nothing."""
    found = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        yield found
    finally:
        for _, writer in found:
            writer.close()
        for _, writer in found:
            with suppress(OSError):
                await writer.wait_closed()


async def answer(peer: Peer) -> bytes:
    reader, writer = peer
    writer.write(REQUEST)
    async with patience(10.0):
        return await reader.readuntil(b"\r\n\r\n")


async def test_silent_connections_of_one_address_are_few() -> None:
    """PER_IP: those beyond it have a second for their request, the others as long as ever."""
    gate = Arrivals()
    async with serving(gate) as port, peers(port, PER_ADDRESS + 20) as found:
        spoken = await answer(found[-1])
        assert spoken.startswith(b"HTTP/1.1 200")
        async with patience(10.0):
            ends = await asyncio.gather(*(reader.read() for reader, _ in found[PER_ADDRESS:-1]))
        assert ends == [b""] * 19
        assert gate.refused == {"per_address": 19}
        assert sum(gate.silent.values()) == PER_ADDRESS
        for peer in (found[0], found[PER_ADDRESS - 1], found[-1]):
            assert (await answer(peer)).startswith(b"HTTP/1.1 200")
    await eventually(lambda: _is(not gate.silent))


async def _is(what: bool) -> bool:
    return what


async def test_who_has_sent_a_request_is_not_counted() -> None:
    gate = Arrivals()
    async with serving(gate) as port, peers(port, PER_ADDRESS * 2) as found:
        for peer in found:
            assert (await answer(peer)).startswith(b"HTTP/1.1 200")
        assert not gate.silent
        assert not gate.refused


async def test_without_room_the_answer_is_503_before_descriptors_run_out() -> None:
    """FD_RESERVE: a quarter of them is not for connections; who is there goes on."""
    gate = Arrivals()
    async with serving(gate) as port, peers(port, 4) as present:
        for peer in present:
            assert (await answer(peer)).startswith(b"HTTP/1.1 200")
        with descriptors(with_room_below(lowest_free())):
            async with peers(port, 3) as late:
                answers = [await answer(peer) for peer in late]
            for said in answers:
                assert said.startswith(b"HTTP/1.1 503")
                assert b"\r\nRetry-After: " in said
            assert gate.refused == {"descriptors": 3}
            for peer in present:
                assert (await answer(peer)).startswith(b"HTTP/1.1 200")
        assert gate.accept_errors == 0
        await eventually(lambda: _is(gate.leaving == 0))
        async with peers(port, 1) as [peer]:
            assert (await answer(peer)).startswith(b"HTTP/1.1 200")


async def test_accepting_goes_on_after_descriptors_ran_out(caplog: pytest.LogCaptureFixture) -> None:
    """AE: even where nothing could be kept back; one line of log, and soon everything is as before."""
    gate = Arrivals()
    loop = asyncio.get_running_loop()
    async with serving(gate, inside=True) as port, peers(port, 1) as [present]:
        assert (await answer(present)).startswith(b"HTTP/1.1 200")
        with socket.socket() as client, caplog.at_level(logging.WARNING):
            client.setblocking(False)
            with descriptors(lowest_free()):
                await loop.sock_connect(client, ("127.0.0.1", port))
                await loop.sock_sendall(client, REQUEST)
                await eventually(lambda: _is(gate.accept_errors == 1))
                assert (await answer(present)).startswith(b"HTTP/1.1 200")
            began = loop.time()
            assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 200")
            assert loop.time() - began < 10.0
        assert len([record for record in caplog.records if "cannot accept" in record.message]) == 1
    assert gate.accept_errors == 1


@pytest.mark.parametrize("turns", range(4))
async def test_nobody_is_forgotten_who_comes_in_while_the_door_closes(turns: int) -> None:
    gate = Arrivals()
    with socket.socket() as client, descriptors(with_room_below(lowest_free())):
        async with serving(gate) as port:
            client.connect(("127.0.0.1", port))
            for _ in range(turns):
                await turn()
    assert (gate.leaving, dict(gate.silent)) == (0, {})
