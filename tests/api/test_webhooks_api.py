"""``/webhooks``: requests and answers, word for word (traps 4, 29 and 30)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin
from tests.support.receiver import Receiver, hangs, says, takes

pytestmark = pytest.mark.asyncio(loop_scope="session")

ALL = [
    "stream_started",
    "stream_stopped",
    "stream_failed",
    "failover_triggered",
    "client_connected",
    "client_disconnected",
]
URL = "http://editor.example/m3u-proxy/webhooks"


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _none_are_left(daemon: Daemon) -> AsyncIterator[None]:
    yield
    for row in (await daemon.get("/webhooks"))["webhooks"]:
        async with daemon.http.delete("/webhooks", params={"webhook_url": row["url"]}) as response:
            assert response.status == 200


async def send(daemon: Daemon, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with daemon.http.request(method, path, **more) as response:
        return response.status, await response.json()


async def test_a_webhook_is_registered_and_shown_without_its_headers(daemon: Daemon) -> None:
    answer = await daemon.post("/webhooks", url=URL, headers={"X-Key": "CANARY"})
    assert answer == {"message": "Webhook added successfully", "webhook_url": URL, "events": ALL}
    row = {"url": URL, "events": ALL, "timeout": 10, "retry_attempts": 3}
    assert await daemon.get("/webhooks") == {"webhooks": [row]}


async def test_registering_again_replaces(daemon: Daemon) -> None:
    await daemon.post("/webhooks", url=URL)
    for _ in range(2):
        answer = await daemon.post(
            "/webhooks", url=URL, events=["stream_stopped"], timeout=5, retry_attempts=2
        )
        assert answer["events"] == ["stream_stopped"]
    row = {"url": URL, "events": ["stream_stopped"], "timeout": 5, "retry_attempts": 2}
    assert (await daemon.get("/webhooks"))["webhooks"] == [row]


@pytest.mark.parametrize("url", ["http://Editor.example", "http://editor.example:80/a%2Fb?x=1#y"])
async def test_the_url_comes_back_verbatim(daemon: Daemon, url: str) -> None:
    await daemon.post("/webhooks", url=url)
    assert [row["url"] for row in (await daemon.get("/webhooks"))["webhooks"]] == [url]


async def test_null_and_empty_lists_mean_the_default(daemon: Daemon) -> None:
    await daemon.post("/webhooks", url=URL, events=None, headers=[], timeout=None, retry_attempts=None)
    (row,) = (await daemon.get("/webhooks"))["webhooks"]
    assert (row["events"], row["timeout"], row["retry_attempts"]) == (ALL, 10, 3)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": "ftp://h/"}, "url"),
        ({"url": "http://169.254.169.254/"}, "url"),
        ({"url": URL, "events": ["stream_exploded"]}, "events"),
        ({"url": URL, "events": "stream_stopped"}, "events"),
        ({"url": URL, "timeout": 0}, "timeout"),
        ({"url": URL, "timeout": 10**9}, "timeout"),
        ({"url": URL, "retry_attempts": -1}, "retry_attempts"),
        ({"url": URL, "headers": {"X-Key": "a\r\nb: CANARY"}}, "headers"),
        ({"url": URL, "headers": {"X Key": "CANARY"}}, "headers"),
    ],
)
async def test_what_is_wrong_is_refused_and_nothing_is_kept(
    daemon: Daemon, body: dict[str, Any], field: str
) -> None:
    """A41: no webhook to metadata services."""
    status, answer = await send(daemon, "POST", "/webhooks", json=body)
    assert status == 422
    assert answer["detail"][0]["loc"][:2] == ["body", field]
    assert "CANARY" not in json.dumps(answer)
    assert (await daemon.get("/webhooks"))["webhooks"] == []


@pytest.mark.parametrize("spelling", ["http://h.example", "http://h.example/", "HTTP://H.example:80/"])
@pytest.mark.parametrize("place", ["query", "body"])
async def test_a_webhook_is_removed_however_its_url_is_spelt(
    daemon: Daemon, place: str, spelling: str
) -> None:
    await daemon.post("/webhooks", url="http://h.example")
    where = {"params": {"webhook_url": spelling}} if place == "query" else {"json": {"webhook_url": spelling}}
    status, answer = await send(daemon, "DELETE", "/webhooks", **where)
    assert (status, answer) == (200, {"message": f"Webhook {spelling} removed successfully"})
    status, answer = await send(daemon, "DELETE", "/webhooks", **where)
    assert (status, answer) == (404, {"detail": "Webhook not found"})


@pytest.mark.parametrize(
    "body", [{}, {"json": {}}, {"json": []}, {"json": {"webhook_url": 7}}, {"data": b"x"}]
)
async def test_without_a_url_nothing_is_removed(daemon: Daemon, body: dict[str, Any]) -> None:
    await daemon.post("/webhooks", url=URL)
    status, _ = await send(daemon, "DELETE", "/webhooks", **body)
    assert status in {415, 422}
    assert len((await daemon.get("/webhooks"))["webhooks"]) == 1


async def test_a_test_event(daemon: Daemon) -> None:
    async with Receiver() as editor:
        where = {"params": {"webhook_url": editor.url}}
        assert await send(daemon, "POST", "/webhooks/test", **where) == (404, {"detail": "Webhook not found"})
        await daemon.post("/webhooks", url=editor.url, timeout=1, retry_attempts=0)
        status, answer = await send(daemon, "POST", "/webhooks/test", **where)
        assert status == 200
        assert editor.events[-1].body["event_id"] == answer["event_id"]
        assert editor.events[-1].type == "stream_started"
        for script in (says(500), hangs):
            editor.script = script
            status, answer = await send(daemon, "POST", "/webhooks/test", **where)
            assert status == 502
            assert "not delivered" in answer["detail"]
        assert (await send(daemon, "POST", "/webhooks/test"))[0] == 422


async def test_a_run_is_told_from_its_start_to_its_end(daemon: Daemon, origin: Origin) -> None:
    """Trap 4: one ``stream_stopped`` for each run; trap 30: flat keys beside the metadata."""
    metadata = {"id": "101", "type": "channel", "playlist_uuid": "pl-1", "provider_profile_id": "4"}
    async with Receiver() as editor:
        await daemon.post("/webhooks", url=editor.url)
        stream = await daemon.post("/streams", url=origin.url("/live.ts"), metadata=metadata)
        stream_id = stream["stream_id"]
        async with daemon.http.get(stream["stream_endpoint"]) as body:
            await body.content.readexactly(188)
        told = await editor.until_told(
            *(stream_id, "stream_started", "client_connected", "client_disconnected", "stream_stopped")
        )
        assert len(told) == 4
        for one in told:
            assert one.data["metadata"] == metadata
            assert {name: one.data[name] for name in ("id", "type", "playlist_uuid")} == {
                name: metadata[name] for name in ("id", "type", "playlist_uuid")
            }
        started, connected, disconnected, stopped = (one.data for one in told)
        assert started["primary_url"] == origin.url("/live.ts")
        assert started["failover_urls"] == []
        assert started["stream_type"] == "direct"
        assert connected["stream_client_count"] == 1
        assert connected["client_id"] == disconnected["client_id"]
        assert disconnected["bytes_served"] >= 188
        assert stopped["reason"] == "last_client_disconnected"
        assert stopped["bytes_served"] == disconnected["bytes_served"]

        async with daemon.http.delete(f"/streams/{stream_id}") as response:
            assert response.status == 200
        await daemon.post("/streams", url=origin.url("/live.ts"), metadata=metadata)
        await editor.until_told(stream_id, "stream_stopped", "stream_started")
        async with daemon.http.delete(f"/streams/{stream_id}") as response:
            assert response.status == 200
        told = await editor.until_told(stream_id, "stream_started", "stream_stopped")
        assert told[-1].data["reason"] == "manual_deletion"
        assert len(told) == 6


async def test_a_transcoded_run_tells_what_ffmpeg_is_told(daemon: Daemon, origin: Origin) -> None:
    async with Receiver() as editor:
        await daemon.post("/webhooks", url=editor.url)
        stream = await daemon.post(
            "/transcode",
            url=origin.url("/live.ts"),
            profile="-i {input_url} -c copy -f hls index.m3u8",
            metadata={"id": "7"},
        )
        (started,) = await editor.until_told(stream["stream_id"], "stream_started")
        assert started.data["stream_type"] == "transcoded"
        assert started.data["profile"] == "custom"
        assert started.data["profile_variables"]["input_url"] == origin.url("/live.ts")
        assert started.data["ffmpeg_args"] == stream["ffmpeg_args"]
        assert started.data["metadata"]["transcoding"] == "true"
        async with daemon.http.delete(f"/streams/{stream['stream_id']}") as response:
            assert response.status == 200
        told = await editor.until_told(stream["stream_id"], "stream_stopped")
        assert told[-1].data["was_transcoded"] is True


async def test_the_editor_calls_back_while_it_is_told(daemon: Daemon) -> None:
    """Trap 11: no lock is held across a callback."""
    async with Receiver() as editor:

        async def calls_back(request: Any) -> Any:
            rows = await daemon.get("/streams")
            assert "streams" in rows
            await daemon.post("/webhooks", url=editor.url)
            return await takes(request)

        editor.script = calls_back
        await daemon.post("/webhooks", url=editor.url)
        for number in range(5):
            url = f"http://provider.example/callback{number}.ts"
            stream_id = (await daemon.post("/streams", url=url))["stream_id"]
            async with daemon.http.delete(f"/streams/{stream_id}") as response:
                assert response.status == 200
            await editor.until_told(stream_id, "stream_started", "stream_stopped")
    assert await daemon.metric("webhook_queue") == 0


async def test_a_run_that_fails_ends_once_and_says_why(daemon: Daemon, origin: Origin) -> None:
    for path in ("/gone.ts", "/gone-too.ts"):
        origin.on(path, Answer(status=404))
    async with Receiver() as editor:
        await daemon.post("/webhooks", url=editor.url)
        stream = await daemon.post(
            "/streams",
            url=origin.url("/gone.ts"),
            failover_urls=[origin.url("/gone-too.ts")],
            metadata={"id": "7"},
        )
        async with daemon.http.get(stream["stream_endpoint"]) as response:
            assert response.status >= 400
        told = await editor.until_told(stream["stream_id"], "stream_stopped", within=10.0)
        async with daemon.http.delete(f"/streams/{stream['stream_id']}") as response:
            assert response.status == 200
        assert all(one.data["metadata"] == {"id": "7"} for one in told)
        by_type = {one.type: one.data for one in told}
        assert len(by_type) == len(told)
        failed = by_type["stream_failed"]
        assert failed["error"]
        assert failed["error_type"] == "UpstreamError"
        assert by_type["stream_stopped"]["reason"] == failed["reason"]
        assert failed["retry_count"] == 1
        assert by_type["failover_triggered"]["failover_index"] == 1
