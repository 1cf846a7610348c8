"""Streams by their metadata, word for word: trap numbers are those of the contract's checklist."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import ask

pytestmark = pytest.mark.asyncio(loop_scope="session")

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00")
NOTHING = {"deleted_streams": [], "skipped_streams": [], "deleted_count": 0}


class Playlist:
    """Streams of one playlist of an editor, which share a metadata value nobody else has."""

    def __init__(self, daemon: Daemon, origin: Origin) -> None:
        self.name = uuid4().hex
        self.daemon = daemon
        self.origin = origin
        self.filter = f"field=playlist_uuid&value={self.name}"

    async def add(self, channel: str = "1", **metadata: object) -> str:
        """Its id."""
        path = f"/{self.name}/{channel}.ts"
        self.origin.on(path, Answer(ts=True))
        given = {"id": channel, "playlist_uuid": self.name, **metadata}
        made = await self.daemon.post("/streams", url=self.origin.url(path), metadata=given)
        return str(made["stream_id"])

    def live(self, channel: str = "1") -> int:
        """Connections at the provider now."""
        return self.origin.path(f"/{self.name}/{channel}.ts").live

    async def call(self, method: str, path: str, status: int = 200) -> Any:
        """The JSON of an answer."""
        async with self.daemon.http.request(method, path) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def by_metadata(self, more: str = "") -> Any:
        """What the editor's pool look-up gets."""
        return await self.call("GET", f"/streams/by-metadata?{self.filter}{more}")


@pytest.fixture
def playlist(daemon: Daemon, origin: Origin) -> Playlist:
    return Playlist(daemon, origin)


@asynccontextmanager
async def watched(daemon: Daemon, *paths: str) -> AsyncIterator[None]:
    """Players that have their first packet."""
    async with AsyncExitStack() as stack:
        for path in paths:
            response = await stack.enter_async_context(daemon.http.get(path))
            assert response.status == 200
            await response.content.readexactly(188)
        yield


async def test_trap_3_a_stream_nobody_watches_is_not_active(playlist: Playlist) -> None:
    await playlist.add()
    for active in ("", "&active_only=1", "&active_only=true", "&active_only=YES", "&active_only=on"):
        assert await playlist.by_metadata(active) == {
            "filter": {"field": "playlist_uuid", "value": playlist.name},
            "active_only": True,
            "matching_streams": [],
            "total_matching": 0,
            "total_clients": 0,
        }
    for active in ("0", "false", "No", "OFF"):
        assert (await playlist.by_metadata(f"&active_only={active}"))["total_matching"] == 1


async def test_trap_7_every_item_is_whole(daemon: Daemon, playlist: Playlist) -> None:
    stream_id = await playlist.add("101", original_channel_id=7, is_failover=True)
    async with watched(daemon, f"/stream/{stream_id}", f"/stream/{stream_id}"):
        answer = await playlist.by_metadata("&active_only=1&unknown=ignored")
        (row,) = answer["matching_streams"]
        assert ISO.fullmatch(row.pop("last_access"))
        assert row == {
            "stream_id": stream_id,
            "client_count": 2,
            "metadata": {
                "id": "101",
                "playlist_uuid": playlist.name,
                "original_channel_id": "7",
                "is_failover": "True",
            },
            "is_active": True,
            "url": playlist.origin.url(f"/{playlist.name}/101.ts"),
            "stream_type": "Live Continuous",
        }
        assert (answer["total_matching"], answer["total_clients"]) == (1, 2)
    await playlist.call("DELETE", f"/streams/by-metadata?{playlist.filter}")


async def test_watched_streams_come_first_then_the_oldest(daemon: Daemon, playlist: Playlist) -> None:
    ids = [await playlist.add(str(number)) for number in range(4)]
    async with watched(daemon, f"/stream/{ids[2]}", f"/stream/{ids[1]}"):
        rows = (await playlist.by_metadata("&active_only=0"))["matching_streams"]
        assert [row["stream_id"] for row in rows] == [ids[1], ids[2], ids[0], ids[3]]
    await playlist.call("DELETE", f"/streams/by-metadata?{playlist.filter}")


async def test_a_stream_without_the_key_never_matches(playlist: Playlist) -> None:
    await playlist.add()
    key = uuid4().hex
    answer = await playlist.call("GET", f"/streams/by-metadata?field={key}&value=&active_only=0")
    assert answer["matching_streams"] == []


async def test_trap_6_numbers_and_booleans_are_found_by_their_text(playlist: Playlist) -> None:
    key = uuid4().hex
    stream_id = await playlist.add("1", **{key: 7, f"{key}-yes": True})
    for field, value in ((key, "7"), (f"{key}-yes", "True")):
        path = f"/streams/by-metadata?field={field}&value={value}&active_only=0"
        found = (await playlist.call("GET", path))["matching_streams"]
        assert [row["stream_id"] for row in found] == [stream_id]


@pytest.mark.parametrize(
    ("method", "path", "field", "kind"),
    [
        ("GET", "/streams/by-metadata?value=x", "field", "missing"),
        ("GET", "/streams/by-metadata?field=x", "value", "missing"),
        ("GET", "/streams/by-metadata?field=x&value=y&active_only=perhaps", "active_only", "bool_parsing"),
        ("GET", "/streams/counts-by-metadata?field=x", "values", "missing"),
        ("DELETE", "/streams/by-metadata?field=x", "value", "missing"),
        ("DELETE", "/streams/by-metadata?field=x&value=y&force=", "force", "bool_parsing"),
        (
            "DELETE",
            f"/streams/by-metadata?field=x&value=y&client_id={'c' * 129}",
            "client_id",
            "string_too_long",
        ),
        ("DELETE", "/streams/by-metadata?field=x&value=y&client_id=a%0Ab", "client_id", "value_error"),
        ("DELETE", "/streams/oldest-by-metadata?value=x", "field", "missing"),
        ("GET", "/m3u-proxy/streams/by-metadata", "field", "missing"),
    ],
)
async def test_a_bad_query_is_named(
    playlist: Playlist, method: str, path: str, field: str, kind: str
) -> None:
    row = (await playlist.call(method, path, status=422))["detail"][0]
    assert row.keys() == {"type", "loc", "msg", "input"}
    assert (row["type"], row["loc"]) == (kind, ["query", field])


async def test_counts_name_every_value_that_was_asked_for(daemon: Daemon, playlist: Playlist) -> None:
    key = uuid4().hex
    one = await playlist.add("1", **{key: 1})
    await playlist.add("2", **{key: 1})
    await playlist.add("3", **{key: "x"})
    path = f"/streams/counts-by-metadata?field={key}&values="
    async with watched(daemon, f"/stream/{one}", f"/stream/{one}"):
        expected = {"field": key, "counts": {"1": 1, "x": 0, "2": 0}}
        assert await playlist.call("GET", path + "1,%20x%20%2C2,,1") == expected
        counted = await playlist.call("GET", path + "1,x,2&active_only=0")
        assert counted["counts"] == {"1": 2, "x": 1, "2": 0}
    assert (await playlist.call("GET", path))["counts"] == {}
    await playlist.call("DELETE", f"/streams/by-metadata?{playlist.filter}")


async def test_trap_2_a_delete_is_over_when_it_is_answered(daemon: Daemon, playlist: Playlist) -> None:
    ids = [await playlist.add(str(number)) for number in range(3)]
    async with watched(daemon, *(f"/stream/{one}" for one in ids)):
        answer = await playlist.call("DELETE", f"/streams/by-metadata?{playlist.filter}")
        assert answer.pop("message")
        assert answer == {"deleted_streams": ids, "skipped_streams": [], "deleted_count": 3}
        assert (await playlist.by_metadata())["total_matching"] == 0
        clients = (await daemon.get("/clients"))["clients"]
        assert not [one for one in clients if one["stream_id"] in ids]
        await playlist.origin.until(lambda: not any(playlist.live(str(n)) for n in range(3)), within=1.0)
    for one in ids:
        await playlist.call("GET", f"/streams/{one}", status=404)


async def test_trap_8_nothing_matched_is_told_with_200(playlist: Playlist) -> None:
    answer = await playlist.call("DELETE", f"/streams/by-metadata?{playlist.filter}")
    assert answer.pop("message")
    assert answer == NOTHING
    answer = await playlist.call("DELETE", f"/streams/oldest-by-metadata?{playlist.filter}")
    assert answer.pop("message")
    assert answer == {"deleted_stream": None, "deleted_count": 0}


async def test_a_delete_can_spare_a_channel(playlist: Playlist) -> None:
    kept, gone = await playlist.add("1"), await playlist.add("2")
    answer = await playlist.call("DELETE", f"/streams/by-metadata?{playlist.filter}&exclude_channel_id=1")
    assert answer.pop("message")
    assert answer == {
        "deleted_streams": [gone],
        "skipped_streams": [{"stream_id": kept, "reason": "excluded_by_channel_id"}],
        "deleted_count": 1,
    }
    await playlist.call("DELETE", f"/streams/{kept}")


async def test_trap_28_without_force_others_go_on_watching(daemon: Daemon, playlist: Playlist) -> None:
    """The in-app player closes: its own client goes, others stay, the last one ends the stream."""
    stream_id = await playlist.add()
    close = f"/streams/by-metadata?{playlist.filter}&force=false&client_id="
    path = f"/stream/{stream_id}?client_id="
    async with watched(daemon, path + "app", path + "tv"):
        answer = await playlist.call("DELETE", close + "app")
        assert answer.pop("message")
        assert answer == NOTHING | {
            "skipped_streams": [{"stream_id": stream_id, "reason": "has_active_clients", "active_clients": 1}]
        }
        shown = await daemon.get(f"/streams/{stream_id}")
        assert [client["client_id"] for client in shown["clients"]] == ["tv"]
        answer = await playlist.call("DELETE", close + "tv")
        assert (answer["deleted_streams"], answer["deleted_count"]) == ([stream_id], 1)
        await playlist.origin.until(lambda: playlist.live() == 0, within=1.0)


async def test_trap_44_two_devices_with_one_identity_are_two(daemon: Daemon, playlist: Playlist) -> None:
    stream_id = await playlist.add()
    path = f"/stream/{stream_id}?client_id=app"
    async with watched(daemon, path):
        async with watched(daemon, path):
            ids = [one["client_id"] for one in (await daemon.get(f"/streams/{stream_id}"))["clients"]]
            assert ids[0] == "app"
            assert re.fullmatch("app_[0-9a-f]{8}", ids[1])
        shown = await daemon.get(f"/streams/{stream_id}")
        assert [one["client_id"] for one in shown["clients"]] == ["app"]
    await playlist.call("DELETE", f"/streams/{stream_id}")


async def test_the_oldest_watched_stream_goes_first(daemon: Daemon, playlist: Playlist) -> None:
    ids = [await playlist.add(str(number)) for number in range(3)]
    path = f"/streams/oldest-by-metadata?{playlist.filter}"
    async with watched(daemon, f"/stream/{ids[2]}", f"/stream/{ids[1]}"):
        answer = await playlist.call("DELETE", path)
        assert answer.pop("message")
        assert 0 <= answer.pop("stream_age_seconds") < 60
        assert answer == {"deleted_stream": ids[1], "deleted_count": 1}
        await playlist.origin.until(lambda: playlist.live("1") == 0, within=1.0)
        answer = await playlist.call("DELETE", path + "&exclude_channel_id=2")
        assert answer["deleted_stream"] == ids[0], "an idle one, because no other is watched"
        assert (await playlist.call("DELETE", path))["deleted_stream"] == ids[2]


async def test_defined_anew_a_stream_is_young_again(playlist: Playlist) -> None:
    ids = [await playlist.add(str(number)) for number in range(2)]
    assert await playlist.add("0") == ids[0]
    answer = await playlist.call("DELETE", f"/streams/oldest-by-metadata?{playlist.filter}")
    assert answer["deleted_stream"] == ids[1]


async def test_a_client_is_ended_on_its_stream_only(daemon: Daemon, playlist: Playlist) -> None:
    ids = [await playlist.add(str(number)) for number in range(2)]
    async with AsyncExitStack() as stack:
        players = [
            await stack.enter_async_context(daemon.http.get(f"/stream/{one}?client_id=tv%2Fone"))
            for one in ids
        ]
        for player in players:
            await player.content.readexactly(188)
        answer = await playlist.call("DELETE", f"/hls/{ids[0]}/clients/tv%2Fone")
        assert answer == {"message": "Client tv/one disconnected"}
        counts = [(await daemon.get(f"/streams/{one}"))["client_count"] for one in ids]
        assert counts == [0, 1]
        async with asyncio.timeout(5):
            await players[0].read()  # to its end
        await players[1].content.readexactly(188 * 50)
    answer = await playlist.call("DELETE", "/hls/unknown/clients/nobody")
    assert answer == {"message": "Client nobody disconnected"}
    await playlist.call("DELETE", f"/streams/by-metadata?{playlist.filter}")


async def test_trap_33_the_upgrade_that_nginx_announces_is_ignored(
    daemon: Daemon, playlist: Playlist
) -> None:
    target = f"/streams/by-metadata?{playlist.filter}&active_only=1"
    reply = await ask(
        daemon.port, f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n\r\n".encode()
    )
    assert reply.status == 200
    assert reply.json()["total_matching"] == 0
