"""Truth in the counts, and who is who: everything that an editor counts by says the same, at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from tests.support.daemon import Daemon
from tests.support.editor import Editor
from tests.support.fake_ffmpeg import until
from tests.support.files import a_file, mp4
from tests.support.guzzle import behind_nginx
from tests.support.hls_lists import single
from tests.support.hls_media import HlsMedia
from tests.support.hls_origin import HlsOrigin
from tests.support.inv import eventually, rig
from tests.support.origin import Answer, Origin
from tests.support.player import HlsViewer

AT_ONCE = 1.0
"""Seconds after which an editor looks again."""
TTL = 3.0
"""Seconds of silence after which a viewer of HLS has left, where three target durations are less."""
SIZE = 4_000_000
FILM = "/movie/u/p/1.mp4"
STOPPED_WITHIN = 4.0
"""Seconds from the last viewer's leaving to the news of it, with the way."""


@pytest.fixture
async def daemon(tmp_path: Path, origin: Origin) -> AsyncIterator[Daemon]:
    async with rig(tmp_path, origin, CLIENT_TIMEOUT=str(TTL)) as started:
        yield started


@pytest.fixture
async def editor(daemon: Daemon) -> AsyncIterator[Editor]:
    """It wants to know of everything."""
    async with Editor(daemon.url) as started:
        await started.register()
        yield started


async def add(editor: Editor, url: str, name: str = "1") -> str:
    said = {"id": name, "channel_id": name, "playlist_uuid": "pl", "provider_profile_id": "4"}
    made = await editor.call("POST", "/streams", {"url": url, "metadata": said})
    return str(made["stream_id"])


async def seen(editor: Editor) -> set[tuple[int, int]]:
    """Watched streams and viewers of the playlist, by every route that tells; one pair if all agree."""
    rows = await editor.by_metadata("playlist_uuid", "pl")
    streams = [row["client_count"] for row in await editor.streams()]
    clients = (await editor.call("GET", "/clients"))["total_clients"]
    health = (await editor.call("GET", "/health"))["stats"]
    count = (await editor.count("provider_profile_id", "4"))["4"]
    shown = [(await editor.call("GET", f"/streams/{row['stream_id']}"))["client_count"] for row in rows]
    return {
        (len(rows), sum(row["client_count"] for row in rows)),
        (sum(number > 0 for number in streams), sum(streams)),
        (count, clients),
        (health["active_streams"], health["total_clients"]),
        (len(shown), sum(shown)),
    }


async def says(editor: Editor, streams: int, viewers: int, within: float) -> float:
    """Wait until all routes say so; the seconds it took."""

    async def agrees() -> bool:
        return await seen(editor) == {(streams, viewers)}

    return await eventually(agrees, within, every=0.02)


@dataclass
class Device:
    """A player behind nginx: its address and its name are those of all devices in the house."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str

    @classmethod
    async def plays(cls, daemon: Daemon, path: str, *lines: str, status: int = 200) -> Self:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        fields = ["Host: editor.example", "User-Agent: VLC/3.0.20", *behind_nginx(), *lines]
        writer.write("\r\n".join([f"GET {path} HTTP/1.1", *fields, "", ""]).encode())
        async with asyncio.timeout(5.0):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            assert f" {status} " in head.partition("\r\n")[0], head
            await reader.readexactly(188)
        return cls(reader, writer, head)

    @property
    def client_id(self) -> str:
        return self.head.lower().partition("x-client-id: ")[2].partition("\r\n")[0]

    async def goes_on(self, size: int = 188 * 200) -> None:
        async with asyncio.timeout(5.0):
            await self.reader.readexactly(size)

    async def leaves(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


def clients(editor: Editor, stream_id: str, what: str) -> list[str]:
    """Ids of the viewers of whom this was told."""
    told = [one for one in editor.events if one.body["stream_id"] == stream_id and one.type == what]
    return [one.data["client_id"] for one in told]


async def told_over(editor: Editor, stream_id: str) -> None:
    """Wait for the news that the run is over, which comes once and frees a slot."""

    async def is_told() -> bool:
        return editor.of(stream_id).count("stream_stopped") > 0

    await eventually(is_told, STOPPED_WITHIN)
    stops = [
        one for one in editor.events if one.body["stream_id"] == stream_id and one.type == "stream_stopped"
    ]
    assert len(stops) == 1
    assert all(one.data["metadata"]["provider_profile_id"] == "4" for one in stops)


async def test_who_leaves_a_live_stream_is_in_no_count(
    daemon: Daemon, origin: Origin, editor: Editor
) -> None:
    """Trap 3, on every route; traps 4 and 44: two devices in one house, one leaves and the other stays."""
    stream_id = await add(editor, origin.url("/live.ts"))
    path = f"/stream/{stream_id}?username=bob"
    one = await Device.plays(daemon, path)
    two = await Device.plays(daemon, path)
    assert one.client_id != two.client_id
    assert await seen(editor) == {(1, 2)}
    await one.leaves()
    await says(editor, 1, 1, within=AT_ONCE)
    await two.goes_on()
    again = await Device.plays(daemon, path)
    assert again.client_id == one.client_id, "the same device is the same client"
    assert await seen(editor) == {(1, 2)}
    await two.leaves()
    await again.leaves()
    await says(editor, 0, 0, within=AT_ONCE)
    await told_over(editor, stream_id)
    assert sorted(clients(editor, stream_id, "client_connected")) == sorted(
        [one.client_id] * 2 + [two.client_id]
    )


async def test_the_pop_out_of_the_player_has_a_client_of_its_own(
    daemon: Daemon, origin: Origin, editor: Editor
) -> None:
    """Trap 44: it comes with the same ``client_id``, and closing the first one does not end it."""
    stream_id = await add(editor, origin.url("/live.ts"))
    path = f"/stream/{stream_id}?client_id=app-7"
    player = await Device.plays(daemon, path)
    popped_out = await Device.plays(daemon, path)
    assert player.client_id == "app-7"
    assert popped_out.client_id.startswith("app-7_")
    close = "/streams/by-metadata?field=channel_id&value=1&force=false&client_id=app-7"
    answer = await editor.call("DELETE", close)
    assert (answer["deleted_count"], answer["skipped_streams"][0]["active_clients"]) == (0, 1)
    assert await seen(editor) == {(1, 1)}
    await popped_out.goes_on()
    await player.leaves()
    await popped_out.leaves()
    await says(editor, 0, 0, within=AT_ONCE)


async def test_a_viewer_of_hls_is_gone_at_its_time(
    daemon: Daemon, provider: HlsOrigin, media: HlsMedia, editor: Editor, http: aiohttp.ClientSession
) -> None:
    """Traps 3 and 45; a player that loads the page anew is the viewer that it was."""
    news = provider.add(single("news", media.high))
    provider.play("news", 2.0)
    stream_id = await add(editor, provider.url(news.path()))
    for _ in range(2):
        viewer = HlsViewer(http, f"{daemon.url}/hls/{stream_id}/playlist.m3u8?client_id=app-7")
        await viewer.watch(1.0, poll=0.2)
        assert not viewer.errors
        assert viewer.segments
    assert await seen(editor) == {(1, 1)}
    patience = max(TTL, 3 * media.high.durations[0])
    took = await says(editor, 0, 0, within=patience + 1.0)
    assert took > patience - 1.5
    await told_over(editor, stream_id)
    assert clients(editor, stream_id, "client_connected") == ["app-7"]
    assert clients(editor, stream_id, "client_disconnected") == ["app-7"]


@pytest.mark.parametrize("query", ["?client_id=app-7", "?username=bob"])
@pytest.mark.parametrize("opens_first", [False, True])
async def test_a_seek_is_no_new_viewer(
    daemon: Daemon, origin: Origin, editor: Editor, query: str, opens_first: bool
) -> None:
    """Two devices watch one film; each seek of one is still that one, and its run is one run."""
    film = mp4(SIZE)
    origin.on(FILM, a_file(film, drip=SIZE))
    stream_id = await add(editor, origin.url(FILM))
    path = f"/stream/{stream_id}{query}"
    place = await Device.plays(daemon, path)
    for offset in (1_000_000, 2_000_000, 3_000_000):
        if not opens_first:
            await place.leaves()
        after = await Device.plays(daemon, path, f"Range: bytes={offset}-", status=206)
        if opens_first:
            assert await seen(editor) == {(1, 1)}, "not even while both places are open"
            await place.leaves()
        place = after
        await says(editor, 1, 1, within=AT_ONCE)
    await place.leaves()
    await says(editor, 0, 0, within=AT_ONCE)
    await told_over(editor, stream_id)
    assert editor.of(stream_id).count("stream_started") == 1
    here = clients(editor, stream_id, "client_connected")
    assert set(here) == {place.client_id}
    assert len(here) == 1 or not opens_first, "who leaves first may be gone, and come back"
    assert clients(editor, stream_id, "client_disconnected") == here


async def test_another_device_that_begins_later_in_a_film_is_a_viewer(
    daemon: Daemon, origin: Origin, editor: Editor
) -> None:
    """Trap 44: who has left nothing has not moved; neither ends the other."""
    origin.on(FILM, a_file(mp4(SIZE), drip=SIZE // 20))
    stream_id = await add(editor, origin.url(FILM))
    one = await Device.plays(daemon, f"/stream/{stream_id}")
    two = await Device.plays(daemon, f"/stream/{stream_id}", "Range: bytes=1000000-", status=206)
    await says(editor, 1, 2, within=20.0)
    await until(lambda: len(clients(editor, stream_id, "client_connected")) == 2)
    told = clients(editor, stream_id, "client_connected")
    assert told[0] == one.client_id
    assert told[1].startswith(f"{one.client_id}_")
    await one.leaves()
    await says(editor, 1, 1, within=AT_ONCE)
    await two.goes_on(188)
    await editor.call("DELETE", f"/streams/{stream_id}")
    await says(editor, 0, 0, within=AT_ONCE)
    await two.leaves()


async def test_a_run_ends_under_the_metadata_under_which_it_began(
    daemon: Daemon, origin: Origin, editor: Editor
) -> None:
    """Trap 4: the slot of the old login is freed when the same channel is asked for on another one."""
    url = origin.url("/live.ts")
    stream_id = await add(editor, url)
    await (await Device.plays(daemon, f"/stream/{stream_id}")).leaves()
    await says(editor, 0, 0, within=AT_ONCE)
    said = {"id": "1", "channel_id": "1", "playlist_uuid": "pl", "provider_profile_id": "5"}
    await editor.call("POST", "/streams", {"url": url, "metadata": said})
    await (await Device.plays(daemon, f"/stream/{stream_id}")).leaves()

    def slots(what: str) -> list[str]:
        return [
            one.data["metadata"]["provider_profile_id"]
            for one in editor.events
            if one.body["stream_id"] == stream_id and one.type == what
        ]

    async def both_are_over() -> bool:
        return len(slots("stream_stopped")) == 2

    await eventually(both_are_over, within=20.0)
    assert slots("stream_started") == slots("stream_stopped") == ["4", "5"]


@pytest.mark.parametrize("route", ["one", "by-metadata", "oldest-by-metadata"])
async def test_a_delete_is_true_when_it_is_answered(
    daemon: Daemon, origin: Origin, editor: Editor, route: str
) -> None:
    """Trap 2: the provider's socket is closed, the client gone and every count down with the answer."""
    origin.on("/other.ts", Answer(ts=True))
    ids = [await add(editor, origin.url("/live.ts"), "1"), await add(editor, origin.url("/other.ts"), "2")]
    devices = [await Device.plays(daemon, f"/stream/{one}") for one in ids]
    query = "?field=channel_id&value=1"
    target = f"/streams/{ids[0]}" if route == "one" else f"/streams/{route}{query}"
    await editor.call("DELETE", target)
    assert origin.path("/live.ts").live == 0
    assert await seen(editor) == {(1, 1)}
    await devices[1].goes_on()
    await told_over(editor, ids[0])
    assert editor.of(ids[1]).count("stream_stopped") == 0
    for one in devices:
        await one.leaves()


async def test_a_source_that_is_lost_for_good_is_told_once(
    daemon: Daemon, origin: Origin, editor: Editor
) -> None:
    """Trap 4: also a run that fails in its middle frees its slot, once."""
    origin.on("/lost.ts", Answer(ts=True, rst=500_000), Answer(status=404))
    stream_id = await add(editor, origin.url("/lost.ts"))
    device = await Device.plays(daemon, f"/stream/{stream_id}")
    async with asyncio.timeout(20):
        await device.reader.read()  # to its end
    await says(editor, 0, 0, within=AT_ONCE)
    await told_over(editor, stream_id)
    assert editor.of(stream_id)[-2:] == ["client_disconnected", "stream_stopped"]
    await device.leaves()
    await editor.call("DELETE", f"/streams/{stream_id}")
    assert editor.of(stream_id).count("stream_stopped") == 1
