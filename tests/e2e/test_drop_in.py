"""Started as an editor's container starts it: its environment, its directory, its signals."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path
from time import monotonic

import pytest

from tests.support import strict_editor
from tests.support.daemon import Daemon, descendants
from tests.support.hls_reading import HLS_COPY
from tests.support.origin import Origin
from tests.support.player import read_some
from tests.support.receiver import Receiver
from tests.support.trees import snapshot

MAIN = Path(__file__).resolve().parents[2] / "main.py"
EMBEDDED = {
    "HOST": "localhost",
    "REDIS_ENABLED": "true",
    "REDIS_HOST": "localhost",
    "REDIS_PORT": "36790",
    "REDIS_SERVER_PORT": "36790",
    "REDIS_DB": "6",
    "ENABLE_TRANSCODING_POOLING": "true",
    "HLS_GC_ENABLED": "true",
    "HLS_GC_INTERVAL": "600",
    "HLS_GC_AGE_THRESHOLD": "7200",
    "BROADCAST_GC_ENABLED": "true",
    "TZ": "Europe/Berlin",
}
"""What its supervisord sets, but the level of the log; there is no Redis behind it."""


@pytest.fixture
def website(tmp_path: Path) -> Path:
    """The working directory: somebody else's, with an ``.env`` that is none of our business."""
    place = tmp_path / "html"
    place.mkdir()
    (place / ".env").write_text("API_TOKEN=of-the-website\nPORT=1\nROOT_PATH=/wrong\nMAX_STREAMS=1\n")
    (place / "main.py").write_text("raise SystemExit('the wrong program')\n")
    return place


def embedded(home: Path, website: Path, **more: str) -> Daemon:
    """``python3 /opt/m3u-proxy/main.py`` from the website's directory."""
    daemon = Daemon(home, **EMBEDDED, HLS_BROADCAST_DIR=str(home / "hls"), **more)
    daemon.wrapper = ("sh", "-c", f'cd {shlex.quote(str(website))} && exec "$0" {shlex.quote(str(MAIN))}')
    return daemon


async def test_an_environment_without_redis_and_a_directory_of_somebody_else(
    tmp_path: Path, website: Path, origin: Origin
) -> None:
    """Traps 23, 36, 37, 38 and 47.

    Transcoding works without Redis, whose ports may be named; nothing of the working directory is read or
    written; without ROOT_PATH the prefix is ``/m3u-proxy``; ``localhost`` is IPv4, too.
    """
    before = snapshot(website)
    async with embedded(tmp_path / "home", website) as daemon:
        assert os.readlink(f"/proc/{daemon.pid}/cwd") == str(website)
        info = strict_editor.info(await daemon.get("/m3u-proxy/info"))
        assert (info["redis"]["enabled"], info["redis"]["pooling_enabled"]) == (True, True)
        assert (await daemon.get("/health"))["root_path"] == "/m3u-proxy"
        made = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=HLS_COPY)
        async with daemon.http.get(made["stream_endpoint"]) as response:
            assert response.status == 200
            assert "/m3u-proxy/hls/" in await response.text()
    assert daemon.process.returncode == 0
    assert snapshot(website) == before


async def test_term_reaches_the_main_process_only(tmp_path: Path, website: Path, origin: Origin) -> None:
    """Trap 39: everything has ended, and been told, long before the ten seconds are over."""
    async with Receiver() as editor, embedded(tmp_path / "home", website) as daemon:
        await daemon.post("/webhooks", url=editor.url)
        copy = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=HLS_COPY)
        async with daemon.http.get(copy["stream_endpoint"]) as response:
            assert response.status == 200
        live = await daemon.post("/streams", url=origin.url("/live.ts"))
        await read_some(daemon.http, live["stream_endpoint"], 188)
        assert descendants(daemon.pid)
        began = monotonic()
        os.kill(daemon.pid, signal.SIGTERM)
        assert await daemon.process.wait() == 0
        assert monotonic() - began < 9.0
        for one in (copy, live):
            assert editor.types(one["stream_id"]).count("stream_stopped") == 1
