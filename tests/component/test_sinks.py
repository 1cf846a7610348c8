"""Ways out over real sockets and a real pipe: what is held, and who is there."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from m3u_proxy.pool.live.sinks import SEND_BUFFER, PipeSink, SocketSink, tune
from tests.support.netns import Machine, ticks
from tests.support.stepped import settle, until

CHUNK = bytes(range(256)) * 1024
MIB = 1 << 20


# --- a player's socket


@asynccontextmanager
async def connected(
    *, family: int = socket.AF_INET, path: Path | None = None
) -> AsyncIterator[tuple[SocketSink, socket.socket]]:
    """A sink on the server's transport, and the client's plain socket with a small buffer."""
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.Transport] = loop.create_future()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(cast("asyncio.Transport", transport))

    client = socket.socket(family)
    client.setblocking(False)
    if path is not None:
        server = await loop.create_unix_server(Server, str(path))
        await loop.sock_connect(client, str(path))
    else:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        server = await loop.create_server(Server, "127.0.0.1" if family == socket.AF_INET else "::1", 0)
        await loop.sock_connect(client, server.sockets[0].getsockname())
    transport = await accepted
    tune(transport)
    try:
        yield SocketSink(transport), client
    finally:
        transport.abort()
        client.close()
        server.close()
        await server.wait_closed()
        await settle()


async def read(client: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = await asyncio.get_running_loop().sock_recv(client, size - len(data))
        assert piece
        data += piece
    return bytes(data)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
async def test_the_kernel_tells_what_the_peer_has_taken(family: int) -> None:
    async with connected(family=family) as (sink, client):
        before = sink.peer()
        assert before is not None
        sink.write(CHUNK)
        assert await read(client, len(CHUNK)) == CHUNK
        await until(lambda: (peer := sink.peer()) and peer.acked - before.acked == len(CHUNK))
        after = sink.peer()
        assert after is not None
        assert after.unacknowledged == after.probes == 0
        assert 0 <= after.silent < 2
        assert sink.pending() == 0


async def test_what_a_stopped_reader_makes_the_kernel_hold_is_bounded() -> None:
    async with connected() as (sink, client):
        for _ in range(32):
            sink.write(CHUNK)
        await until(lambda: sink.pending() > 0)
        await settle()
        held = 32 * len(CHUNK) - sink.pending()
        assert held < 2 * SEND_BUFFER + MIB
        received = await read(client, 32 * len(CHUNK))
        assert received == CHUNK * 32
        await until(lambda: sink.pending() == 0)


async def test_a_paused_reader_is_not_dead() -> None:
    """It answers probes, and that is all the sign of life there is."""
    limit = 0.15
    async with connected() as (sink, client):
        for _ in range(16):
            sink.write(CHUNK)
        loop = asyncio.get_running_loop()
        began = loop.time()
        silent: list[float] = []

        def looked() -> bool:
            peer = sink.peer()
            assert peer is not None
            if loop.time() - began > 0.3:  # what was sent before it stopped is acknowledged by now
                assert not peer.is_dead(limit), peer
                silent.append(peer.silent)
            return loop.time() - began > 1.2

        await until(looked)
        assert max(silent) > limit  # the test has seen what it is about
        assert sink.pending() > 0
        await read(client, 16 * len(CHUNK))  # and it goes on where it was
        await until(lambda: sink.pending() == 0)


async def test_a_peer_that_is_sent_nothing_is_not_dead() -> None:
    async with connected() as (sink, _):
        peer = sink.peer()
        assert peer is not None
        assert not peer.is_dead(0.0)


async def test_writing_to_a_peer_that_has_gone_raises_nothing() -> None:
    async with connected() as (sink, client):
        client.close()
        for _ in range(20):
            sink.write(CHUNK)
            await settle()
        await until(lambda: sink.pending() == 0)


async def test_a_player_that_left_before_its_headers_were_out_is_no_error() -> None:
    async with connected() as (sink, _):
        transport = sink._transport
        transport.abort()
        sink.write(b"late")
        await settle()
        late = SocketSink(transport)
        late.write(b"later")
        assert late.pending() == 0
        assert late.peer() is None


async def test_a_local_socket_has_no_kernel_figures(tmp_path: Path) -> None:
    async with connected(family=socket.AF_UNIX, path=tmp_path / "s") as (sink, client):
        sink.write(b"hello")
        assert await read(client, 5) == b"hello"
        assert sink.peer() is None


class _Plain:
    """A transport without a loop: what a sink needs of one."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self._socket

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        with suppress(BlockingIOError):
            self._socket.send(data)


PEER = """
import signal, socket, sys
player = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("here", flush=True)
while sys.argv[3] == "reads":
    player.recv(65536)
signal.pause()
"""


@contextmanager
def far_player(does: str) -> Iterator[tuple[Machine, SocketSink]]:
    """A player on a machine of its own that ``reads`` or has ``paused``."""
    with Machine() as machine, socket.create_server((machine.here, 0)) as listener:
        listener.settimeout(10)
        child = machine.run(PEER, machine.here, str(listener.getsockname()[1]), does)
        sock, _ = listener.accept()
        with sock:
            assert child.stdout is not None
            assert child.stdout.readline() == b"here\n"
            sock.setblocking(False)
            yield machine, SocketSink(cast("asyncio.Transport", _Plain(sock)))


def dead_after(sink: SocketSink, limit: float, *, within: float, writing: bool) -> float:
    """Seconds until the peer counts as dead."""
    for passed in ticks(within):
        if writing:
            sink.write(CHUNK[:1316])
        peer = sink.peer()
        assert peer is not None
        if peer.is_dead(limit):
            return passed
    raise AssertionError(f"still alive after {within} s: {sink.peer()}")


@pytest.mark.needs("netns")
def test_a_player_whose_cable_is_pulled_is_dead_after_the_limit() -> None:
    limit = 1.0
    with far_player("reads") as (machine, sink):
        with pytest.raises(AssertionError, match="still alive"):
            dead_after(sink, limit, within=0.5, writing=True)
        machine.pull_cable()
        assert limit - 0.3 < dead_after(sink, limit, within=5.0, writing=True) < limit + 2.0


@pytest.mark.needs("netns")
def test_a_paused_player_is_dead_only_when_its_cable_is_pulled() -> None:
    limit = 0.6
    with far_player("paused") as (machine, sink):
        for _ in range(64):
            sink.write(CHUNK)
        with pytest.raises(AssertionError, match="still alive"):
            dead_after(sink, limit, within=1.2, writing=False)
        machine.pull_cable()
        dead_after(sink, limit, within=10.0, writing=False)


# --- FFmpeg's standard input


class Pipe:
    """A pipe of one page whose near end is a sink."""

    def __init__(self) -> None:
        self.out, self.into = os.pipe()
        fcntl.fcntl(self.into, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.into, False)
        os.set_blocking(self.out, False)
        self.sink = PipeSink(self.into)

    def read(self) -> bytes:
        try:
            return os.read(self.out, MIB)
        except BlockingIOError:
            return b""

    def close_reader(self) -> None:
        os.close(self.out)
        self.out = -1

    def is_waited_for(self) -> bool:
        """Whether the loop still watches the near end; asking ends that."""
        return asyncio.get_running_loop().remove_writer(self.into)


@pytest.fixture
async def pipe() -> AsyncIterator[Pipe]:
    made = Pipe()
    yield made
    made.sink.close()
    os.close(made.into)
    if made.out >= 0:
        os.close(made.out)


async def test_what_fits_goes_through_at_once(pipe: Pipe) -> None:
    pipe.sink.write(b"one")
    pipe.sink.write(b"two")
    assert pipe.sink.pending() == 0
    assert pipe.read() == b"onetwo"
    assert not pipe.is_waited_for()


async def test_what_does_not_fit_waits_and_keeps_its_order(pipe: Pipe) -> None:
    sent = [CHUNK[:10_000], b"", CHUNK[5:4000], CHUNK[7:50_000]]
    for chunk in sent:
        pipe.sink.write(chunk)
    size = sum(map(len, sent))
    assert 0 < size - pipe.sink.pending() <= 4096
    got = bytearray()

    def drained() -> bool:
        got.extend(pipe.read())
        return len(got) == size

    await until(drained)
    assert bytes(got) == b"".join(sent)
    assert pipe.sink.pending() == 0
    assert not pipe.is_waited_for()  # an empty pipe is always writable: the loop would spin


async def test_after_it_was_full_it_can_be_written_to_again(pipe: Pipe) -> None:
    for _ in range(3):
        pipe.sink.write(CHUNK[:9000])
        got = bytearray()
        await until(lambda got=got: got.extend(pipe.read()) or len(got) == 9000)  # type: ignore[misc]
        assert bytes(got) == CHUNK[:9000]


async def test_a_reader_that_has_gone_is_no_error_here(pipe: Pipe) -> None:
    pipe.close_reader()
    pipe.sink.write(b"lost")
    pipe.sink.write(b"lost")
    assert pipe.sink.pending() == 0
    assert not pipe.is_waited_for()


async def test_a_reader_that_goes_while_data_wait_frees_them(pipe: Pipe) -> None:
    pipe.sink.write(CHUNK)
    assert pipe.sink.pending() > 0
    pipe.close_reader()
    await until(lambda: pipe.sink.pending() == 0)
    assert not pipe.is_waited_for()
    pipe.sink.write(b"lost")
    assert pipe.sink.pending() == 0


async def test_closing_forgets_what_waits_and_leaves_the_pipe_to_its_owner(pipe: Pipe) -> None:
    pipe.sink.write(CHUNK)
    pipe.sink.close()
    pipe.sink.close()
    assert pipe.sink.pending() == 0
    assert not pipe.is_waited_for()
    pipe.sink.write(b"late")
    before = pipe.read()
    assert before == CHUNK[: len(before)]
    assert os.write(pipe.into, b"still open") == 10
