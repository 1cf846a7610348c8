"""Tokens of segments: minted here, bound to their stream, worthless when altered."""

from __future__ import annotations

import gc
import re
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.errors import Forged
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.media.timeline import MAP, ListedSegment, Timeline
from m3u_proxy.web.links import Links
from tests.support.definitions import a_client

ROOT = "/m3u-proxy"
STREAM = "a" * 32
OTHER = "b" * 32


class Writer:
    """As much of a writer as a link needs."""

    def __init__(self, *names: str, map_name: str | None = None) -> None:
        self.nonce = "0123abcd"
        self.revision = 1
        self.timeline = Timeline(6, 2, 2.0)
        self.timeline.map_name = map_name
        self.timeline.extend(ListedSegment(number, 2.0, name) for number, name in enumerate(names))


def page(links: Links, writer: Writer, client_id: str = "tv", stream_id: str = STREAM) -> str:
    return links.playlist(cast("HlsWriter", writer), a_client(client_id, stream_id)).decode()


def urls(text: str) -> list[str]:
    found = [line for line in text.splitlines() if not line.startswith("#")]
    return found + re.findall(r'URI="([^"]*)"', text)


def token_of(url: str) -> str:
    return dict(parse_qsl(urlsplit(url).query))["t"]


def test_a_segment_has_a_path_absolute_address_with_the_token_last() -> None:
    [url] = urls(page(Links(ROOT), Writer("segment_0.ts")))
    assert re.fullmatch(
        rf"/m3u-proxy/hls/{STREAM}/segment\.ts\?client_id=tv&t=[0-9a-f]+-0123abcd-0\.ts", url
    ), url


@pytest.mark.parametrize(
    ("name", "leaf"), [("a.ts", "segment.ts"), ("a.m4s", "segment"), ("a.aac", "segment")]
)
def test_the_leaf_is_one_that_the_narrow_port_lets_through(name: str, leaf: str) -> None:
    [url] = urls(page(Links(ROOT), Writer(name)))
    assert urlsplit(url).path == f"{ROOT}/hls/{STREAM}/{leaf}"
    assert url.endswith(name[1:])


def test_a_token_leads_back_to_writer_and_number() -> None:
    links, writer = Links(""), Writer("segment_0.m4s", "segment_1.m4s", map_name="init.mp4")
    found = [links.read(STREAM, token_of(url)) for url in urls(page(links, writer))]
    assert found == ["0123abcd-0", "0123abcd-1", f"0123abcd-{MAP}"]


def test_no_name_of_a_file_is_shown() -> None:
    text = page(Links(ROOT), Writer("segment_0.m4s", map_name="init.mp4"))
    assert "segment_0" not in text
    assert "init" not in text


@pytest.mark.parametrize("client_id", ["a/b", "tv&t=x", "50%", "{client}", "ü", "a b#c"])
def test_an_id_from_a_player_stays_inside_its_parameter(client_id: str) -> None:
    links, writer = Links(ROOT), Writer("segment_0.ts")
    [url] = urls(page(links, writer, client_id))
    assert dict(parse_qsl(urlsplit(url).query))["client_id"] == client_id
    assert links.read(STREAM, token_of(url)) == "0123abcd-0"


def test_addresses_of_one_segment_stay_the_same_and_are_the_same_for_everybody() -> None:
    links, writer = Links(ROOT), Writer("segment_0.ts")
    first = token_of(urls(page(links, writer, "one"))[0])
    writer.timeline.extend([ListedSegment(1, 2.0, "segment_1.ts")])
    writer.revision += 1
    again = urls(page(links, writer, "two"))
    assert token_of(again[0]) == first
    assert len(again) == 2


def test_a_page_is_made_once_per_revision() -> None:
    links, writer = Links(ROOT), Writer("segment_0.ts")
    page(links, writer)
    writer.timeline.extend([ListedSegment(1, 2.0, "segment_1.ts")])
    assert len(urls(page(links, writer))) == 1  # nobody said that there is a new one
    writer.revision += 1
    assert len(urls(page(links, writer))) == 2


def test_two_streams_with_one_writer_get_their_own_addresses() -> None:
    links, writer = Links(ROOT), Writer("segment_0.ts")
    for stream_id in (STREAM, OTHER, STREAM):
        [url] = urls(page(links, writer, stream_id=stream_id))
        assert urlsplit(url).path.split("/")[3] == stream_id
        assert links.read(stream_id, token_of(url)) == "0123abcd-0"


def test_a_token_is_worth_nothing_for_another_stream_or_another_process() -> None:
    """A46."""
    links = Links(ROOT)
    token = token_of(urls(page(links, Writer("segment_0.ts")))[0])
    with pytest.raises(Forged):
        links.read(OTHER, token)
    with pytest.raises(Forged):
        Links(ROOT).read(STREAM, token)


def test_no_single_character_of_a_token_can_be_changed() -> None:
    """A46."""
    links = Links(ROOT)
    token = token_of(urls(page(links, Writer("segment_0.ts")))[0])
    for at in range(len(token)):
        for other in "0a-./\udcff":
            altered = token[:at] + other + token[at + 1 :]
            if altered != token:
                with pytest.raises(Forged):
                    links.read(STREAM, altered)
    for altered in (token[:-1], token + "0", token.upper(), " " + token, token.replace("-", "", 1)):
        with pytest.raises(Forged):
            links.read(STREAM, altered)


@given(st.text(max_size=60))
def test_whatever_is_sent_as_a_token_is_refused(token: str) -> None:
    with pytest.raises(Forged):
        Links(ROOT).read(STREAM, token)


def test_pages_go_with_their_writer() -> None:
    links, writer = Links(ROOT), Writer("segment_0.ts")
    page(links, writer)
    assert len(links._pages) == 1
    del writer
    gc.collect()
    assert len(links._pages) == 0
