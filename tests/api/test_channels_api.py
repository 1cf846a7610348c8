"""``/api/v1/channels``, ``/playlist.m3u`` and ``/xmltv``: requests and answers, word for word."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientError

from m3u_proxy.model import plain_id
from tests.support.daemon import Daemon
from tests.support.inv import eventually
from tests.support.origin import Answer, Origin
from tests.support.rawhttp import ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")

M3U = {"Content-Type": "audio/x-mpegurl"}
A, B, C = "http://p.example/live/u/CANARY/1.ts", "http://p.example/2.m3u8", "http://p.example/movie/3.mp4"
LINEUP = f"""#EXTM3U url-tvg="http://g.example/CANARY.xml.gz"
#EXTINF:-1 tvg-id="a.uk" tvg-logo="http://l.example/1.png" group-title="UK;News" x-my="1",&pictures
{A}|User-Agent=Kodi%2F1
#EXTINF:-1,No address
#EXTINF:-1 tvg-chno="7" group-title="Sport",7x Music, "live"
{B}
#EXTINF:-1,Film
{C}
"""
NOTHING = "#EXTM3U\n#EXTINF:-1,Nothing\nhttp://p.example/\n"
START = "http://127.0.0.1:{port}/m3u-proxy"


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def _none_are_left(daemon: Daemon) -> AsyncIterator[None]:
    """Neither of tests of another module, nor for them."""
    await empty(daemon)
    yield
    await empty(daemon)


async def empty(daemon: Daemon) -> None:
    await take(daemon, NOTHING)
    await send(daemon, "DELETE", "/api/v1/channels/nothing")


async def send(daemon: Daemon, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with daemon.http.request(method, path, **more) as response:
        return response.status, await response.json()


async def take(daemon: Daemon, text: str = LINEUP, mode: str = "replace") -> Any:
    path = f"/api/v1/channels/import?mode={mode}"
    status, answer = await send(daemon, "POST", path, data=text.encode(), headers=M3U)
    assert status == 200, answer
    return answer


async def text_of(daemon: Daemon, path: str, **headers: str) -> str:
    async with daemon.http.get(path, headers=headers) as response:
        assert response.status == 200
        return await response.text()


async def test_a_lineup_comes_in_and_goes_out(daemon: Daemon) -> None:
    assert await take(daemon) == {
        "imported": 3,
        "updated": 0,
        "removed": 0,
        "skipped": [{"line": 4, "reason": "no address follows"}],
        "skipped_total": 1,
    }
    base = START.format(port=daemon.port)
    assert await text_of(daemon, "/playlist.m3u") == (
        f'#EXTM3U url-tvg="{base}/xmltv" x-tvg-url="{base}/xmltv"\n'
        '#EXTINF:-1 tvg-id="a.uk" tvg-logo="http://l.example/1.png" group-title="UK;News" x-my="1"'
        ",&pictures\n"
        f"{base}/stream/{plain_id(A)}\n"
        '#EXTINF:-1 tvg-chno="7" group-title="Sport",7x Music, "live"\n'
        f"{base}/hls/{plain_id(B)}/playlist.m3u8\n"
        "#EXTINF:-1,Film\n"
        f"{base}/stream/{plain_id(C)}\n"
    )
    hls = await text_of(daemon, "/playlist.m3u?output=hls")
    assert hls.splitlines()[2::2] == [
        f"{base}/hls_streams/{key}/master.m3u8" for key in ("and_pictures", "7x_music_live", "film")
    ]
    assert await text_of(daemon, "/api/v1/channels/static-hls-m3u") == hls


async def test_what_players_and_caches_are_told(daemon: Daemon) -> None:
    for path in ("/playlist.m3u", "/api/v1/channels/static-hls-m3u"):
        for method in ("GET", "HEAD"):
            reply = await ask(daemon.port, head(path, "Origin: https://x.example", method=method))
            assert reply.headers["content-type"] == "audio/x-mpegurl; charset=utf-8"
            assert reply.headers["cache-control"] == "no-cache, no-store, must-revalidate"
            assert reply.headers["access-control-allow-origin"] == "*"
            assert (reply.body == b"") == (method == "HEAD")


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("group=news", ["and_pictures"]),
        ("group=UK%3BNews", ["and_pictures"]),
        ("search=MUSIC", ["7x_music_live"]),
        ("search=m&group=sport", ["7x_music_live"]),
        ("search=nowhere", []),
    ],
)
async def test_some_of_a_lineup(daemon: Daemon, query: str, keys: list[str]) -> None:
    await take(daemon)
    found = await daemon.get(f"/api/v1/channels?{query}")
    assert ([row["key"] for row in found["channels"]], found["total"]) == (keys, len(keys))
    lines = (await text_of(daemon, f"/playlist.m3u?output=hls&{query}")).splitlines()
    assert [line.split("/")[-2] for line in lines[2::2]] == keys


async def test_pages_of_the_list(daemon: Daemon) -> None:
    await take(daemon)
    found = await daemon.get("/api/v1/channels?limit=1&offset=1")
    assert ([row["key"] for row in found["channels"]], found["total"]) == (["7x_music_live"], 3)
    assert await daemon.get("/api/v1/channels?limit=0") == {"channels": [], "total": 3}
    assert (await send(daemon, "GET", "/api/v1/channels?limit=-1"))[0] == 422


async def test_what_kodi_appends_becomes_headers(daemon: Daemon) -> None:
    body = {
        "name": "K",
        "url": f"{B}|User-Agent=Kodi%2F20&referer=http%3A%2F%2Fr.example",
        "headers": {"X-One": "1"},
    }
    _, shown = await send(daemon, "POST", "/api/v1/channels", json=body)
    assert (shown["url"], shown["stream_id"]) == (B, plain_id(B))
    assert shown["headers"] == {"User-Agent": "Kodi/20", "Referer": "http://r.example", "X-One": "1"}
    _, same = await send(daemon, "PUT", "/api/v1/channels/k", json={"name": "K", "url": f"{B}?a|b"})
    assert same["url"] == f"{B}?a|b"  # a signature, for instance


async def test_a_channel_is_made_shown_changed_and_deleted(daemon: Daemon) -> None:
    body = {
        "name": "&pictures",
        "url": A,
        "failover_urls": [B],
        "tvg_id": "a.uk",
        "number": 7.1,
        "attributes": {"x-my": "1"},
        "headers": {"X-One": "1"},
    }
    shown = {
        **body,
        "key": "and_pictures",
        "tvg_name": None,
        "logo": None,
        "group": None,
        "attributes": {"x-my": "1", "tvg-id": "a.uk", "tvg-chno": "7.1"},
        "stream_id": plain_id(A),
        "enabled": True,
    }
    assert await send(daemon, "POST", "/api/v1/channels", json=body) == (201, shown)
    path = "/api/v1/channels/and_pictures"
    assert await send(daemon, "GET", path) == (200, shown)
    assert await send(daemon, "PUT", path, json=shown) == (200, shown)
    changed = {**shown, "enabled": False, "group": "G"}
    changed["attributes"] = {**shown["attributes"], "group-title": "G"}  # type: ignore[dict-item]
    assert await send(daemon, "PUT", path, json={**shown, "enabled": False, "group": "G"}) == (200, changed)
    assert "pictures" not in await text_of(daemon, "/playlist.m3u")
    assert (await send(daemon, "POST", "/api/v1/channels", json=body))[1]["key"] == "and_pictures_2"
    assert (await send(daemon, "POST", "/api/v1/channels", json={**body, "key": "and_pictures"}))[0] == 409
    assert (await send(daemon, "DELETE", path))[0] == 200
    missing = {"detail": "Channel not found", "nearest": ["and_pictures_2"]}
    for method in ("GET", "PUT", "DELETE"):
        assert await send(daemon, method, path, json=body) == (404, missing)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "a\nb"},
        {"url": "rtmp://x/"},
        {"failover_urls": ["nothing"]},
        {"key": "No Slug"},
        {"attributes": {"Bad Name": "x"}},
        {"attributes": {"a": "b\nc"}},
        {"headers": {"a b": "x"}},
        {"number": -1},
        {"url": None},
    ],
)
async def test_what_makes_no_channel(daemon: Daemon, wrong: dict[str, Any]) -> None:
    status, answer = await send(daemon, "POST", "/api/v1/channels", json={"name": "N", "url": A, **wrong})
    assert status == 422
    assert answer["detail"][0]["loc"][0] == "body"
    assert (await daemon.get("/api/v1/channels"))["total"] == 0


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("<!doctype html><title>Login</title>", "It is a web page (line 1)"),
        ("", "It is empty (line 1)"),
        ("#EXTM3U\n#EXTINF:-1,A\n", "No channel in it can be used; line 2: no address follows"),
        ("#EXTM3U\n", "There is no channel in it"),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:6\n", "It is the HLS playlist of one stream (line 2)"),
        (f"#EXTM3U\n{A}\n\n#EXT-X-STREAM-INF:\n", "It is the HLS playlist of one stream (line 4)"),
    ],
)
async def test_a_failed_import_leaves_the_old_lineup(daemon: Daemon, text: str, detail: str) -> None:
    await take(daemon)
    before = await daemon.get("/api/v1/channels")
    path = "/api/v1/channels/import"
    assert await send(daemon, "POST", path, data=text.encode(), headers=M3U) == (422, {"detail": detail})
    assert await daemon.get("/api/v1/channels") == before


async def test_an_import_that_breaks_off_leaves_the_old_lineup(daemon: Daemon) -> None:
    await take(daemon)
    fields = (f"Content-Type: {M3U['Content-Type']}", "Content-Length: 1000")
    _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(head("/api/v1/channels/import", *fields, method="POST") + f"#EXTM3U\n{B}\n{C}".encode())
    await writer.drain()
    for _ in range(3):  # it waits for the rest
        assert (await daemon.get("/api/v1/channels"))["total"] == 3
    status, _ = await send(daemon, "POST", "/api/v1/channels/import", data=LINEUP.encode(), headers=M3U)
    assert status == 503
    writer.close()
    await writer.wait_closed()

    async def is_free() -> bool:
        path = "/api/v1/channels/import?mode=merge"
        return (await send(daemon, "POST", path, data=LINEUP.encode(), headers=M3U))[0] == 200

    await eventually(is_free, within=5)
    assert (await daemon.get("/api/v1/channels"))["total"] == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 200),
        ({"Content-Type": "application/vnd.apple.mpegurl; charset=utf-8"}, 200),
        ({"Content-Type": "text/plain", "Origin": "https://evil.example"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({**M3U, "Content-Encoding": "br"}, 415),
    ],
)
async def test_types_of_a_lineup(daemon: Daemon, headers: dict[str, str], status: int) -> None:
    async with daemon.http.post("/api/v1/channels/import", data=LINEUP.encode(), headers=headers) as response:
        assert response.status == status


async def test_replace_and_merge(daemon: Daemon) -> None:
    await take(daemon)
    answer = await take(daemon, f"#EXTM3U\n#EXTINF:-1,Film\n{A}\n#EXTINF:-1,New\n{B}\n", "merge")
    assert (answer["imported"], answer["updated"], answer["removed"]) == (2, 1, 0)
    rows = (await daemon.get("/api/v1/channels"))["channels"]
    assert [row["key"] for row in rows] == ["and_pictures", "7x_music_live", "film", "new"]
    assert rows[2]["url"] == A
    answer = await take(daemon, f"#EXTM3U\n#EXTINF:-1,New\n{B}\n")
    assert (answer["imported"], answer["updated"], answer["removed"]) == (1, 0, 3)


async def test_a_lineup_is_fetched(daemon: Daemon, origin: Origin) -> None:
    origin.on("/get.php", Answer(body=LINEUP.encode(), headers={"Content-Type": "text/html"}))
    url = origin.url("/get.php?username=u&password=p")
    status, answer = await send(daemon, "POST", "/api/v1/channels/import", json={"url": url})
    assert (status, answer["imported"]) == (200, 3)
    status, answer = await send(daemon, "POST", "/api/v1/channels/import", json={"url": origin.url("/no")})
    assert status in (404, 502)
    assert (await daemon.get("/api/v1/channels"))["total"] == 3
    status, answer = await send(daemon, "POST", "/api/v1/channels/import", json={"url": "ftp://x/"})
    assert (status, answer["detail"][0]["loc"]) == (422, ["body", "url"])


async def test_a_stream_is_made_when_a_channel_is_opened(daemon: Daemon, origin: Origin) -> None:
    url = origin.url("/live.ts")
    await take(daemon, f"#EXTM3U\n#EXTINF:-1,Live\n{url}|X-One=1\n")
    path = f"/stream/{plain_id(url)}"
    async with daemon.http.head(path) as response:
        assert response.status == 200
    rows = (await daemon.get("/streams"))["streams"]
    assert plain_id(url) not in [row["stream_id"] for row in rows]
    assert not origin.path("/live.ts").connections
    async with daemon.http.get(path) as response:
        await response.content.readexactly(188)
        rows = (await daemon.get("/streams"))["streams"]
        (row,) = [row for row in rows if row["stream_id"] == plain_id(url)]
        assert row["metadata"] == {"type": "channel", "channel_key": "live", "name": "Live"}
        async with daemon.http.delete("/api/v1/channels/live") as deleted:
            assert deleted.status == 200
        assert [row["stream_id"] for row in (await daemon.get("/streams"))["streams"]] == [
            one["stream_id"] for one in rows if one is not row
        ]
    assert origin.path("/live.ts").connections[0].headers["x-one"] == "1"
    async with daemon.http.get(path) as response:
        assert response.status == 404


async def test_a_disabled_channel_cannot_be_opened(daemon: Daemon, origin: Origin) -> None:
    body = {"name": "Off", "url": origin.url("/live.ts?off"), "enabled": False}
    _, shown = await send(daemon, "POST", "/api/v1/channels", json=body)
    async with daemon.http.get(f"/stream/{shown['stream_id']}") as response:
        assert response.status == 404


async def test_disabled_or_taken_from_the_lineup_its_viewers_are_cut(daemon: Daemon, origin: Origin) -> None:
    for end in ("disabled", "removed"):
        url = origin.url(f"/live.ts?{end}")
        await take(daemon, f"#EXTM3U\n#EXTINF:-1,{end}\n{url}\n")
        path = f"/stream/{plain_id(url)}"
        async with daemon.http.get(path) as response:
            await response.content.readexactly(188)
            if end == "disabled":
                body = {"name": end, "url": url, "enabled": False}
                await send(daemon, "PUT", "/api/v1/channels/disabled", json=body)
            else:
                await take(daemon, f"#EXTM3U\n#EXTINF:-1,Other\n{A}\n")
            with suppress(ClientError):  # cut in the middle of a chunk
                await asyncio.wait_for(response.content.read(), 20)
        async with daemon.http.get(path) as response:
            assert response.status == 404
        assert plain_id(url) not in [row["stream_id"] for row in (await daemon.get("/streams"))["streams"]]


async def test_what_an_editor_has_made_of_the_same_url_stays(daemon: Daemon, origin: Origin) -> None:
    url = origin.url("/live.ts?editor")
    _, made = await send(daemon, "POST", "/streams", json={"url": url, "metadata": {"who": "editor"}})
    _, shown = await send(daemon, "POST", "/api/v1/channels", json={"name": "Same", "url": url})
    assert shown["stream_id"] == made["stream_id"]
    body = {"name": "Same", "url": url, "enabled": False}
    for method, sent in (("PUT", body), ("DELETE", None)):
        await send(daemon, method, "/api/v1/channels/same", json=sent)
        rows = (await daemon.get("/streams"))["streams"]
        assert [row["metadata"] for row in rows if row["stream_id"] == made["stream_id"]] == [
            {"who": "editor"}
        ]


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        (("Host: tv.example:8085",), "http://tv.example:8085"),
        (("Host: tv.example", "X-Forwarded-Proto: https"), "https://tv.example"),
        (
            ("Host: in", "X-Forwarded-Host: tv.example, in", "X-Forwarded-Port: 8443"),
            "http://tv.example:8443",
        ),
        (("Host: tv.example", "X-Forwarded-Port: 80"), "http://tv.example"),
        (("Host: tv.example:443", "X-Forwarded-Proto: https"), "https://tv.example"),
        (("Host: [2001:db8::1]:81",), "http://[2001:db8::1]:81"),
        (("Host: tv.example", 'X-Forwarded-Host: a b"<', "X-Forwarded-Port: x"), "http://tv.example"),
        (("Host: tv.example", "X-Forwarded-Proto: javascript"), "http://tv.example"),
    ],
)
async def test_our_address_is_the_one_that_a_browser_sees(
    daemon: Daemon, headers: tuple[str, ...], base: str
) -> None:
    await take(daemon)
    fields = "".join(f"{one}\r\n" for one in headers)
    raw = f"GET /playlist.m3u HTTP/1.1\r\n{fields}Connection: close\r\n\r\n".encode()
    reply = await ask(daemon.port, raw)
    assert f"\n{base}/m3u-proxy/stream/{plain_id(A)}\n".encode() in reply.raw


async def test_the_guide(daemon: Daemon, origin: Origin) -> None:
    await take(daemon, f"#EXTM3U\n{A}\n")
    async with daemon.http.get("/xmltv") as response:
        assert (response.status, await response.json()) == (404, {"detail": "The lineup names no guide"})
    body = gzip.compress(b"<tv>" + b"x" * 10_000 + b"</tv>")
    origin.on("/epg.xml.gz", Answer(body=body, headers={"Content-Type": "application/octet-stream"}))
    await take(daemon, f'#EXTM3U x-tvg-url="{origin.url("/epg.xml.gz")},http://other.example/"\n{A}\n')
    async with daemon.http.head("/xmltv") as response:
        assert response.status == 200
    assert not origin.path("/epg.xml.gz").connections
    for _ in range(2):
        async with daemon.http.get("/xmltv") as response:
            assert (response.status, response.content_type) == (200, "application/gzip")
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert await response.read() == body
    assert len(origin.path("/epg.xml.gz").connections) == 1
    await take(daemon, f'#EXTM3U url-tvg="{origin.url("/none.xml")}"\n{A}\n')
    async with daemon.http.get("/xmltv") as response:
        assert response.status in (404, 502)


async def test_settings_of_lineups(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path
) -> None:
    file = tmp_path / "lineup.m3u"
    file.write_text(f"#EXTM3U\n#EXTINF:-1,A\n{A}\n#EXTINF:-1,a\n{B}\n#EXTINF:-1,C\n{C}\n")
    settings = {"CHANNELS_M3U": str(file), "CHANNELS_FOLD": "name", "PUBLIC_URL": "https://tv.example/x"}
    async with launch(tmp_path / "home", **settings) as daemon:

        async def total(number: int) -> bool:
            return bool((await daemon.get("/api/v1/channels"))["total"] == number)

        await eventually(lambda: total(2), within=10)
        (first, _) = (await daemon.get("/api/v1/channels"))["channels"]
        assert (first["url"], first["failover_urls"]) == (A, [B])
        assert f"\nhttps://tv.example/x/stream/{plain_id(A)}\n" in await text_of(daemon, "/playlist.m3u")
        await send(daemon, "POST", "/api/v1/channels", json={"name": "By hand", "url": A})
        file.write_text("<html>")
        await eventually(lambda: _said(daemon, "It is a web page (line 1)"), within=10)
        assert await total(3)
        file.write_text(f"#EXTM3U\n#EXTINF:-1,C\n{C}\n")
        await eventually(lambda: total(2), within=10)
        keys = [row["key"] for row in (await daemon.get("/api/v1/channels"))["channels"]]
        assert keys == ["c", "by_hand"]
    file.unlink()
    async with launch(tmp_path / "home", **settings) as daemon:
        await eventually(lambda: _said(daemon, "No such file"), within=10)
        rows = (await daemon.get("/api/v1/channels"))["channels"]
        assert [row["key"] for row in rows] == ["c", "by_hand"]
        assert sum("is not taken" in line for line in daemon.log) == 1


async def _said(daemon: Daemon, text: str) -> bool:
    return any(text in line for line in daemon.log)


async def test_credentials_stay_here(daemon: Daemon) -> None:
    await take(daemon)
    for path in ("/playlist.m3u", "/playlist.m3u?output=hls"):
        assert "CANARY" not in await text_of(daemon, path)
    assert not [line for line in daemon.log if "CANARY" in line]


async def test_the_lineup_needs_no_token_and_editing_does(guarded: Daemon, token: str) -> None:
    async with guarded.http.get("/playlist.m3u") as response:
        assert response.status == 200
    async with guarded.http.post("/api/v1/channels/import", data=LINEUP.encode(), headers=M3U) as response:
        assert response.status == 401
    headers = {**M3U, "X-API-Token": token}
    for text, number in ((LINEUP, 3), (NOTHING, 1)):
        path = "/api/v1/channels/import"
        async with guarded.http.post(path, data=text.encode(), headers=headers) as response:
            assert (await response.json())["imported"] == number
    async with guarded.http.delete("/api/v1/channels/nothing", headers=headers) as response:
        assert response.status == 200
