"""A daemon between a provider that means harm and players, and beside it a viewer of another source."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.hls_bodies import live, made, segments
from tests.support.inv import control, resident, rig
from tests.support.origin import Answer, Origin

MIB = 2**20
WAIT = 3.0
"""Seconds a player waits at most for a playlist or a segment."""
TURNS = 10
"""Of the loop, after which nothing is left to do that needs no time."""
CANARY = "CANARY"
SECRETS = ("CANARY", "127.0.0.1", "canary.example")


@dataclass
class Scene:
    """The daemon, and the provider that is up to no good."""

    daemon: Daemon
    origin: Origin

    def url(self, path: str) -> str:
        """A URL of the provider with credentials in every place where providers have them."""
        path = f"/live/{CANARY}user/{CANARY}pass{path}?k={CANARY}"
        return self.origin.url(path, userinfo=f"{CANARY}:{CANARY}@")

    def on(self, path: str, *answers: Answer) -> None:
        self.origin.on(f"/live/{CANARY}user/{CANARY}pass{path}", *answers)

    def count(self, path: str) -> int:
        return len(self.origin.path(f"/live/{CANARY}user/{CANARY}pass{path}").connections)

    async def open(self, path: str, *answers: Answer) -> str:
        """Path of the playlist of a stream that is answered so, or as before."""
        if answers:
            self.on(path, *answers)
        return f"/hls/{await made(self.daemon, self.url(path))}/playlist.m3u8?client_id=tv"

    async def text(self, path: str, *answers: Answer) -> str:
        """The playlist that viewers get; it holds no secret."""
        return (await self.get(await self.open(path, *answers), 200)).decode()

    async def get(self, path: str, status: int, **fields: str) -> bytes:
        """An answer with this status, within the wait, with no secret in it and none in its headers."""
        async with asyncio.timeout(WAIT + 2):
            async with self.daemon.http.get(path, headers=fields) as response:
                data = await response.read()
                assert response.status == status, data[:500]
                said = data.decode("latin-1") + str(response.headers)
        assert not [secret for secret in SECRETS if secret in said], said[:2000]
        return data


@asynccontextmanager
async def bounded(scene: Scene, *, seconds: float = WAIT + 1, memory: int = 24 * MIB) -> AsyncIterator[None]:
    """What happens meanwhile takes no longer, and leaves the daemon no larger."""
    before, began = resident(scene.daemon.pid), time.monotonic()
    yield
    assert time.monotonic() - began < seconds
    assert resident(scene.daemon.pid) - before < memory


def plain(size: int) -> bytes:
    """A playlist of that size."""
    text = live(*segments("a.ts")).encode()
    return text + b"#" * (size - len(text) - 1) + b"\n"


@asynccontextmanager
async def staged(home: Path, sample: bytes) -> AsyncIterator[Scene]:
    """The scene; at its end the viewer beside it has lost no byte and no secret is in the log."""
    async with Origin(ts=sample, rate=4e6) as good, Origin() as bad:
        settings = {
            "HLS_WAIT_TIME": f"{WAIT:g}",
            "VIEWER_PAUSE": "2",
            "SEGMENT_CACHE_SIZE": str(8 * MIB),
            "LOG_LEVEL": "debug",
        }
        async with rig(home, good, bad, **settings) as daemon, control(daemon, good):
            yield Scene(daemon, bad)
    assert not [line for line in daemon.log if CANARY in line or "canary.example" in line]


async def cleared(scene: Scene) -> None:
    """Delete the provider's streams; then nothing of it is connected any more."""
    for row in (await scene.daemon.get("/streams"))["streams"]:
        if CANARY in row["original_url"]:
            async with scene.daemon.http.delete(f"/streams/{row['stream_id']}") as response:
                assert response.status == 200
    await scene.origin.until(lambda: all(one.closed is not None for one in scene.origin.connections))
    for _ in range(TURNS):  # a socket is closed a turn of the loop after its connection
        await asyncio.sleep(0)
