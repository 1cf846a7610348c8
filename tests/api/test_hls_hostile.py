"""Playlists of a provider that means harm: refused in bounded time and memory, nothing of it in an answer."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import pytest_asyncio

from tests.support.hls_bodies import PLAYLIST_TYPE, TS, body, ended, live, playlist, segments, urls
from tests.support.hls_scene import CANARY, MIB, WAIT, Scene, bounded, cleared, plain, staged
from tests.support.origin import Answer
from tests.support.rawhttp import ask, head

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stage(sample: bytes, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with staged(tmp_path_factory.mktemp("hostile"), sample) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def scene(stage: Scene) -> AsyncIterator[Scene]:
    yield stage
    await cleared(stage)


LARGE = {
    "length": Answer(body=plain(2 * MIB + 1), length=True),
    "chunked": Answer(body=plain(2 * MIB + 1), chunked=True),
    "endless": Answer(body=plain(12 * MIB)),
    "lines": playlist(live(*["#x"] * 500_000)),
    "announced": Answer(body=plain(1000), headers={"Content-Length": str(2**62)}),
    "line": playlist(live(*segments("a" * (3 * MIB)))),
    "bomb": Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(plain(40 * MIB)), length=True),
    "deflated": Answer(headers={"Content-Encoding": "deflate"}, body=zlib.compress(plain(40 * MIB))),
}


@pytest.mark.parametrize("how", LARGE)
async def test_too_large(scene: Scene, how: str) -> None:
    """A63."""
    answer = replace(LARGE[how], headers={"Content-Type": PLAYLIST_TYPE, **LARGE[how].headers})
    async with bounded(scene):
        status = 503 if how == "announced" else 502
        await scene.get(await scene.open(f"/large-{how}.m3u8", answer), status)
        scene.on(f"/large-{how}-v.m3u8", answer)
        master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlarge-{how}-v.m3u8\n"
        [variant] = urls(await scene.text(f"/master-{how}.m3u8", playlist(master)))
        await scene.get(variant, status)


ENCODED = {
    "broken": ("gzip", gzip.compress(plain(5000))[:40] + b"\xff" * 64),
    "cut": ("gzip", gzip.compress(os.urandom(3000))[:1000]),
    "false": ("gzip", plain(1000)),
    "br": ("br", b"\x0b\x02\x80hello\x03"),
    "nested": ("gzip, gzip", gzip.compress(gzip.compress(plain(1000)))),
    "unknown": ("x\t, identity", plain(1000)),
}


@pytest.mark.parametrize("how", ENCODED)
async def test_encodings_nobody_asked_for(scene: Scene, how: str) -> None:
    """A66."""
    encoding, data = ENCODED[how]
    headers = {"Content-Type": PLAYLIST_TYPE, "Content-Encoding": encoding}
    answer = Answer(headers=headers, body=data, length=True)
    scene.on(f"/encoded-{how}-v.m3u8", answer)
    master = f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nencoded-{how}-v.m3u8\n"
    [variant] = urls(await scene.text(f"/encoded-m-{how}.m3u8", playlist(master)))
    await scene.get(variant, 502)
    await scene.get(await scene.open(f"/encoded-{how}.m3u8", answer), 502)


async def test_an_encoding_we_can_undo(scene: Scene) -> None:
    headers = {"Content-Type": PLAYLIST_TYPE, "Content-Encoding": "gzip"}
    scene.on("/gzip.m3u8", Answer(headers=headers, body=gzip.compress(plain(500)), length=True))
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ngzip.m3u8\n"
    [variant] = urls(await scene.text("/gzip-master.m3u8", playlist(master)))
    assert len(urls((await scene.get(variant, 200)).decode())) == 1
    assert len(urls((await scene.get(await scene.open("/gzip.m3u8"), 200)).decode())) == 1


async def test_more_segments_than_there_may_be(scene: Scene) -> None:
    """A65."""
    async with bounded(scene, seconds=8.0, memory=160 * MIB):
        lines = segments(*(f"{n}.ts" for n in range(20_001)))
        found = urls(await scene.text("/many.m3u8", playlist(live(*lines))))
        assert len(found) <= 20_000
        scene.on("/20000.ts", body(TS))
        assert await scene.get(found[-1], 200) == TS  # the newest are kept


@pytest.mark.parametrize("line", ["#EXT-X-STREAM-INF:BANDWIDTH=1\nv{n}.m3u8", '#EXT-X-DATERANGE:ID="{n}"'])
async def test_many_of_a_kind(scene: Scene, line: str) -> None:
    """A65."""
    lines = "\n".join(line.format(n=n) for n in range(60_000))
    path = await scene.open(f"/kind-{len(line)}.m3u8", playlist(f"#EXTM3U\n{lines}\n"))
    async with bounded(scene, seconds=8.0, memory=160 * MIB), scene.daemon.http.get(path) as response:
        text = await response.text()
        assert response.status in (200, 502)
    assert text.count("\n") <= 40_001
    async with scene.daemon.http.delete(path.rpartition("/")[0].replace("/hls/", "/streams/")) as response:
        assert response.status == 200


CHILDREN = {
    "file:///etc/passwd": 0,
    "data:text/plain,x": 0,
    "javascript:alert(1)": 0,
    "concat:a.ts|b.ts": 0,
    "rtsp://canary.example/x": 0,
    "ftp://canary.example/x": 0,
    "http:///x": 0,
    "http://": 0,
    "http://a b/": 0,
    "http://user@host@canary.example/": 0,
    "http://canary.example:99999/x": 0,
    "\\\\canary.example\\x": 1,
    "a" * 16_300: 1,
    "../../../../../../../../etc/passwd": 1,
    "a%0d%0aX-Evil: 1": 1,
    "%00": 1,
    "?x": 1,
    "a b": 1,
    "//canary.example/x": 1,
    "ü.ts": 1,
    "..": 1,
    "./": 1,
}


@pytest.mark.parametrize("uri", CHILDREN, ids=range(len(CHILDREN)))
async def test_what_a_playlist_may_point_at(scene: Scene, uri: str) -> None:
    """A68, A80."""
    number = list(CHILDREN).index(uri)
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="{uri}"'
    text = await scene.text(f"/child-{number}.m3u8", playlist(ended(*segments(uri, "a.ts"), key)))
    found = [url for url in urls(text) if "hls/" in url]
    assert len(found) >= 1 + CHILDREN[uri]
    assert text.count("#EXTINF") == 2
    assert ("#EXT-X-GAP" in text) == (not CHILDREN[uri])
    for url in found:
        status = (await ask(scene.daemon.port, head(url), within=WAIT + 2)).status
        assert status in (404, 502, 503)


TAGS = """#EXT-X-KEY:METHOD=AES-128,URI="{u}"
#EXT-X-SESSION-KEY:METHOD=AES-128,URI="{u}"
#EXT-X-MAP:URI="{u}"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",URI="{u}"
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="{u}"
#EXT-X-PART:DURATION=1,URI="{u}"
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{u}"
#EXT-X-RENDITION-REPORT:URI="{u}"
#EXT-X-SESSION-DATA:DATA-ID="x",URI="{u}"
#EXT-X-CONTENT-STEERING:SERVER-URI="{u}",PATHWAY-ID="x"
#EXT-X-DATERANGE:ID="x",START-DATE="2026-01-01T00:00:00Z",X-ASSET-URI="{u}",X-ASSET-LIST="{u}"
#EXT-X-DEFINE:NAME="h",VALUE="{u}"
#EXT-X-DEFINE:QUERYPARAM="k"
#EXT-X-UNKNOWN:URI="{u}"
#EXT-X-UNKNOWN:{u}
#EXT-X-KEY:METHOD=AES-128,URI={u}
#EXT-X-KEY:METHOD=AES-128,uri="{u}"
#EXT-X-KEY:METHOD=AES-128,URI="a.key",URI="{u}"
# {u}
#EXTINF:2,{u}
{{$h}}
{{$k}}"""


@pytest.mark.parametrize("number", range(len(TAGS.splitlines())))
async def test_no_tag_carries_an_address(scene: Scene, number: int) -> None:
    """A69, A71."""
    line = TAGS.splitlines()[number]
    secret = scene.url("/secret.ts")
    for variant, target in enumerate((secret, secret.replace("http:", ""), secret.replace("127", "%31%327"))):
        said = line.format(u=target)
        define = TAGS.splitlines()[11].format(u=target)
        texts = [live(define, said, *segments("a.ts"))]
        if "EXTINF" not in said:
            texts.append(f"#EXTM3U\n{said}\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n")
        for text in texts:
            path = f"/tag-{number}-{variant}-{len(text)}.m3u8"
            assert CANARY not in await scene.text(path, playlist(text))
    broken = await scene.open(f"/tag-{number}.m3u8", playlist(line.format(u=secret)))
    async with scene.daemon.http.get(broken, allow_redirects=False) as response:
        assert response.status in (302, 502, 503)
        assert CANARY not in await response.text()


INJECTED = [
    'a.ts"\r#EXT-X-EVIL',
    "a.ts\u2028#EXT-X-EVIL",
    "a.ts\x85#EXT-X-EVIL",
    "a.ts\x00#EXT-X-EVIL",
    "a.ts\x0b#EXT-X-EVIL",
    'a.ts",URI="file:///x',
    "a.ts\ufeff",
]


@pytest.mark.parametrize("number", range(len(INJECTED)))
async def test_no_line_is_gained(scene: Scene, number: int) -> None:
    """A70."""
    evil = INJECTED[number]
    lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="{evil}"', f"#EXTINF:2,{evil}", evil, *segments("b.ts")]
    text = await scene.text(f"/inject-{number}.m3u8", playlist(live(*lines).encode()))
    assert not [line for line in text.splitlines() if line.startswith("#EXT-X-EVIL")]
    assert "file:" not in text
    assert "\x00" not in text


NUMBERS = [
    "#EXTINF:1e400,\na.ts",
    "#EXTINF:-5,\na.ts",
    "#EXTINF:0,\na.ts",
    "#EXTINF:nan,\na.ts",
    f"#EXT-X-MEDIA-SEQUENCE:{2**70}\n#EXTINF:2,\na.ts",
    "#EXT-X-TARGETDURATION:0\n#EXTINF:2,\na.ts",
    f"#EXT-X-TARGETDURATION:{'9' * 5000}\n#EXTINF:2,\na.ts",
    "#EXT-X-TARGETDURATION:-1\n#EXTINF:2,\na.ts",
    f"#EXTINF:2,\n#EXT-X-BYTERANGE:{2**64}@{2**64}\na.ts",
    "#EXTINF:2,\n#EXT-X-BYTERANGE:0@0\na.ts",
    "#EXTINF:2,\n#EXT-X-BYTERANGE:-1@5\na.ts",
    "#EXT-X-STREAM-INF:BANDWIDTH=\nv.m3u8",
]


@pytest.mark.parametrize("number", range(len(NUMBERS)))
async def test_absurd_numbers(scene: Scene, number: int) -> None:
    """A73."""
    path = await scene.open(f"/number-{number}.m3u8", playlist(f"#EXTM3U\n{NUMBERS[number]}\n"))
    async with bounded(scene, seconds=1.5):
        async with scene.daemon.http.get(path) as response:
            text = await response.text()
            assert response.status in (200, 502), text
        for url in (one for one in urls(text) if response.status == 200 and "hls/" in one):
            reply = await ask(scene.daemon.port, head(url, "Range: bytes=0-9"))
            assert reply.status in (404, 502, 503)
    assert scene.count(f"/number-{number}.m3u8") <= 2


async def test_a_target_duration_of_nothing_is_no_reason_to_hurry(scene: Scene) -> None:
    path = await scene.open("/hurry.m3u8", playlist("#EXTM3U\n#EXT-X-TARGETDURATION:0\n#EXTINF:0,\na.ts\n"))
    for _ in range(100):
        await scene.get(path, 200)
    assert scene.count("/hurry.m3u8") <= 3


async def test_variants_that_name_each_other(scene: Scene) -> None:
    scene.on("/b.m3u8", playlist("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8?{k}\n"))
    itself = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb.m3u8\n"
    text = await scene.text("/a.m3u8", playlist(itself))
    for start in urls(text):
        path, status, steps = start, 200, 0
        while status == 200 and steps < 10:
            async with scene.daemon.http.get(path) as response:
                status, said = response.status, await response.text()
            path, steps = (urls(said) or [""])[0], steps + 1
        assert status in (200, 502)
    assert scene.count("/a.m3u8") + scene.count("/b.m3u8") <= 6
