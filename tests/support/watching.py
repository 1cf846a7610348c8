"""Viewers of live MPEG-TS who remember what they got and when, and what must be true of it at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.media import probe
from tests.support.tsverify import verify

SECOND = 250_000
"""Bytes of the sample per second."""


class Viewer:
    """Reads a body and remembers it, and when its bytes came."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.marks: list[tuple[float, int]] = []
        self.ended = False

    async def watch(self, http: aiohttp.ClientSession, path: str) -> None:
        loop = asyncio.get_running_loop()
        async with http.get(path, timeout=aiohttp.ClientTimeout(total=None)) as response:
            assert response.status == 200, await response.text()
            async for piece in response.content.iter_any():
                if piece.count(b"\x47\x1f\xff") * 188 < len(piece):  # null packets are no media
                    self.marks.append((loop.time(), len(self.data)))
                self.data += piece
        self.ended = True

    def gap_after(self, moment: float) -> float:
        """Seconds from ``moment`` to the first media byte that came more than a tick later."""
        return next(at for at, _ in self.marks if at > moment + 0.05) - moment

    def check_packets(self, *, seams: int) -> bytes:
        """Whole packets, tables and a keyframe first, every break flagged; the packets."""
        capture = bytes(self.data[: len(self.data) // 188 * 188])
        report = verify(capture)
        assert report.clean, report
        assert report.first_packets[:2] == ("PAT", "PMT")
        assert report.first_video_is_keyframe
        assert max(report.flagged_discontinuities.values(), default=0) == seams, report
        return capture

    def check(self, tmp_path: Path, *, seams: int) -> None:
        """The same, and both tracks decodable after the seam."""
        capture = self.check_packets(seams=seams)
        path = tmp_path / "tail.ts"
        path.write_bytes(capture[-3 * SECOND // 188 * 188 :])
        kinds = {row["codec_type"]: int(row["nb_read_frames"]) for row in probe(path)["streams"]}
        assert kinds.get("video", 0) > 10, kinds
        assert kinds.get("audio", 0) > 10, kinds


@asynccontextmanager
async def watching(daemon: Daemon, stream: str, count: int = 1) -> AsyncIterator[list[Viewer]]:
    """So many viewers that have each got a second of media."""
    viewers = [Viewer() for _ in range(count)]
    async with aiohttp.ClientSession(daemon.url, connector=aiohttp.TCPConnector(limit=0)) as http:
        tasks = [asyncio.create_task(one.watch(http, f"/stream/{stream}")) for one in viewers]

        async def has_media() -> bool:
            assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
            return all(len(one.data) > SECOND for one in viewers)

        try:
            await eventually(has_media, within=15)
            yield viewers
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def grown(viewers: list[Viewer], size: int, within: float = 15.0) -> None:
    """Wait until every viewer has got so many further bytes."""
    before = [len(one.data) for one in viewers]

    async def has_grown() -> bool:
        return all(len(one.data) - old > size for one, old in zip(viewers, before, strict=True))

    await eventually(has_grown, within=within)
