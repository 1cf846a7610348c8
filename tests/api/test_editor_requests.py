"""An editor's requests byte by byte, and answers read without any fallback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

import pytest

from tests.support import strict_editor as editor
from tests.support.daemon import Daemon
from tests.support.guzzle import Guzzle, behind_nginx, exchange, request
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

COPY = "-i {input_url} -c copy -f hls index.m3u8"


@pytest.fixture(scope="session")
def guzzle(guarded: Daemon, token: str) -> Guzzle:
    return Guzzle(guarded.url, token)


@asynccontextmanager
async def watched(daemon: Daemon, path: str, *lines: str) -> AsyncIterator[asyncio.StreamReader]:
    """A player behind nginx that has its first packet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    try:
        fields = lines or behind_nginx()
        head = ["GET " + path + " HTTP/1.1", "Host: editor.example", "User-Agent: VLC/3.0.20", *fields]
        writer.write("\r\n".join([*head, "", ""]).encode())
        async with asyncio.timeout(5.0):
            top = await reader.readuntil(b"\r\n\r\n")
            assert top.startswith(b"HTTP/1.1 200 "), top
            while b"\x47" not in await reader.read(4096):
                pass
        yield reader
    finally:
        writer.close()
        await writer.wait_closed()


async def test_the_bytes_are_those_of_an_editor() -> None:
    data = request("POST", "/streams", body={"url": "http://h/1.ts", "metadata": []}, token="t")
    assert data == (
        b"POST /streams HTTP/1.1\r\nHost: m3u-proxy:38085\r\nUser-Agent: GuzzleHttp/7\r\n"
        b"Content-Type: application/json\r\nAccept: application/json\r\nX-API-Token: t\r\n"
        b'Content-Length: 40\r\n\r\n{"url":"http:\\/\\/h\\/1.ts","metadata":[]}'
    )


async def test_slashes_are_escaped_and_empty_maps_are_lists(guzzle: Guzzle) -> None:
    """Trap 27: ``[]`` as an empty map; trap 32: a header that is null; trap 10: one URL, one id."""
    url = f"http://provider.example/live/u/{uuid4().hex}.ts"
    ids = set()
    given: tuple[object, ...] = ([], {"Referer": None, "X-A": "b"})
    for headers in given:
        answer = await guzzle.post("/streams", url=url, failover_urls=[], metadata=[], headers=headers)
        ids.add(editor.created(answer))
        assert answer["primary_url"] == url
    assert len(ids) == 1
    made = await guzzle.post(
        "/transcode", url=url, profile=COPY, profile_variables=[], metadata=[], headers=[], failover_urls=[]
    )
    assert editor.created(made) not in ids
    rows = editor.streams(await guzzle.call("GET", "/streams"))
    said = {row["stream_id"]: row["metadata"].get("transcoding") for row in rows}
    assert said[made["stream_id"]] == "true"
    assert [said[one] for one in ids] == [None]
    for one in [*ids, made["stream_id"]]:
        await guzzle.call("DELETE", f"/streams/{one}")


async def test_a_failover_by_hand_has_a_list_for_a_body(guzzle: Guzzle, origin: Origin) -> None:
    """Trap 27: ``[]`` as a body."""
    url = f"http://provider.example/{uuid4().hex}.ts"
    stream_id = editor.created(await guzzle.post("/streams", url=url))
    reply = await guzzle.send("POST", f"/streams/{stream_id}/failover", [])
    assert (reply.status, reply.json()) == (400, {"detail": "No failover is configured for this stream"})
    assert (await guzzle.send("POST", "/streams/unknown/failover", [])).status == 404
    await guzzle.call("DELETE", f"/streams/{stream_id}")


@pytest.mark.parametrize("host", ["editor.example", "m3u-proxy:38085", "127.0.0.1"])
@pytest.mark.parametrize("prefix", ["", "/m3u-proxy"])
async def test_every_call_through_nginx_is_an_ordinary_one(
    guarded: Daemon, token: str, host: str, prefix: str
) -> None:
    """Trap 33: ``Connection: upgrade`` alone; trap 38: both forms of a path; trap 19: fields without it."""
    lines = behind_nginx("198.51.100.7", "10.0.0.2", "172.18.0.3")
    url = f"http://provider.example/{uuid4().hex}.ts"

    async def call(method: str, target: str, body: object = None) -> Any:
        data = request(method, prefix + target, *lines, body=body, host=host, token=token)
        reply = await exchange(guarded.port, data)
        assert reply.status == 200, reply.raw
        assert b"editor.example" not in reply.raw
        return reply.json() if reply.body else None

    answer = await call("POST", "/streams", {"url": url, "metadata": {"id": "7"}})
    stream_id = editor.created(answer)
    assert answer["stream_endpoint"] == answer["direct_url"] == f"/stream/{stream_id}"
    assert await call("HEAD", f"/stream/{stream_id}") is None
    editor.streams(await call("GET", "/streams"))
    editor.clients(await call("GET", "/clients"))
    editor.info(await call("GET", "/info"))
    assert (await call("GET", "/health"))["status"] == "healthy"
    editor.matching(await call("GET", "/streams/by-metadata?field=id&value=7&active_only=1"))
    assert await call("DELETE", f"/streams/{stream_id}") == {"message": f"Stream {stream_id} deleted"}


async def test_a_webhook_is_removed_by_a_body(guzzle: Guzzle) -> None:
    """Trap 29: DELETE with a JSON body; registering again replaces; the URL comes back verbatim."""
    url = "http://editor.example/api/m3u-proxy/webhooks"
    events = ["client_connected", "client_disconnected", "stream_started", "stream_stopped"]
    for _ in range(2):
        await guzzle.post("/webhooks", url=url, events=events, timeout=5, retry_attempts=2)
    hooks = (await guzzle.call("GET", "/webhooks"))["webhooks"]
    assert [(one["url"], one["events"]) for one in hooks] == [(url, events)]
    await guzzle.call("DELETE", "/webhooks", {"webhook_url": url})
    assert (await guzzle.call("GET", "/webhooks"))["webhooks"] == []


async def test_lists_of_values_and_booleans_as_they_come(
    guarded: Daemon, guzzle: Guzzle, origin: Origin
) -> None:
    """Trap 28: ``%2C``, ``active_only=1``, ``force=true|false``; trap 6: numbers are found by their text."""
    playlist = uuid4().hex
    ids = []
    for number in (1, 2):
        origin.on(f"/{playlist}/{number}.ts", Answer(ts=True))
        said = {"playlist_uuid": playlist, "provider_profile_id": number, "is_failover": False, "id": number}
        made = await guzzle.post("/streams", url=origin.url(f"/{playlist}/{number}.ts"), metadata=said)
        ids.append(editor.created(made))
    counting = "/streams/counts-by-metadata?field=provider_profile_id&values=1%2C2%2C9&active_only=1"
    where = f"field=playlist_uuid&value={playlist}"
    async with watched(guarded, f"/stream/{ids[0]}?username=bob"):
        assert editor.counts(await guzzle.call("GET", counting), "1", "2", "9") == {"1": 1, "2": 0, "9": 0}
        (row,) = editor.matching(await guzzle.call("GET", f"/streams/by-metadata?{where}&active_only=1"))
        assert row["metadata"] == {
            "playlist_uuid": playlist,
            "provider_profile_id": "1",
            "is_failover": "False",
            "id": "1",
        }
        answer = await guzzle.call("DELETE", f"/streams/by-metadata?{where}&force=false&exclude_channel_id=2")
        assert editor.deleted(answer) == 0
        assert editor.deleted(await guzzle.call("DELETE", f"/streams/by-metadata?{where}&force=true")) == 2
        assert editor.counts(await guzzle.call("GET", counting), "1") == {"1": 0, "2": 0, "9": 0}
    assert editor.deleted(await guzzle.call("DELETE", f"/streams/by-metadata?{where}")) == 0
    assert editor.deleted(await guzzle.call("DELETE", f"/streams/oldest-by-metadata?{where}")) == 0


class Play:
    """One press of a button: what the editor asks, in its order, before it sends the player on."""

    def __init__(self, guzzle: Guzzle, origin: Origin, playlist: str, *, limit: int) -> None:
        self.guzzle = guzzle
        self.origin = origin
        self.playlist = playlist
        self.limit = limit

    async def by_metadata(self, field: str, value: object) -> list[editor.Row]:
        query = urlencode({"field": field, "value": value, "active_only": 1})
        return editor.matching(await self.guzzle.call("GET", f"/streams/by-metadata?{query}"))

    async def free_a_place(self, field: str, value: object) -> None:
        """At the limit the oldest goes, and a place is free when that is answered."""
        if len(await self.by_metadata(field, value)) < self.limit:
            return
        query = urlencode({"field": field, "value": value})
        assert editor.deleted(await self.guzzle.call("DELETE", f"/streams/oldest-by-metadata?{query}")) == 1
        assert len(await self.by_metadata(field, value)) < self.limit

    async def channel(self, channel: int, *, login: int = 5) -> str:
        """Where the player is sent."""
        rows = await self.by_metadata("original_channel_id", channel)
        if found := editor.reusable(rows, channel=channel, playlist=self.playlist):
            return f"/m3u-proxy/stream/{found}?username=bob"
        await self.free_a_place("playlist_uuid", self.playlist)
        await self.free_a_place("playlist_auth_id", login)
        values = quote("41,42", safe="")
        counting = f"/streams/counts-by-metadata?field=provider_profile_id&values={values}&active_only=1"
        counts = editor.counts(await self.guzzle.call("GET", counting), "41", "42")
        path = f"/{self.playlist}/{channel}.ts"
        self.origin.on(path, Answer(ts=True))
        made = await self.guzzle.post(
            "/streams",
            url=self.origin.url(path),
            failover_urls=[],
            metadata={
                "id": channel,
                "channel_id": channel,
                "type": "channel",
                "playlist_uuid": self.playlist,
                "original_channel_id": channel,
                "original_playlist_uuid": self.playlist,
                "is_failover": False,
                "strict_live_ts": False,
                "use_sticky_session": False,
                "playlist_auth_id": login,
                "provider_profile_id": min(counts, key=lambda one: counts[one]),
            },
            headers=[],
            strict_live_ts=False,
            use_sticky_session=False,
        )
        return f"/m3u-proxy/stream/{editor.created(made)}?username=bob"


async def test_the_calls_of_live_plays_in_their_order(
    guarded: Daemon, guzzle: Guzzle, origin: Origin, token: str
) -> None:
    """Trap 9: creating disturbs nobody; traps 2 and 3: a place that is freed is free at once."""
    playlist = uuid4().hex
    play = Play(guzzle, origin, playlist, limit=2)
    first = await play.channel(101)
    assert await play.by_metadata("playlist_uuid", playlist) == [], "nobody watches it yet"
    async with watched(guarded, first) as one:
        assert await play.channel(101) == first, "whoever comes to a running stream shares it"
        second = await play.channel(102)
        async with watched(guarded, second) as two:
            again = await guzzle.post("/streams", url=origin.url(f"/{playlist}/102.ts"), headers=[])
            assert editor.created(again) in second
            assert await two.readexactly(188 * 50), "posted again, the viewer goes on"
            rows = await play.by_metadata("playlist_uuid", playlist)
            assert [row["metadata"]["provider_profile_id"] for row in rows] == ["41", "42"]
            third = await play.channel(103)
            async with asyncio.timeout(5.0):
                await one.read()  # the oldest has been cut
            assert origin.path(f"/{playlist}/101.ts").live == 0
            async with watched(guarded, third):
                rows = await play.by_metadata("playlist_uuid", playlist)
                assert [row["metadata"]["id"] for row in rows] == ["102", "103"]
                await two.readexactly(188 * 50)
    assert [len(origin.path(f"/{playlist}/{n}.ts").connections) for n in (101, 102, 103)] == [1, 1, 1]
    await guzzle.call("DELETE", f"/streams/by-metadata?field=playlist_uuid&value={playlist}")


async def test_the_monitor_page_finds_every_key(guarded: Daemon, guzzle: Guzzle, origin: Origin) -> None:
    """Trap 31: all keys, numbers as integers, the URL as configured and not where a redirect led."""
    path = f"/{uuid4().hex}.ts"
    origin.on(path, Answer(status=302, redirect="/live.ts"))
    made = await guzzle.post("/streams", url=origin.url(path), use_sticky_session=True)
    stream_id = editor.created(made)
    copy = editor.created(await guzzle.post("/transcode", url=origin.url(path), profile=COPY))
    async with watched(guarded, f"/stream/{stream_id}", *behind_nginx("203.0.113.9", "10.0.0.2")):
        rows = editor.streams(await guzzle.call("GET", "/streams"))
        (row,) = [one for one in rows if one["stream_id"] == stream_id]
        assert row["current_url"] == row["original_url"] == origin.url(path)
        assert (row["client_count"], row["stream_type"]) == (1, "Live Continuous")
        assert 0 <= editor.age(row) < 10
        assert [one["stream_type"] for one in rows if one["stream_id"] == copy] == ["Transcoding"]
        seen = editor.clients(await guzzle.call("GET", "/clients"))
        assert [one["ip_address"] for one in seen if one["stream_id"] == stream_id] == ["203.0.113.9"]
    for one in (stream_id, copy):
        await guzzle.call("DELETE", f"/streams/{one}")


async def test_what_the_editor_tries_out(guzzle: Guzzle, origin: Origin) -> None:
    origin.on("/up", Answer(body="up", length=True))
    assert (await guzzle.post("/test-connection", url=origin.url("/up")))["success"] is True
    judged = await guzzle.call("GET", "/validate-cookies-file?path=%2Fvar%2Fnone.txt")
    assert judged["valid"] is False
    assert isinstance(judged["message"], str)
