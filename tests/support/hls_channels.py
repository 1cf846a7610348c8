"""Channels of an HLS provider that change places, and players that must not notice it much."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support.daemon import Daemon
from tests.support.hls_lists import HlsStream, single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.hls_player import HlsReader
from tests.support.media import probe


def channel(origin: HlsOrigin, name: str, media: HlsMedia, *, edge: int = 8) -> HlsStream:
    """A live channel of its own numbers."""
    stream = origin.add(single(name, media.high, window=5))
    stream.main.edge = edge
    return stream


@asynccontextmanager
async def players(daemon: Daemon, stream: str, count: int) -> AsyncIterator[list[HlsReader]]:
    """So many players of one stream, each with connections of its own."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        url = f"{daemon.url}/hls/{stream}/playlist.m3u8?client_id=v"
        yield [HlsReader(http, f"{url}{number}") for number in range(count)]


def seams(reader: HlsReader) -> int:
    """Segments that a player has seen behind a discontinuity."""
    found = set()
    for text in reader.served:
        tags: list[str] = []
        for line in text.splitlines():
            if not line.startswith("#"):
                found |= {line} if "#EXT-X-DISCONTINUITY" in tags else set()
                tags = []
            tags.append(line)
    return len(found)


def check(reader: HlsReader, tmp_path: Path) -> None:
    """Both tracks decode behind the seam, no number was left out, and nothing said that it ends."""
    assert not reader.errors
    assert not [text for text in reader.served if "ENDLIST" in text]
    numbers = sorted(reader.fetched)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    has_both_tracks(b"".join(reader.fetched[number] for number in numbers[-2:]), tmp_path)


def has_both_tracks(data: bytes, tmp_path: Path) -> None:
    """More than ten frames of each decode."""
    path = tmp_path / "tail"
    path.write_bytes(data)
    kinds = {row["codec_type"]: int(row["nb_read_frames"]) for row in probe(path)["streams"]}
    assert kinds.get("video", 0) > 10, kinds
    assert kinds.get("audio", 0) > 10, kinds


async def reached(readers: list[HlsReader], number: int) -> bool:
    """Whether all have so many segments."""
    return all(len(reader.fetched) >= number for reader in readers)
