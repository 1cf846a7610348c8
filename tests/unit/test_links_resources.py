"""Addresses of what a provider has: from a playlist to tokens and back, whatever the provider calls it."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.errors import Forged
from m3u_proxy.media.playlist import Role, parse
from m3u_proxy.pool.hls.listing import Page
from m3u_proxy.pool.hls.resources import Resource, Resources
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.url import Base
from m3u_proxy.upstream.url import parse as parse_url
from m3u_proxy.web.links import Links
from tests.support.definitions import a_client

ROOT = "/m3u-proxy"
STREAM, OTHER = "a" * 32, "b" * 32
BASE = "http://user:pass@origin.example/live/canary/index.m3u8?key=canary"
NAME = st.text(st.characters(exclude_characters="#\r\n", exclude_categories=["Cs", "Cc"]), min_size=1)


def page_of(text: str, resources: Resources | None = None) -> Page:
    """The playlist as a listing would have it."""
    playlist = parse(text.encode())
    known = resources if resources is not None else Resources(b"secret")
    resolve = Base(parse_url(BASE)).resolve
    found = known.index(playlist, resolve, named_by=AddressClass.PUBLIC, depth=1, keep_until=1e9)
    return Page(playlist, found)


def media(*uris: str) -> str:
    lines = [line for uri in uris for line in ("#EXTINF:2.000,", uri)]
    return "\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:2", *lines, ""])


def rendered(links: Links, page: Page, client: str = "tv", stream: str = STREAM) -> list[str]:
    text = links.playlist(page, a_client(client, stream)).decode()
    return [quoted or line for quoted, line in re.findall(r'URI="([^"]*)"|^([^#\n].*)$', text, re.MULTILINE)]


def token_of(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))["t"]


@pytest.mark.parametrize(
    ("uri", "leaf", "ending"),
    [
        ("a.ts", "segment.ts", ".ts"),
        ("a.TS?x=.m4s", "segment.ts", ".ts"),
        ("a", "segment.ts", ".ts"),
        ("a.php?file=b.aac", "segment.ts", ".ts"),
        ("a.m4s", "segment", ".m4s"),
        ("a.cmfv", "segment", ".m4s"),
        ("a.m4a", "segment", ".mp4"),
        ("a.aac#t=1", "segment", ".aac"),
        ("a.webvtt", "segment", ".vtt"),
    ],
)
def test_the_form_of_a_segment(uri: str, leaf: str, ending: str) -> None:
    [url] = rendered(Links(ROOT), page_of(media(uri)))
    form = (
        re.escape(f"{ROOT}/hls/{STREAM}/{leaf}")
        + r"\?client_id=tv&t=[0-9a-f]{24}-s[0-9a-f]+"
        + re.escape(ending)
    )
    assert re.fullmatch(form, url), url


def test_the_form_of_the_others() -> None:
    text = media("a").replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="k"\n#EXT-X-MAP:URI="i"\n#EXTINF', 1)
    key, init, segment = rendered(Links(ROOT), page_of(text))
    assert [url.rpartition(".")[2] for url in (key, init, segment)] == ["key", "mp4", "m4s"]
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n"
    [variant] = rendered(Links(""), page_of(master))
    form = rf"/hls/{STREAM}/playlist\.m3u8\?t=[0-9a-f]{{24}}-p[0-9a-f]+&client_id=tv"
    assert re.fullmatch(form, variant), variant


@given(st.lists(NAME, min_size=1, max_size=5))
def test_a_token_leads_back_and_tells_nothing(names: list[str]) -> None:
    links, resources = Links(ROOT), Resources(b"secret")
    page = page_of(media(*names), resources)
    for url in (one for one in rendered(links, page) if one.startswith(ROOT)):
        found = resources.get(links.read(STREAM, token_of(url)))
        assert found is not None
        assert found.role is Role.SEGMENT
        assert re.fullmatch(rf"{ROOT}/hls/{STREAM}/segment(\.ts)?\?client_id=tv&t=[0-9a-z-]+\.[0-9a-z]+", url)


@given(st.binary(max_size=40), st.integers(0, 60))
def test_an_altered_token_is_forged(noise: bytes, at: int) -> None:
    links = Links(ROOT)
    [url] = rendered(links, page_of(media("a.ts")))
    good = token_of(url)
    bad = good[:at] + noise.decode("latin-1") + good[at + len(noise) :]
    if bad != good:
        with pytest.raises(Forged):
            links.read(STREAM, bad)


def test_a_token_is_worth_nothing_for_another_stream_or_another_run() -> None:
    links, page = Links(ROOT), page_of(media("a.ts"))
    [url] = rendered(links, page)
    for reader, stream in ((links, OTHER), (Links(ROOT), STREAM)):
        with pytest.raises(Forged):
            reader.read(stream, token_of(url))


def test_two_streams_of_one_page_get_their_own_tokens() -> None:
    links, page = Links(ROOT), page_of(media("a.ts"))
    for stream in (STREAM, OTHER, STREAM):
        [url] = rendered(links, page, stream=stream)
        assert links.read(stream, token_of(url))


def test_an_address_keeps_its_token_from_revision_to_revision() -> None:
    """Players tell by its URL whether they have a segment already."""
    links, resources = Links(ROOT), Resources(b"secret")
    first = rendered(links, page_of(media("1.ts", "2.ts", "3.ts"), resources))
    second = rendered(links, page_of(media("2.ts", "3.ts", "4.ts"), resources))
    assert first[1:] == second[:2]
    assert len(set(first + second)) == 4


def test_players_differ_in_their_client_id_only() -> None:
    links, page = Links(ROOT), page_of(media("a.ts", "b.ts"))
    one, two = rendered(links, page, "one"), rendered(links, page, "a/ü&t=x")
    assert [url.replace("client_id=one", "client_id=a%2F%C3%BC%26t%3Dx") for url in one] == two


def test_a_key_and_a_segment_at_one_address_are_two_resources() -> None:
    resources = Resources(b"secret")
    text = media("x").replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="x"\n#EXTINF', 1)
    page_of(text, resources)
    found = {resource.role: resource for resource in resources}
    assert set(found) == {Role.KEY, Role.SEGMENT}
    assert len({resource.name for resource in resources}) == 2


def test_the_credentials_of_the_source_go_along_upstream_and_nowhere_else() -> None:
    links, resources = Links(ROOT), Resources(b"secret")
    page = page_of(media("a.ts", "http://other.example/b.ts"), resources)
    at: dict[str, Resource] = {urlsplit(one.url).hostname or "": one for one in resources}
    assert at["origin.example"].url == "http://user:pass@origin.example/live/canary/a.ts"
    assert at["other.example"].url == "http://other.example/b.ts"
    text = links.playlist(page, a_client("tv", STREAM)).decode()
    assert not [word for word in ("user", "pass", "canary", "example") if word in text]
