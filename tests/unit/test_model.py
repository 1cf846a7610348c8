"""Ids and keys: what makes two requests the same stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.model import Kind, Origin, Stream, StreamKey, Transcode, endpoint_of, plain_id, transcode_id

URL = "http://provider.example/live/u/p/101.ts"
HLS = Transcode("custom", "-i {input_url}", {}, "mpegts", ("-i", URL, "-f", "hls"), "hls", "hls", "x/y")
PIPE = replace(HLS, arguments=("-i", URL, "-f", "mpegts"), output="pipe", container="mpegts")


def stream(transcode: Transcode | None = None, headers: Mapping[str, str] = {"A": "1"}) -> Stream:
    return Stream("a" * 32, Origin(URL, headers), "agent", datetime.now(UTC), transcode=transcode)


def test_a_plain_id_is_the_documented_one() -> None:
    assert plain_id(URL) == "1e504d534b5eac4979fb73c871810a37"


@pytest.mark.parametrize("kind", ["hls", "direct"])
def test_a_named_profile_without_variables_has_the_id_it_always_had(kind: str) -> None:
    expected = md5(f"{URL}|transcoded|720p|{kind}".encode()).hexdigest()
    assert transcode_id(URL, "720p", None, {}, kind) == expected


def test_inline_templates_and_variables_are_part_of_the_id() -> None:
    ids = [
        transcode_id(URL, "custom", "-c copy", {}, "hls"),
        transcode_id(URL, "custom", "-c:v libx264", {}, "hls"),
        transcode_id(URL, "custom", "-c copy", {}, "direct"),
        transcode_id(URL, "custom", "-c copy", {"crf": "23"}, "hls"),
        transcode_id(URL, "720p", None, {}, "hls"),
        transcode_id(URL, "720p", None, {"crf": "23"}, "hls"),
        transcode_id(URL, "720p", None, {"crf": "24"}, "hls"),
        transcode_id(URL, "1080p", None, {"crf": "23"}, "hls"),
        transcode_id(URL + "?", "720p", None, {}, "hls"),
        plain_id(URL),
    ]
    assert len(set(ids)) == len(ids)


def test_the_order_of_variables_does_not_matter() -> None:
    one = transcode_id(URL, "720p", None, {"crf": "23", "bitrate": "1M"}, "hls")
    assert one == transcode_id(URL, "720p", None, {"bitrate": "1M", "crf": "23"}, "hls")


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_every_id_is_32_lowercase_hex_digits(url: str, template: str) -> None:
    """The Xtream port of the editor's nginx passes nothing else."""
    for each in (plain_id(url), transcode_id(url, "custom", template, {"a": template}, "direct")):
        assert re.fullmatch(r"[0-9a-f]{32}", each)


def test_names_of_headers_ignore_case_in_a_key_and_values_do_not() -> None:
    key = Origin(URL, {"User-Agent": "x", "Cookie": "a"}).key
    assert key == Origin(URL, {"cookie": "a", "user-agent": "x"}).key
    assert key != Origin(URL, {"User-Agent": "x", "Cookie": "A"}).key
    assert key != Origin(URL, {"User-Agent": "x"}).key
    assert key != Origin(URL + "#", {"User-Agent": "x", "Cookie": "a"}).key


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert StreamKey.of("ab", "c") != StreamKey.of("a", "bc")


def test_a_key_can_be_logged() -> None:
    assert re.fullmatch(r"[0-9a-f]{16}", stream().key.digest)


def test_outputs_of_one_source_share_the_source_and_nothing_else() -> None:
    direct, hls, pipe = stream(), stream(HLS), stream(PIPE)
    assert direct.origin.key == hls.origin.key == pipe.origin.key == direct.key
    assert len({direct.key, hls.key, pipe.key}) == 3
    assert hls.key == stream(replace(HLS, profile="named", template="the same in other words")).key
    assert hls.key != stream(HLS, headers={"A": "2"}).key


@pytest.mark.parametrize(
    ("transcode", "kind", "is_hls", "endpoint"),
    [
        (None, Kind.LIVE, False, f"/stream/{'a' * 32}"),
        (PIPE, Kind.TRANSCODE_TS, False, f"/stream/{'a' * 32}"),
        (replace(PIPE, container="mp4"), Kind.TRANSCODE_PIPE, False, f"/stream/{'a' * 32}"),
        (HLS, Kind.TRANSCODE_HLS, True, f"/hls/{'a' * 32}/playlist.m3u8"),
    ],
)
def test_the_output_decides_the_kind_and_the_path(
    transcode: Transcode | None, kind: Kind, is_hls: bool, endpoint: str
) -> None:
    made = stream(transcode)
    assert made.kind is kind
    assert made.kind.is_hls is is_hls
    assert endpoint_of(made.id, made.kind) == endpoint
