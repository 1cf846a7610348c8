"""Who may be contacted, for every way in which an address reaches a real daemon.

The daemon runs with the table of addresses changed: parts of 127/8 are called public, private and forbidden,
and a name resolves as the test says. What must not be contacted listens, and counts who comes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.daemon import Daemon
from tests.support.hls_bodies import KEY, TS, body, fetch, live, made, playlist, segments, urls
from tests.support.inv import labelled
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

PUBLIC, PRIVATE, FORBIDDEN, LOOPBACK = "127.1.0.1", "127.2.0.1", "127.3.0.1", "127.0.0.1"
TABLE = f"""
import socket
from m3u_proxy.upstream import policy
from m3u_proxy.upstream.policy import AddressClass

policy.DEFAULT_POLICY = policy.DEFAULT_POLICY.overridden({{
    "127.1.0.0/16": AddressClass.PUBLIC,
    "127.2.0.0/16": AddressClass.PRIVATE,
    "127.3.0.0/16": AddressClass.NEVER,
}})
NAMES = {{
    "public.test": ["{PUBLIC}"],
    "private.test": ["{PRIVATE}"],
    "both.test": ["{PRIVATE}", "{PUBLIC}"],
}}
REBINDING = ["{PUBLIC}", "{PRIVATE}"]
real = socket.getaddrinfo

def resolved(host, port, *more, **options):
    found = NAMES.get(host)
    if host == "rebind.test":
        found = [REBINDING.pop(0) if len(REBINDING) > 1 else REBINDING[0]]
    if found is None:
        return real(host, port, *more, **options)
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

socket.getaddrinfo = resolved
"""


@dataclass
class World:
    """A daemon, and a listener in each part of the table; all listeners have one port."""

    daemon: Daemon
    public: Origin
    private: Origin
    forbidden: Origin
    loopback: Origin

    def untouched(self, *origins: Origin) -> bool:
        """Nobody has connected to these, not even to leave again."""
        return not any(origin.connections for origin in origins)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def patched(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Daemon]:
    """A daemon with another table and other names."""
    home = tmp_path_factory.mktemp("table")
    (home / "sitecustomize.py").write_text(TABLE)
    async with launch(home, PYTHONPATH=f"{home}:{Path.cwd()}", HLS_WAIT_TIME="5") as daemon:
        yield daemon


@pytest_asyncio.fixture(loop_scope="session")
async def world(patched: Daemon) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        public = await enter(Origin(host=PUBLIC))
        others = [await enter(Origin(host=host, port=public.port)) for host in (PRIVATE, FORBIDDEN, LOOPBACK)]
        for origin in (public, *others):
            origin.always(body(TS))
            origin.on("/index.m3u8", playlist(live(*segments("a.ts"))))
            origin.on("/one.key", body(KEY))
        yield World(patched, public, *others)


def canaries(world: World, named_by: str) -> list[Origin]:
    """Listeners that content of such an origin must not reach."""
    origins = [world.private, world.loopback, world.forbidden]
    return origins[{"public": 0, "private": 1, "loopback": 2}[named_by] :]


SOURCES = ["public", "private"]


def source_of(world: World, name: str) -> Origin:
    found: Origin = getattr(world, name)
    return found


@pytest.mark.parametrize("named_by", SOURCES)
@pytest.mark.parametrize("what", ["segment", "key", "map", "variant", "rendition"])
async def test_what_a_playlist_may_name(world: World, what: str, named_by: str) -> None:
    """A68."""
    source = source_of(world, named_by)
    for canary in canaries(world, named_by):
        for hop in (False, True):  # named, or where something that was named redirects to
            target = canary.url("/index.m3u8" if what in ("variant", "rendition") else "/x")
            if hop:
                source.on("/hop", Answer(redirect=target))
                target = "/hop"
            lines = {
                "segment": live("#EXTINF:2,", target),
                "key": live(f'#EXT-X-KEY:METHOD=AES-128,URI="{target}"', *segments("a.ts")),
                "map": live(f'#EXT-X-MAP:URI="{target}"', *segments("a.m4s")),
                "variant": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
                "rendition": f'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",URI="{target}"\n'
                '#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO="a"\nindex.m3u8\n',
            }
            path = f"/{what}-{canary.host}-{hop}.m3u8"
            source.on(path, playlist(lines[what]))
            stream_id = await made(world.daemon, source.url(path))
            text = (await fetch(world.daemon, f"/hls/{stream_id}/playlist.m3u8?client_id=a")).decode()
            assert canary.host not in text
            before = (await labelled(world.daemon, "upstream_errors_total")).get("blocked", 0)
            answer = await fetch(world.daemon, urls(text)[0], 502)
            assert canary.host.encode() not in answer
            assert (await labelled(world.daemon, "upstream_errors_total"))["blocked"] == before + 1
    assert world.untouched(*canaries(world, named_by))


@pytest.mark.parametrize("named_by", ["private", "loopback"])
async def test_a_source_that_lies_inside_may_name_what_lies_there(world: World, named_by: str) -> None:
    source = source_of(world, named_by)
    inside = [world.public, world.private, world.loopback][: 2 if named_by == "private" else 3]
    for target in inside:
        lines = [f'#EXT-X-KEY:METHOD=AES-128,URI="{target.url("/one.key")}"', *segments(target.url("/a.ts"))]
        source.on("/inside.m3u8", playlist(live(*lines)))
        source.on("/inside-master.m3u8", playlist("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ninside.m3u8\n"))
        stream_id = await made(world.daemon, source.url(f"/inside-master.m3u8?{target.host}"))
        text = (await fetch(world.daemon, f"/hls/{stream_id}/playlist.m3u8?client_id=a")).decode()
        key, segment = urls((await fetch(world.daemon, urls(text)[0])).decode())
        assert await fetch(world.daemon, key) == KEY
        assert await fetch(world.daemon, segment) == TS
        async with world.daemon.http.delete(f"/streams/{stream_id}") as response:
            assert response.status == 200


@pytest.mark.parametrize("path", ["/index.m3u8", "/live.ts", "/film.mp4"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_where_a_source_may_redirect_to(world: World, path: str, status: int) -> None:
    """A37."""
    for canary in canaries(world, "public"):
        location = canary.url(path)
        world.public.on(path, Answer(status=status, redirect=location))
        stream = await world.daemon.post("/streams", url=world.public.url(f"{path}?{canary.host}&{status}"))
        answer = await fetch(world.daemon, stream["stream_endpoint"], 502)
        assert canary.host.encode() not in answer
    assert world.untouched(*canaries(world, "public"))


async def test_the_class_goes_down_with_each_hop(world: World) -> None:
    """Private, then public, then private again: whoever the public one names, it is the public one's word."""
    world.private.on("/start.m3u8", Answer(redirect=world.public.url("/middle.m3u8")))
    world.public.on("/middle.m3u8", Answer(redirect=world.private.url("/index.m3u8")))
    stream_id = await made(world.daemon, world.private.url("/start.m3u8"))
    await fetch(world.daemon, f"/hls/{stream_id}/playlist.m3u8", 502)
    assert [connection.path for connection in world.private.connections] == ["/start.m3u8"]
    world.public.on("/middle.m3u8", playlist(live("#EXTINF:2,", world.private.url("/a.ts"))))
    other = await made(world.daemon, world.private.url("/start.m3u8?again"))
    text = (await fetch(world.daemon, f"/hls/{other}/playlist.m3u8")).decode()
    await fetch(world.daemon, urls(text)[0], 502)
    assert [connection.path for connection in world.private.connections] == ["/start.m3u8"] * 2


async def test_a_variant_elsewhere_does_not_gain_trust(world: World) -> None:
    """A private source names a public variant, which names a private segment."""
    world.private.on(
        "/master.m3u8",
        playlist(f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{world.public.url('/variant.m3u8')}\n"),
    )
    world.public.on("/variant.m3u8", playlist(live("#EXTINF:2,", world.private.url("/a.ts"))))
    stream_id = await made(world.daemon, world.private.url("/master.m3u8"))
    text = (await fetch(world.daemon, f"/hls/{stream_id}/playlist.m3u8")).decode()
    [segment] = urls((await fetch(world.daemon, urls(text)[0])).decode())
    await fetch(world.daemon, segment, 502)
    assert [connection.path for connection in world.private.connections] == ["/master.m3u8"]


async def test_names_are_judged_by_what_they_resolve_to(world: World) -> None:
    """A35."""
    port = world.public.port
    lines = [*segments(f"http://private.test:{port}/a.ts"), *segments(f"http://both.test:{port}/b.ts")]
    world.public.on("/names.m3u8", playlist(live(*lines)))
    stream_id = await made(world.daemon, f"http://public.test:{port}/names.m3u8")
    text = (await fetch(world.daemon, f"/hls/{stream_id}/playlist.m3u8")).decode()
    assert ".test" not in text
    refused, allowed = urls(text)
    await fetch(world.daemon, refused, 502)
    assert await fetch(world.daemon, allowed) == TS  # at the one address of both that may be contacted
    assert world.untouched(world.private)


async def test_a_name_that_is_bound_anew(world: World) -> None:
    """A38: public when the playlist is read, private when its segment is: each connection is judged."""
    port = world.public.port
    world.public.on("/rebind.m3u8", playlist(live(*segments("a.ts"))))
    stream_id = await made(world.daemon, f"http://rebind.test:{port}/rebind.m3u8")
    text = (await fetch(world.daemon, f"/hls/{stream_id}/playlist.m3u8")).decode()
    answer = await fetch(world.daemon, urls(text)[0], 502)
    assert b"private" in answer
    assert world.untouched(world.private)


async def test_who_may_create_what(world: World) -> None:
    assert await made(world.daemon, world.private.url("/index.m3u8"))
    for url in (
        world.forbidden.url("/index.m3u8"),
        "http://metadata.google.internal/x",
        "file:///etc/passwd",
    ):
        async with world.daemon.http.post("/streams", json={"url": url}) as response:
            assert response.status == 422, url
    own = f"http://127.0.0.1:{world.daemon.port}/health"
    async with world.daemon.http.post("/streams", json={"url": own}) as response:
        assert response.status == 422
    assert world.untouched(world.private, world.forbidden)


async def test_no_source_leads_back_to_the_proxy(world: World) -> None:
    """A22: not to what players use, and not to what FFmpeg reads."""
    ports = _listening(world.daemon.pid)
    assert len(ports) >= 2
    for port in ports:
        url = f"http://127.0.0.1:{port}/health"
        world.loopback.on(f"/own-{port}.m3u8", playlist(live("#EXTINF:2,", url)))
        stream_id = await made(world.daemon, world.loopback.url(f"/own-{port}.m3u8"))
        text = (await fetch(world.daemon, f"/hls/{stream_id}/playlist.m3u8")).decode()
        answer = await fetch(world.daemon, urls(text)[0], 502)
        assert b"proxy itself" in answer


def _listening(pid: int) -> list[int]:
    """Ports on 127.0.0.1 at which a process listens."""
    inodes = {
        found[1]
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink() and (found := re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink())))
    }
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes]
