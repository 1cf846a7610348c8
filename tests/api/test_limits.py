"""At a limit: 503 with the reason, nothing started, and everybody else goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.origin import Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

Launch = Callable[..., AbstractAsyncContextManager[Daemon]]
TO_HLS = "-i {input_url} -c copy -f hls index.m3u8"
TO_TS = "-i {input_url} -c copy -f mpegts {output_args}"


async def refused(daemon: Daemon, path: str, body: dict[str, Any] | None, reason: str) -> None:
    method = "GET" if body is None else "POST"
    async with daemon.http.request(method, path, json=body) as response:
        answer = await response.json()
        assert response.status == 503, answer
        assert int(response.headers["Retry-After"]) >= 1
        assert answer == {"detail": reason}


async def test_max_streams(launch: Launch, tmp_path: Path, origin: Origin) -> None:
    async with launch(tmp_path, MAX_STREAMS="2") as daemon:
        for number in range(2):
            await daemon.post("/streams", url=origin.url(f"/live.ts?{number}"))
        reason = "Limit of 2 streams reached (MAX_STREAMS)"
        await refused(daemon, "/streams", {"url": origin.url("/live.ts?2")}, reason)
        await refused(daemon, "/transcode", {"url": origin.url("/live.ts"), "profile": TO_HLS}, reason)
        again = await daemon.post("/streams", url=origin.url("/live.ts?0"))
        assert (await daemon.get("/streams"))["total"] == 2
        async with daemon.http.delete(f"/streams/{again['stream_id']}") as response:
            assert response.status == 200
        await daemon.post("/streams", url=origin.url("/live.ts?2"))


async def test_max_viewers(launch: Launch, tmp_path: Path, origin: Origin) -> None:
    async with launch(tmp_path, MAX_VIEWERS="1") as daemon:
        plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
        hls = await daemon.post("/transcode", url=origin.url("/live.ts"), profile=TO_HLS)
        async with daemon.http.get(plain) as response:
            assert response.status == 200
            await response.content.readexactly(188)
            reason = "Limit of 1 viewers reached (MAX_VIEWERS)"
            await refused(daemon, plain, None, reason)
            await refused(daemon, hls["stream_endpoint"], None, reason)
            async with daemon.http.head(plain) as headed:
                assert headed.status == 200
            await response.content.readexactly(188 * 100)
            assert await daemon.metric('rejected_total{reason="max_viewers"}') == 2
        assert await daemon.metric("ffmpeg_starts_total") == 0
        async with daemon.http.get(hls["stream_endpoint"]) as response:
            assert response.status == 200
        for _ in range(3):  # the one viewer asks again and again
            async with daemon.http.get(hls["stream_endpoint"]) as response:
                assert response.status == 200


async def test_max_ffmpeg(launch: Launch, tmp_path: Path, origin: Origin) -> None:
    async with launch(tmp_path, MAX_FFMPEG="1") as daemon:
        url = origin.url("/live.ts")
        pipe = (await daemon.post("/transcode", url=url, profile=TO_TS))["stream_endpoint"]
        hls = (await daemon.post("/transcode", url=url, profile=TO_HLS))["stream_endpoint"]
        plain = (await daemon.post("/streams", url=url))["stream_endpoint"]
        async with daemon.http.get(pipe) as response:
            assert response.status == 200
            await response.content.readexactly(188)
            await refused(daemon, hls, None, "Limit of 1 FFmpeg processes reached (MAX_FFMPEG)")
            for path in (pipe, plain):
                async with daemon.http.get(path) as other:
                    assert other.status == 200
                    await other.content.readexactly(188)
            assert await daemon.metric("ffmpeg_starts_total") == 1
        assert len(origin.path("/live.ts").connections) == 1


async def test_0_is_no_limit(launch: Launch, tmp_path: Path, origin: Origin) -> None:
    async with launch(tmp_path, MAX_STREAMS="0", MAX_VIEWERS="0", MAX_FFMPEG="0") as daemon:
        plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
        pipe = (await daemon.post("/transcode", url=origin.url("/live.ts"), profile=TO_TS))["stream_endpoint"]
        for path in (plain, pipe):
            async with daemon.http.get(path) as response:
                assert response.status == 200
                await response.content.readexactly(188)


async def test_without_ffmpeg_only_transcoding_is_off(launch: Launch, tmp_path: Path, origin: Origin) -> None:
    async with launch(tmp_path, FFMPEG_PATH=str(tmp_path / "nothing-here")) as daemon:
        body = {"url": origin.url("/live.ts"), "profile": TO_HLS}
        await refused(daemon, "/transcode", body, "ffmpeg unavailable")
        await refused(daemon, "/transcode", {"url": origin.url("/live.ts")}, "ffmpeg unavailable")
        assert (await daemon.get("/streams"))["total"] == 0
        plain = (await daemon.post("/streams", url=origin.url("/live.ts")))["stream_endpoint"]
        async with daemon.http.get(plain) as response:
            assert response.status == 200
            await response.content.readexactly(188)
        assert (await daemon.get("/health"))["status"] == "degraded"
        async with daemon.http.get("/readyz") as response:
            assert response.status == 503
            assert "FFMPEG_PATH" in await response.text()
        async with daemon.http.get("/livez") as response:
            assert response.status == 200
        assert (await daemon.get("/transcode/profiles"))["profiles"]
