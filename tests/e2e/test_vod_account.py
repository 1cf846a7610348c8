"""Players of files and their provider's account: one connection each, and none while it seeks."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.files import a_file, mp4
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin
from tests.support.patience import patience
from tests.support.rawhttp import head

PATH = "/movie/u/p/1.mp4"
SIZE = 40_000_000
FIRST = 100_000
"""Bytes that a player takes of each place."""


@pytest.fixture(scope="module")
def body() -> bytes:
    return mp4(SIZE)


@pytest.fixture
async def provider(body: bytes) -> AsyncIterator[Origin]:
    """An account of one connection; more than buffers hold is on its way."""
    async with Origin(limit=1) as server:
        server.on(PATH, a_file(body))
        yield server


async def film(daemon: Daemon, origin: Origin) -> str:
    return str((await daemon.post("/streams", url=origin.url(PATH)))["stream_endpoint"])


async def nobody(daemon: Daemon) -> bool:
    """Whether no viewer is counted any more."""
    return not await daemon.metric("viewers")


@dataclass
class Player:
    """One open connection of a player."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def at(cls, daemon: Daemon, path: str, offset: int, *fields: str) -> Player:
        """Ask from an offset on."""
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        fields = ("User-Agent: Player/1.0", f"Range: bytes={offset}-", *fields)
        writer.write(head(path, *fields))
        return cls(reader, writer)

    async def take(self, body: bytes, offset: int, *, status: int = 206) -> None:
        """Read the head, which must have this status, and the first bytes, which must be right."""
        async with patience(10.0):
            top = await self.reader.readuntil(b"\r\n\r\n")
            assert f" {status} ".encode() in top.partition(b"\r\n")[0], top
            assert await self.reader.readexactly(FIRST) == body[offset : offset + FIRST]

    async def leave(self) -> None:
        """Hang up."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            return


@pytest.mark.parametrize("order", ["closes first", "opens first"])
async def test_a_player_that_seeks_is_one_connection(
    daemon: Daemon, provider: Origin, body: bytes, order: str
) -> None:
    """Trap 25: one provider connection for each viewer of a file."""
    path = await film(daemon, provider)
    place = await Player.at(daemon, path, 0)
    await place.take(body, 0)
    for offset in random.Random(order).sample(range(SIZE - FIRST), 15):
        if order == "closes first":
            place.writer.close()
            after = await Player.at(daemon, path, offset)
        else:
            after = await Player.at(daemon, path, offset)
            place.writer.close()
        await after.take(body, offset)
        place = after
    await place.leave()
    await provider.until(lambda: provider.path(PATH).live == 0, within=1.0)
    assert provider.refused == 0
    assert provider.path(PATH).peak == 1
    await eventually(lambda: nobody(daemon), 1.0)


async def test_seeks_in_a_row_lead_to_the_last(daemon: Daemon, provider: Origin, body: bytes) -> None:
    path = await film(daemon, provider)
    places = [await Player.at(daemon, path, 0)]
    await places[0].take(body, 0)
    for offset in (1_000_000, 2_000_000, 3_000_000, 4_000_000):
        places.append(await Player.at(daemon, path, offset))
        places[-2].writer.close()
    await places[-1].take(body, 4_000_000)
    assert provider.path(PATH).live == 1
    await places[-1].leave()
    assert provider.refused == 0
    assert provider.path(PATH).peak == 1


async def test_another_device_with_the_same_name_has_a_connection_of_its_own(
    daemon: Daemon, body: bytes
) -> None:
    async with Origin() as provider:
        provider.on(PATH, a_file(body))
        path = await film(daemon, provider)
        one = await Player.at(daemon, path, 0)
        await one.take(body, 0)
        waited = []
        for _ in range(3):
            began = time.monotonic()
            two = await Player.at(daemon, path, 5_000_000)
            await two.take(body, 5_000_000)
            waited.append(time.monotonic() - began)
            if len(waited) < 3:
                await two.leave()
                await provider.until(lambda: provider.path(PATH).live == 1)
        assert min(waited) < 0.25  # a busy machine only adds to it
        three = await Player.at(daemon, path, 7_000_000, "X-Username: somebody")
        await three.take(body, 7_000_000)

        async def are_told_apart() -> bool:
            return await daemon.metric("viewers") == 3

        await eventually(are_told_apart, within=20.0)
        async with patience(10.0):
            for place, offset in ((one, 0), (two, 5_000_000), (three, 7_000_000)):
                rest = await place.reader.readexactly(SIZE - offset - FIRST)
                assert rest == body[offset + FIRST :]
        for each in (one, two, three):
            await each.leave()
        await provider.until(lambda: provider.path(PATH).live == 0, within=1.0)


async def test_a_file_that_cannot_be_resumed_is_not_hung_up(daemon: Daemon, body: bytes) -> None:
    async with Origin() as provider:
        headers = {"Content-Type": "video/mp4", "Accept-Ranges": "none"}
        provider.on(PATH, Answer(headers=headers, body=body, length=True))
        path = await film(daemon, provider)
        one = await Player.at(daemon, path, 0)
        await one.take(body, 0, status=200)
        began = time.monotonic()
        two = await Player.at(daemon, path, 0)
        await two.take(body, 0, status=200)
        assert time.monotonic() - began < 5.0
        for place in (one, two):
            assert await place.reader.readexactly(SIZE - FIRST) == body[FIRST:]
            await place.leave()
        assert len(provider.path(PATH).connections) == 2


@pytest.mark.parametrize("state", ["full", "silent", "not answered"])
async def test_a_player_that_goes_leaves_no_connection(
    daemon: Daemon, provider: Origin, body: bytes, state: str
) -> None:
    if state == "silent":
        provider.on(PATH, a_file(body, stall=FIRST))
    elif state == "not answered":
        provider.on(PATH, Answer(mute=True))
    path = await film(daemon, provider)
    player = await Player.at(daemon, path, 0)
    await provider.until(lambda: provider.path(PATH).live == 1)
    if state != "not answered":
        await player.take(body, 0)
    await player.leave()
    if state == "not answered":  # kept for whoever asks next, as long as the grace
        await daemon.http.delete(path.replace("/stream/", "/streams/"))
    await provider.until(lambda: provider.path(PATH).live == 0, within=1.0)

    await eventually(lambda: nobody(daemon), 1.0)


async def test_a_delete_has_closed_the_connection_when_it_is_answered(
    daemon: Daemon, provider: Origin, body: bytes
) -> None:
    path = await film(daemon, provider)
    player = await Player.at(daemon, path, 0)
    await player.take(body, 0)
    async with daemon.http.delete(path.replace("/stream/", "/streams/")) as response:
        assert response.status == 200
    await provider.until(lambda: provider.path(PATH).live == 0, within=1.0)
    async with asyncio.timeout(3.0):
        rest = 0
        try:
            while piece := await player.reader.read(1 << 20):
                rest += len(piece)
        except ConnectionError:
            rest = min(rest, SIZE - FIRST - 1)
    assert rest < SIZE - FIRST
    await player.leave()


async def test_a_film_is_read_to_its_end_and_lets_go_of_the_account(
    tmp_path: Path, provider: Origin, body: bytes
) -> None:
    async with Daemon(tmp_path, SHARED_STREAM_GRACE="0") as daemon:
        path = await film(daemon, provider)
        async with daemon.http.get(path) as response:
            assert await response.read() == body
            await provider.until(lambda: provider.path(PATH).live == 0, within=1.0)
        async with daemon.http.get(path, headers={"Range": "bytes=-10"}) as response:
            assert await response.read() == body[-10:]
    assert provider.refused == 0
