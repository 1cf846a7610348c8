"""``?url=`` and ``?parent=``: with the token, for players; a segment only where a playlist lists it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import md5
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.hls_bodies import MIME, PREFIX, TS, fetch, fill, made, urls
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

ID = "0" * 32
OPEN = ("/stream/{}", "/hls/{}/playlist.m3u8", "/hls/{}/segment.ts", "/hls/{}/segment")
REFUSED = {
    "": "URL cannot be empty",
    "/etc/passwd": "URL must use HTTP or HTTPS protocol",
    "file:///etc/passwd": "URL must use HTTP or HTTPS protocol",
    "../../etc/passwd": "URL must use HTTP or HTTPS protocol",
    "concat:http://a.example/": "URL must use HTTP or HTTPS protocol",
    "http://": "URL must have a valid domain",
    "http://a.example/\n": "URL must not contain control characters",
}


def id_of(url: str) -> str:
    return md5(url.encode(), usedforsecurity=False).hexdigest()


def query(url: str, **more: str) -> str:
    return "&".join(f"{name}={quote(value, safe='')}" for name, value in {"url": url, **more}.items())


@pytest_asyncio.fixture(loop_scope="session")
async def site(origin: Origin) -> AsyncIterator[Origin]:
    fill(origin)
    yield origin


@pytest.mark.parametrize("path", OPEN)
async def test_trap_18_a_url_needs_the_token_before_anything_is_looked_up(
    guarded: Daemon, token: str, path: str
) -> None:
    target = f"{path.format(ID)}?{query('http://provider.example/a.ts')}"
    for method in ("GET", "HEAD"):
        for more, status in (("", 401), ("&api_token=wrong", 403)):
            await fetch(guarded, target + more, status=status, method=method)
    async with guarded.http.get("/streams", headers={"X-API-Token": token}) as response:
        rows = (await response.json())["streams"]
    assert id_of("http://provider.example/a.ts") not in [row["stream_id"] for row in rows]


@pytest.mark.parametrize("path", OPEN)
@pytest.mark.parametrize("url", REFUSED)
async def test_a45_a_bad_url_is_told(daemon: Daemon, site: Origin, path: str, url: str) -> None:
    stream_id = await made(daemon, site.url("/mixed.m3u8"))
    target = f"{path.format(stream_id)}?{query(url)}"
    async with daemon.http.get(target) as response:
        assert response.status == 400
        assert await response.json() == {"detail": f"Invalid URL provided: {REFUSED[url]}"}


async def test_a_body_by_its_address(daemon: Daemon, site: Origin, sample: bytes) -> None:
    url = site.url("/live.ts?by=hand")
    async with daemon.http.get(f"/stream/{ID}?{query(url, client_id='me')}") as response:
        assert response.status == 200
        assert response.headers["X-Stream-ID"] == id_of(url)
        await response.content.readexactly(188 * 50)
        shown = await daemon.get(f"/streams/{id_of(url)}")
        assert [client["client_id"] for client in shown["clients"]] == ["me"]
        async with daemon.http.get(f"/stream/anything?{query(url)}") as second:
            await second.content.readexactly(188)
        assert site.path("/live.ts").peak == 1
    await daemon.http.delete(f"/streams/{id_of(url)}")


async def test_a_playlist_by_its_address_and_the_redirects(guarded: Daemon, token: str, site: Origin) -> None:
    url = site.url("/film.m3u8?by=hand")
    given = query(url, api_token=token, client_id="a/b", username="bob")
    target = f"/hls/{id_of(url)}/playlist.m3u8?client_id=a/b&username=bob"
    async with guarded.http.get(f"/stream/{ID}?{given}", allow_redirects=False) as response:
        location = response.headers["Location"]
        assert response.status == 302
        assert location == PREFIX + target
    listed = urls((await fetch(guarded, location)).decode())
    assert [one.partition("?")[0] for one in listed] == [f"{PREFIX}/hls/{id_of(url)}/segment.ts"]
    assert "url=" not in listed[0]
    assert await fetch(guarded, listed[0]) == TS
    assert urls((await fetch(guarded, f"/hls/{ID}/playlist.m3u8?{given}")).decode()) == listed


async def test_headers_are_inherited_and_metadata_stays(daemon: Daemon, site: Origin) -> None:
    site.on("/child.m3u8", Answer(status=404))
    parent = await daemon.post(
        "/streams", url=site.url("/parent.m3u8"), headers={"X-Key": "k"}, user_agent="VLC/3.0"
    )
    given = query(site.url("/child.m3u8"), parent=parent["stream_id"])
    await fetch(daemon, f"/hls/{ID}/playlist.m3u8?{given}", status=404)
    asked = site.path("/child.m3u8").requests[0]
    assert (asked["x-key"], asked["user-agent"]) == ("k", "VLC/3.0")
    known = await daemon.post("/streams", url=site.url("/film.m3u8"), metadata={"id": "7"})
    await fetch(daemon, f"/hls/{ID}/playlist.m3u8?{query(site.url('/film.m3u8'))}")
    assert (await daemon.get(f"/streams/{known['stream_id']}"))["stream"]["metadata"] == {"id": "7"}
    given = query(site.url("/child.m3u8"), parent="unknown")
    answer = await fetch(daemon, f"/hls/{ID}/playlist.m3u8?{given}", status=404)
    assert answer == b'{"detail": "Stream not found"}'


async def test_a44_a_segment_only_where_a_playlist_lists_it(daemon: Daemon, site: Origin) -> None:
    stream_id = await made(daemon, site.url("/mixed.m3u8"))
    path = f"/hls/{stream_id}/segment"
    await fetch(daemon, f"{path}?{query(site.url('/d.ts'))}", status=403)  # nothing is listed yet
    await fetch(daemon, f"/hls/{stream_id}/playlist.m3u8")
    for name, (data, content_type) in MIME.items():
        for method in ("GET", "HEAD"):
            async with daemon.http.request(method, f"{path}?{query(site.url('/' + name))}") as response:
                assert response.status == 200, name
                assert response.headers["Content-Type"] == content_type
                assert await response.read() == (data if method == "GET" else b"")
    before = len(site.connections)
    elsewhere = ["/film.m3u8", "/mixed.m3u8", "/d.ts?x=1", "/D.ts", "/secret.ts"]
    for url in [*map(site.url, elsewhere), "http://169.254.169.254/", "http://provider.example/d.ts"]:
        for leaf in ("segment", "segment.ts"):
            for method in ("GET", "HEAD"):
                await fetch(daemon, f"/hls/{stream_id}/{leaf}?{query(url)}", status=403, method=method)
    assert len(site.connections) == before, "nobody is asked"
    await fetch(daemon, f"/hls/{ID}/segment?{query(site.url('/d.ts'))}", status=404)
