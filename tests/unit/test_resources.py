"""Opaque names for what playlists list: stable, bound to a secret, and forgotten in time."""

from __future__ import annotations

from math import inf

import pytest

from m3u_proxy.media.playlist import Role, parse
from m3u_proxy.pool.hls import resources as module
from m3u_proxy.pool.hls.resources import Resource, Resources
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.url import Base
from m3u_proxy.upstream.url import parse as parse_url

HEAD = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n"
BASE = Base(parse_url("http://h.example/live/x.m3u8"))


def index(
    resources: Resources,
    *uris: str,
    head: str = HEAD,
    named_by: AddressClass = AddressClass.PUBLIC,
    depth: int = 1,
    keep_until: float = 10.0,
) -> list[Resource | None]:
    """The resources of a playlist, in order; ``uris`` may have tags ahead of them."""
    text = head + "".join(f"#EXTINF:4,\n{uri}\n" for uri in uris)
    playlist = parse(text.encode())
    found = resources.index(
        playlist,
        BASE.resolve,
        named_by=named_by,
        depth=depth,
        keep_until=keep_until,
    )
    return [found[reference] for reference in playlist.references]


def one(resources: Resources, uri: str, **how: float) -> Resource:
    found = index(resources, uri, keep_until=how.get("keep_until", 10.0), depth=int(how.get("depth", 1)))[0]
    assert found is not None
    return found


def test_a_name_is_the_same_for_the_same_address_and_secret_only() -> None:
    first, second, other = Resources(b"a"), Resources(b"a"), Resources(b"b")
    name = one(first, "s1.ts").name
    assert one(first, "../live/s1.ts").name == name
    assert one(second, "http://h.example/live/s1.ts").name == name
    assert one(other, "s1.ts").name != name
    assert one(first, "s2.ts").name != name
    assert first.get(name) is one(first, "s1.ts")
    assert other.get(name) is None


def test_a_name_tells_nothing_of_the_address() -> None:
    resource = one(Resources(b"a"), "secret-file.ts?token=abc")
    assert resource.name.isalnum()
    assert len(resource.name) == 21
    assert "secret" not in resource.name + resource.suffix


@pytest.mark.parametrize(
    ("line", "role", "letter", "suffix"),
    [
        ('#EXT-X-KEY:METHOD=AES-128,URI="x.ts"\n', Role.KEY, "k", ".key"),
        ('#EXT-X-MAP:URI="x"\n', Role.MAP, "s", ".mp4"),
        ('#EXT-X-SESSION-DATA:DATA-ID="x",URI="x.ts"\n', Role.DATA, "d", ".json"),
        ('#EXT-X-RENDITION-REPORT:URI="x.ts"\n', Role.PLAYLIST, "p", ".m3u8"),
    ],
)
def test_roles_have_names_and_endings_of_their_own(line: str, role: Role, letter: str, suffix: str) -> None:
    found = index(Resources(b"a"), "y.ts", head=HEAD + line)[0]
    assert found is not None
    assert (found.role, found.name[0], found.suffix) == (role, letter, suffix)


@pytest.mark.parametrize(
    ("uri", "plain", "mapped"),
    [
        ("a.ts", ".ts", ".ts"),
        ("a.TS?x=.mp4", ".ts", ".ts"),
        ("a.cmfv", ".m4s", ".m4s"),
        ("a.m4a", ".mp4", ".mp4"),
        ("a.webvtt", ".vtt", ".vtt"),
        ("a.aac", ".aac", ".aac"),
        ("a.php?f=a.mp4", ".ts", ".m4s"),
        ("a", ".ts", ".m4s"),
        ("v1.5/a", ".ts", ".m4s"),
    ],
)
def test_an_ending_is_one_that_players_know(uri: str, plain: str, mapped: str) -> None:
    assert one(Resources(b"a"), uri).suffix == plain
    found = index(Resources(b"a"), uri, head=HEAD + '#EXT-X-MAP:URI="init.mp4"\n')[1]
    assert found is not None
    assert found.suffix == mapped


def test_what_nobody_may_fetch_has_no_resource() -> None:
    resources = Resources(b"a")
    assert index(resources, "file:///etc/passwd", "rtsp://h/x") == [None, None]
    assert len(resources) == 0


def test_the_least_trusted_and_the_deepest_naming_counts() -> None:
    resources = Resources(b"a")
    for named_by in (AddressClass.LOOPBACK, AddressClass.PUBLIC, AddressClass.PRIVATE):
        (found,) = index(resources, "s.ts", named_by=named_by)
    assert found is not None
    assert found.named_by is AddressClass.PUBLIC
    for depth in (1, 3, 2):
        assert one(resources, "s.ts", depth=depth) is found
    assert found.depth == 3


def test_a_resource_is_kept_for_the_playlist_that_needs_it_longest() -> None:
    resources = Resources(b"a")
    found = one(resources, "s.ts", keep_until=50)
    one(resources, "s.ts", keep_until=20)
    assert resources.expire(50) == []
    assert resources.expire(50.1) == [found.name]
    assert resources.get(found.name) is None
    one(resources, "s.ts", keep_until=inf)
    assert resources.expire(10**12) == []


def test_a_renewed_playlist_keeps_its_resources_and_knows_forgotten_ones_again() -> None:
    resources = Resources(b"a")
    playlist = parse(f"{HEAD}#EXTINF:4,\n#EXT-X-BYTERANGE:10@0\ns.ts\n".encode())
    found = resources.index(
        playlist,
        BASE.resolve,
        named_by=AddressClass.PUBLIC,
        depth=1,
        keep_until=10,
    )
    (resource,) = found.values()
    assert resource is not None
    resources.renew(found, 20)
    assert resources.expire(15) == []
    assert resource.ranges == {(0, 9): 20}
    assert resources.expire(25) == [resource.name]
    resources.renew(found, 40)
    assert resources.get(resource.name) is resource
    assert resources.expire(39) == []


def test_ranges_are_kept_for_their_own_time() -> None:
    resources = Resources(b"a")
    one(resources, "#EXT-X-BYTERANGE:10@0\nf.mp4", keep_until=10)
    found = one(resources, "#EXT-X-BYTERANGE:10@10\nf.mp4", keep_until=20)
    assert set(found.ranges) == {(0, 9), (10, 19)}
    assert resources.expire(15) == []
    assert set(found.ranges) == {(10, 19)}


def test_too_many_addresses_push_out_those_listed_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 3)
    resources = Resources(b"a")
    names = [one(resources, f"s{number}.ts").name for number in range(3)]
    one(resources, "s0.ts")
    one(resources, "s3.ts")
    assert [resources.get(name) is not None for name in names] == [True, False, True]
    assert len(resources) == 3
