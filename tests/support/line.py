"""A long line between the daemon and an origin: what is sent arrives later, and never evenly."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Self

PIECE = 1 << 16


class Line:
    """``async with Line(origin.port, latency=0.5, jitter=0.3) as far``: connect to ``far.port`` instead.

    Delays each piece from the origin by ``latency`` ± ``jitter`` seconds; order is kept.
    """

    def __init__(self, target: int, *, latency: float, jitter: float, seed: int = 1) -> None:
        self._target = target
        self._latency = latency
        self._jitter = jitter
        self._random = random.Random(seed)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        ways = [
            asyncio.create_task(self._forth(reader, back)),
            asyncio.create_task(self._note(there, late)),
            asyncio.create_task(self._deliver(late, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (writer, back):
                each.close()
                with suppress(OSError):
                    await each.wait_closed()

    async def _forth(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            back.write(piece)

    async def _note(self, there: asyncio.StreamReader, late: asyncio.Queue[tuple[float, bytes]]) -> None:
        """Each piece with the moment at which it arrives."""
        loop = asyncio.get_running_loop()
        due = 0.0
        while piece := await there.read(PIECE):
            delay = self._latency + self._random.uniform(-self._jitter, self._jitter)
            due = max(due, loop.time() + delay)
            late.put_nowait((due, piece))
        await asyncio.Event().wait()  # what is on its way still arrives

    async def _deliver(self, late: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, piece = await late.get()
            await asyncio.sleep(due - loop.time())
            writer.write(piece)
            await writer.drain()
