"""One daemon for many requests: started once, its log read at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.media import make_live_sample
from tests.support.origin import Answer, Origin

TOKEN = "a-token-of-the-tests"  # what a daemon with a token is started with
QUICK = {"SHARED_STREAM_GRACE": "0", "CLIENT_TIMEOUT": "1", "LOG_LEVEL": "debug"}


@asynccontextmanager
async def running(home: Path, **environ: str) -> AsyncIterator[Daemon]:
    """A daemon whose client keeps no connection, and whose log must not hold a traceback or the token."""
    async with Daemon(home, **QUICK, **environ) as daemon:
        await daemon.http.close()
        daemon.http = aiohttp.ClientSession(
            daemon.url,
            connector=aiohttp.TCPConnector(force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=20),
        )
        yield daemon
    bad = [line for line in daemon.log if "Traceback" in line or "never retrieved" in line or TOKEN in line]
    assert not bad


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def daemon(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """On loopback, without a token."""
    async with running(tmp_path_factory.mktemp("daemon")) as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def _loop_is_up(daemon: Daemon) -> None:
    """What the shared loop opens with its first child belongs to no test."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def guarded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Daemon]:
    """With a token, which its client does not send by itself, and as many wrong ones as a test likes."""
    async with running(tmp_path_factory.mktemp("guarded"), API_TOKEN=TOKEN, AUTH_TRIES="0") as started:
        yield started


@pytest.fixture(scope="session")
def launch() -> Callable[..., AbstractAsyncContextManager[Daemon]]:
    """``async with launch(tmp_path, MAX_STREAMS="1") as daemon``: one with settings of its own."""
    return running


@pytest.fixture(scope="session")
def token() -> str:
    """What ``guarded`` asks for."""
    return TOKEN


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """8 s of H.264 with a keyframe every 2 s, and AAC, at a constant 2 Mbit/s."""
    path = tmp_path_factory.mktemp("sample") / "live.ts"
    make_live_sample(path, seconds=8)
    return path.read_bytes()


@pytest_asyncio.fixture(loop_scope="session")
async def origin(sample: bytes) -> AsyncIterator[Origin]:
    """A provider with one live channel at ``/live.ts``, four times as fast as life."""
    async with Origin(ts=sample, rate=8e6) as server:
        server.on("/live.ts", Answer(ts=True))
        yield server
