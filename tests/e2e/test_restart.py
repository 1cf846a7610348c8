"""After a restart, orderly or not, editors find what they left, and no slot leaks."""

from __future__ import annotations

import signal
from pathlib import Path
from time import monotonic

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Origin
from tests.support.receiver import Receiver, hangs, says, takes

METADATA = {"id": "101", "type": "channel", "playlist_uuid": "pl-1", "provider_profile_id": "4"}
COPY = "-i {input_url} -c copy -f hls index.m3u8"


async def play(daemon: Daemon, origin: Origin, **more: object) -> tuple[str, aiohttp.ClientResponse]:
    """A stream that somebody watches: its id, and the open body."""
    stream = await daemon.post("/streams", url=origin.url("/live.ts"), metadata=METADATA, **more)
    body = await daemon.http.get(stream["stream_endpoint"])
    await body.content.readexactly(188)
    return stream["stream_id"], body


async def killed(daemon: Daemon) -> None:
    daemon.process.kill()
    await daemon.process.wait()


async def test_after_a_crash_hooks_and_streams_are_back(tmp_path: Path, origin: Origin) -> None:
    """F74, trap 46: ids and webhooks survive a restart; trap 4: the end of a run that a crash hid is told."""
    async with Receiver() as editor:
        async with Daemon(tmp_path) as daemon:
            await daemon.post("/webhooks", url=editor.url, timeout=5, retry_attempts=2, headers={"X-A": "b"})
            hooks = await daemon.get("/webhooks")
            stream_id, body = await play(daemon, origin, headers={"X-B": "c"})
            kept = await daemon.post("/streams", url="http://provider.example/kept.ts", permanent=True)
            copy = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=COPY)
            await editor.until_told(copy["stream_id"], "stream_started")
            await killed(daemon)
            body.close()
        async with Daemon(tmp_path) as again:
            assert repr(await again.get("/webhooks")) == repr(hooks), "5 seconds are not 5.0"
            rows = (await again.get("/streams"))["streams"]
            assert [row["stream_id"] for row in rows] == [kept["stream_id"]]
            assert (await again.get("/health"))["stats"]["active_streams"] == 0
            told = await editor.until_told(stream_id, "stream_stopped")
            assert told[-1].headers["X-A"] == "b"
            assert told[-1].data["reason"] == "interrupted"
            assert told[-1].data["metadata"] == METADATA
            before = len(origin.path("/live.ts").connections)
            async with again.http.get(f"/stream/{stream_id}") as response:
                assert response.status == 200
                await response.content.readexactly(188)
            assert origin.path("/live.ts").connections[before].headers["x-b"] == "c"
            async with again.http.get(copy["stream_endpoint"]) as response:
                assert response.status == 200
                assert "#EXTM3U" in await response.text()
            await editor.until_told(
                *(stream_id, "stream_started", "client_connected", "client_disconnected", "stream_stopped")
            )
            for one in (kept, copy):
                assert editor.types(one["stream_id"])[:2] == ["stream_started", "stream_stopped"]
        async with Daemon(tmp_path):
            pass
    types = editor.types(stream_id)
    assert types.count("stream_started") == types.count("stream_stopped") == 2


async def test_an_orderly_end_tells_everything_before_it_ends(tmp_path: Path, origin: Origin) -> None:
    """Trap 4: SIGTERM tells the end of each run before the process ends."""
    async with Receiver() as editor:
        async with Daemon(tmp_path) as daemon:
            await daemon.post("/webhooks", url=editor.url)
            stream_id, body = await play(daemon, origin)
            daemon.process.send_signal(signal.SIGTERM)
            assert await daemon.process.wait() == 0
            body.close()
            told = editor.of(stream_id)
        assert [one.type for one in told] == [
            *("stream_started", "client_connected", "client_disconnected", "stream_stopped")
        ]
        assert told[-1].data["reason"] == "shutdown"
        async with Daemon(tmp_path) as again:
            assert len((await again.get("/webhooks"))["webhooks"]) == 1
        assert len(editor.of(stream_id)) == 4


@pytest.mark.parametrize("bad", [hangs, says(500)], ids=["hangs", "500"])
async def test_a_dead_editor_holds_up_the_end_for_two_seconds_and_is_told_later(
    tmp_path: Path, origin: Origin, bad: object
) -> None:
    async with Receiver() as editor:
        async with Daemon(tmp_path) as daemon:
            await daemon.post("/webhooks", url=editor.url, timeout=60, retry_attempts=10)
            stream_id, body = await play(daemon, origin)
            await editor.until_told(stream_id, "client_connected")
            editor.script = bad  # type: ignore[assignment]
            began = monotonic()
            daemon.process.send_signal(signal.SIGTERM)
            assert await daemon.process.wait() == 0
            assert monotonic() - began < 4.0
            body.close()
        editor.script = takes
        editor.events.clear()
        async with Daemon(tmp_path):
            await editor.until_told(stream_id, "stream_stopped")
        async with Daemon(tmp_path):
            pass
    assert editor.types(stream_id) == ["stream_stopped"]


async def test_what_was_deleted_does_not_come_back(tmp_path: Path, origin: Origin) -> None:
    async with Receiver() as editor:
        async with Daemon(tmp_path) as daemon:
            await daemon.post("/webhooks", url=editor.url)
            stream_id, body = await play(daemon, origin, permanent=True)
            for path in (f"/streams/{stream_id}", f"/webhooks?webhook_url={editor.url}"):
                async with daemon.http.delete(path) as response:
                    assert response.status == 200
            body.close()
            daemon.process.send_signal(signal.SIGTERM)
            await daemon.process.wait()
        async with Daemon(tmp_path) as again:
            assert (await again.get("/webhooks"))["webhooks"] == []
            assert (await again.get("/streams"))["total"] == 0
            async with again.http.get(f"/stream/{stream_id}") as response:
                assert response.status == 404


async def test_streams_past_their_retention_are_forgotten(tmp_path: Path) -> None:
    async with Daemon(tmp_path, STREAM_RETENTION="0") as daemon:
        stream = await daemon.post("/streams", url="http://provider.example/old.ts")
        await killed(daemon)
    async with Daemon(tmp_path, STREAM_RETENTION="0") as again:

        async def is_gone() -> bool:
            async with again.http.get(f"/streams/{stream['stream_id']}") as response:
                return response.status == 404

        await eventually(is_gone)


async def test_the_demo_is_not_kept(tmp_path: Path) -> None:
    async with Daemon(tmp_path, "--demo") as daemon:
        assert (await daemon.get("/streams"))["total"] == 2
    async with Daemon(tmp_path) as again:
        assert (await again.get("/streams"))["total"] == 0


@pytest.mark.parametrize("times", [3])
async def test_crash_after_crash_tells_each_end_once(tmp_path: Path, origin: Origin, times: int) -> None:
    async with Receiver() as editor:
        for _ in range(times):
            async with Daemon(tmp_path) as daemon:
                await daemon.post("/webhooks", url=editor.url)
                stream_id, body = await play(daemon, origin)
                await editor.until_told(stream_id, "stream_started", "client_connected")
                await killed(daemon)
                body.close()
        async with Daemon(tmp_path):
            await editor.until_told(stream_id, "stream_stopped")
    types = [one for one in editor.types(stream_id) if one.startswith("stream")]
    assert types == ["stream_started", "stream_stopped"] * times
