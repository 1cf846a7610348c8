"""``/hls_streams``: what players are given, and that nothing else is there."""

from __future__ import annotations

from urllib.parse import quote

import pytest
import pytest_asyncio

from m3u_proxy.lineup.windows import window_id
from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin
from tests.support.windows import add_channel, address, listed, number_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

PREFIX = "/m3u-proxy"
NO_STORE = "no-cache, no-store, must-revalidate"


@pytest_asyncio.fixture(loop_scope="session")
async def key(daemon: Daemon, origin: Origin) -> str:
    """Of a channel that plays; one for the whole module."""
    url = origin.url("/live.ts?windows")
    known = (await daemon.get("/api/v1/channels"))["channels"]
    found = [row["key"] for row in known if row["url"] == url]
    return str(found[0]) if found else await add_channel(daemon, "&pictures", url)


async def test_head_starts_nothing_and_counts_nobody(daemon: Daemon, key: str) -> None:
    assert key == "and_pictures"
    for path in (address(key), PREFIX + address(key)):
        async with daemon.http.head(path) as response:
            assert response.status == 200
            assert response.content_type == "application/vnd.apple.mpegurl"
    for what in ("start-stream", "stop-stream"):
        async with daemon.http.head(f"/api/v1/channels/{what}/{key}") as response:
            assert response.status == 200
    assert (await daemon.get(f"/api/v1/channels/stream-status/{key}"))["process_status"] == "stopped"
    assert (await daemon.get("/api/v1/channels/streams-status")) == {"streams": [], "total": 0}


async def test_the_playlist_and_its_segments(daemon: Daemon, key: str) -> None:
    path = PREFIX + address(key)
    async with daemon.http.get(f"{path}?client_id=me&username=you", headers={"Origin": "http://x"}) as got:
        text = await got.text()
        assert got.status == 200, text
        assert got.content_type == "application/vnd.apple.mpegurl"
        assert got.headers["Cache-Control"] == NO_STORE
        assert got.headers["Access-Control-Allow-Origin"] == "*"
    names = listed(text)
    assert names
    assert [number_of(name) for name in names] == list(range(len(names)))
    assert "#EXT-X-STREAM-INF" not in text
    folder = path.rpartition("/")[0]
    async with daemon.http.get(f"{folder}/{names[0]}", headers={"Origin": "http://x"}) as got:
        body = await got.read()
        assert got.status == 200
        assert got.content_type == "video/mp2t"
        assert got.headers["Access-Control-Allow-Origin"] == "*"
        assert body[0] == 0x47
    async with daemon.http.head(f"{folder}/{names[0]}") as headed:
        assert (headed.status, headed.content_length) == (200, len(body))
    async with daemon.http.get(f"{folder}/{names[0]}", headers={"Range": "bytes=188-375"}) as part:
        assert part.status == 206
        assert await part.read() == body[188:376]
    clients = (await daemon.get("/clients"))["clients"]
    ours = [row for row in clients if row["bytes_served"] >= len(body)]
    assert len(ours) == 1, "a playlist and its segments make one client, whatever the query says"
    async with daemon.http.post(f"/api/v1/channels/stop-stream/{key}") as response:
        assert response.status == 200
    async with daemon.http.get(f"{folder}/{names[0]}") as got:
        assert got.status == 404


@pytest.mark.parametrize(
    "name",
    [
        *("index.m3u8", ".m3u_proxy", "segment_0.ts", "segment_20260501_235959_01.ts"),
        *("segment_20260501_235959_001.ts.tmp", "segment_20260501_235959_001.mp4", "..%2Findex.m3u8"),
        *("segment_٢0260501_235959_001.ts", "segment_20260501_235959_001.ts%00", "live.m3u8"),
    ],
)
async def test_no_other_name_is_there(daemon: Daemon, key: str, name: str) -> None:
    for method in ("GET", "HEAD"):
        async with daemon.http.request(method, f"/hls_streams/{key}/{quote(name, safe='%')}") as response:
            assert response.status == 404


async def test_an_unknown_channel_is_told_with_the_nearest(daemon: Daemon, key: str) -> None:
    wrong = f"{key}x"
    for path in (
        address(wrong),
        f"/hls_streams/{wrong}/segment_20260501_235959_001.ts",
        *(f"/api/v1/channels/{what}/{wrong}" for what in ("start-stream", "stop-stream", "stream-status")),
    ):
        async with daemon.http.get(path) as response:
            answer = await response.json()
            assert (response.status, answer["detail"]) == (404, "Channel not found"), path
            assert key in answer["nearest"]


async def test_one_that_is_disabled_is_not_opened(daemon: Daemon, origin: Origin) -> None:
    key = await add_channel(daemon, "Closed", origin.url("/live.ts?closed"), enabled=False)
    async with daemon.http.get(address(key)) as response:
        assert response.status == 404


async def test_a_channel_that_is_made_anew_at_once_plays_its_new_source(
    daemon: Daemon, origin: Origin
) -> None:
    """Deleted and added again before anybody has looked: its window is that of the new one."""
    origin.on("/new.ts", Answer(ts=True))
    key = await add_channel(daemon, "Twice made", origin.url("/live.ts?old"))
    async with daemon.http.get(address(key)) as response:
        assert response.status == 200
    async with daemon.http.delete(f"/api/v1/channels/{key}") as response:
        assert response.status == 200
    assert await add_channel(daemon, "Twice made", origin.url("/new.ts")) == key

    stream_id = window_id(key)

    async def is_left() -> bool:
        clients = (await daemon.get("/clients"))["clients"]
        return stream_id not in [row["stream_id"] for row in clients]

    await eventually(is_left, within=15, every=0.2)
    async with daemon.http.get(address(key)) as response:
        assert response.status == 200, await response.text()
    assert len(origin.path("/new.ts").connections) == 1
    async with daemon.http.delete(f"/api/v1/channels/{key}") as response:
        assert response.status == 200
