"""Files at the scriptable origin, and viewers that read them through the proxy's side."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from m3u_proxy.pool.vod.position import Position, VodLimits
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.upstream.source import HttpSource, Limits
from tests.support.answer import Answer
from tests.support.attempts import PATIENT, at
from tests.support.origin import Origin

ETAG = '"v1"'
DATE = "Mon, 02 Mar 2026 10:00:00 GMT"
VALID = {"Content-Type": "video/mp4", "ETag": ETAG, "Last-Modified": DATE}
PATH = "/movie/1.mp4"
SOON = VodLimits(resume=8.0, pace=0.01)


def mp4(size: int) -> bytes:
    """``size`` bytes, in which every place differs from others, that begin like MP4."""
    return (b"\x00\x00\x00\x18ftypisom" + random.Random(size).randbytes(size))[:size]


def a_file(body: bytes, headers: Mapping[str, str] = VALID, **faults: int | bool) -> Answer:
    """The origin's answer with a file, broken in some way."""
    return Answer(file=True, body=body, headers=headers, **faults)  # type: ignore[arg-type]


class Library:
    """A `Vod` on a path of an origin, and what it reports."""

    def __init__(
        self, origin: Origin, path: str = PATH, *, limits: VodLimits = SOON, wire: Limits = PATIENT
    ) -> None:
        self.origin = origin
        self.path = path
        self.received = 0
        self.errors: Counter[str] = Counter()
        self._wire = wire
        self.vod = Vod(
            self.source, limits=limits, url=origin.url(path), on_bytes=self._count, on_error=self._note
        )

    def source(self, fields: Mapping[str, str] = {}) -> HttpSource:
        return at(self.origin.url(self.path), self._wire, headers=dict(fields))

    def _count(self, size: int) -> None:
        self.received += size

    def _note(self, reason: str) -> None:
        self.errors[reason] += 1

    @property
    def requests(self) -> list[dict[str, str]]:
        return self.origin.path(self.path).requests

    @property
    def ranges(self) -> list[str | None]:
        """Range of each request, in order."""
        return [fields.get("range") for fields in self.requests]

    async def left(self) -> None:
        """Wait until the origin sees no connection; the proxy's count must agree."""
        await self.origin.until(lambda: self.origin.path(self.path).live == 0)
        assert self.vod.connections == 0


@asynccontextmanager
async def library(
    *answers: Answer, path: str = PATH, limits: VodLimits = SOON, wire: Limits = PATIENT
) -> AsyncIterator[Library]:
    """A file at an origin; at the end nothing of it may be open."""
    async with Origin() as origin:
        origin.on(path, *answers)
        shelf = Library(origin, path, limits=limits, wire=wire)
        yield shelf
        await shelf.vod.aclose()
        await shelf.left()


async def rest(position: Position) -> bytes:
    """All that is left of a body, to its true end."""
    data = b""
    while piece := await position.read():
        data += piece
    return data


async def got(vod: Vod, wanted: str | None = None, if_range: str | None = None) -> tuple[Position, bytes]:
    """A position and its whole body; hung up."""
    position = await vod.open(wanted, if_range)
    try:
        return position, await rest(position)
    finally:
        await position.aclose()
