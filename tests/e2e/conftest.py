"""Real FFmpeg, real sockets, real processes."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.hls_media import HlsMedia, hls_media
from tests.support.hls_origin import HlsOrigin
from tests.support.media import ffmpeg, make_live_sample
from tests.support.origin import Answer, Origin


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """20 s of 640x360 H.264 with a keyframe every 2 s, and AAC, at a constant 2 Mbit/s."""
    path = tmp_path_factory.mktemp("sample") / "live.ts"
    make_live_sample(path)
    return path.read_bytes()


@pytest.fixture
async def origin(sample: bytes) -> AsyncIterator[Origin]:
    """A provider with one live channel at ``/live.ts``."""
    async with Origin(ts=sample, rate=2e6) as server:
        server.on("/live.ts", Answer(ts=True))
        yield server


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    """A daemon with short waits."""
    async with Daemon(tmp_path) as started:
        yield started


@pytest.fixture(scope="session", autouse=True)
def _ffmpeg_is_there() -> None:
    subprocess.run([ffmpeg(), "-version"], check=True, capture_output=True)


@pytest.fixture(scope="session")
def media() -> HlsMedia:
    return hls_media()


@pytest.fixture
async def provider() -> AsyncIterator[HlsOrigin]:
    async with HlsOrigin() as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """As many connections as there are viewers."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session
