"""Sound playlists: what is found in them and how they are written with other URLs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from m3u_proxy.media.playlist import Playlist, Reference, Role, parse

ORIGIN = "origin.example"


def urls(reference: Reference) -> str:
    return f"/to/{reference.role}/{reference.uri.rpartition('/')[2]}"


def refusing(*uris: str) -> Callable[[Reference], str | None]:
    return lambda reference: None if reference.uri in uris else urls(reference)


def read(*lines: str, **more: dict[str, str]) -> Playlist:
    return parse("\n".join(["#EXTM3U", *lines, ""]).encode(), hosts=(ORIGIN,), **more)


def rewritten(*lines: str) -> list[str]:
    return read(*lines).render(urls).split("\n")[1:-1]


LIVE = (
    "#EXT-X-VERSION:6",
    "#EXT-X-TARGETDURATION:6",
    "#EXT-X-MEDIA-SEQUENCE:41",
    '#EXT-X-KEY:METHOD=AES-128,URI="https://origin.example/k/1.key",IV=0x1F',
    '#EXT-X-MAP:URI="init.mp4",BYTERANGE="720@0"',
    "#EXTINF:6.006,Title",
    "seg41.m4s?token=1",
    "#EXTINF:5.9,",
    "http://origin.example/seg42.m4s",
)


def test_a_live_playlist_is_understood() -> None:
    playlist = read(*LIVE)
    assert not playlist.is_multivariant
    assert not playlist.is_ended
    assert (playlist.target_duration, playlist.media_sequence) == (6.0, 41)
    assert (playlist.has_keys, playlist.has_map, playlist.dropped) == (True, True, 0)
    assert playlist.references == (
        Reference(Role.KEY, "https://origin.example/k/1.key"),
        Reference(Role.MAP, "init.mp4", (0, 719)),
        Reference(Role.SEGMENT, "seg41.m4s?token=1"),
        Reference(Role.SEGMENT, "http://origin.example/seg42.m4s"),
    )
    assert playlist.segments() == playlist.references[2:]
    assert playlist.narrowed() is playlist


def test_a_live_playlist_is_rewritten() -> None:
    assert rewritten(*LIVE) == [
        *LIVE[:3],
        '#EXT-X-KEY:METHOD=AES-128,URI="/to/key/1.key",IV=0x1F',
        '#EXT-X-MAP:URI="/to/map/init.mp4",BYTERANGE="720@0"',
        LIVE[5],
        "/to/segment/seg41.m4s?token=1",
        LIVE[7],
        "/to/segment/seg42.m4s",
    ]


@pytest.mark.parametrize("last", ["#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-ENDLIST "])
def test_the_end_is_seen(last: str) -> None:
    assert read(*LIVE, last).is_ended


def test_an_event_has_not_ended() -> None:
    assert not read("#EXT-X-PLAYLIST-TYPE:EVENT", *LIVE).is_ended


def test_line_ends_a_mark_and_strange_bytes_stay_as_they_came() -> None:
    lines = (
        b"#EXTM3U\r\n#EXT-X-TARGETDURATION:4\r\n# caf\xe9\xff\r\n#EXTINF:4,\xe9\n\xe9.ts\r\n#EXT-X-ENDLIST"
    )
    text = b"\xef\xbb\xbf" + lines
    playlist = parse(text)
    out = playlist.render(lambda reference: f"/{reference.uri}")
    assert out.encode("utf-8", "surrogateescape") == lines.replace(b"\n\xe9", b"\n/\xe9")


MULTIVARIANT = (
    "#EXT-X-INDEPENDENT-SEGMENTS",
    '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="k/s.key"',
    '#EXT-X-SESSION-DATA:DATA-ID="a.b",URI="data.json"',
    '#EXT-X-SESSION-DATA:DATA-ID="a.c",VALUE="words"',
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="lo",NAME="en",URI="a/lo.m3u8"',
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="en",URI="a/en.m3u8"',
    '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="de",DEFAULT=YES,URI="a/de.m3u8"',
    '#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="cam",NAME="main"',
    '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="en",URI="s/en.m3u8"',
    '#EXT-X-STREAM-INF:BANDWIDTH=100,AUDIO="lo",SUBTITLES="subs"',
    "v/lo.m3u8",
    '#EXT-X-STREAM-INF:BANDWIDTH=900,RESOLUTION=1920x1080,AUDIO="hi",VIDEO="cam",SUBTITLES="subs"',
    "http://origin.example/v/hi.m3u8",
    '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=50,URI="v/i.m3u8"',
)


def test_a_multivariant_playlist_is_rewritten() -> None:
    assert rewritten(*MULTIVARIANT) == [
        MULTIVARIANT[0],
        '#EXT-X-SESSION-KEY:METHOD=AES-128,URI="/to/key/s.key"',
        '#EXT-X-SESSION-DATA:DATA-ID="a.b",URI="/to/data/data.json"',
        MULTIVARIANT[3],
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="lo",NAME="en",URI="/to/playlist/lo.m3u8"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="en",URI="/to/playlist/en.m3u8"',
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="de",DEFAULT=YES,URI="/to/playlist/de.m3u8"',
        MULTIVARIANT[7],
        '#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="en",URI="/to/playlist/en.m3u8"',
        MULTIVARIANT[9],
        "/to/playlist/lo.m3u8",
        MULTIVARIANT[11],
        "/to/playlist/hi.m3u8",
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=50,URI="/to/playlist/i.m3u8"',
    ]


def test_narrowed_is_one_variant_with_its_renditions() -> None:
    playlist = read(*MULTIVARIANT)
    assert playlist.is_multivariant
    narrow = playlist.narrowed()
    assert [found.uri for found in narrow.references if found.role is Role.PLAYLIST] == [
        "a/de.m3u8",
        "http://origin.example/v/hi.m3u8",
    ]
    assert narrow.render(urls).split("\n")[5:-1] == [
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="hi",NAME="de",DEFAULT=YES,URI="/to/playlist/de.m3u8"',
        MULTIVARIANT[7],
        '#EXT-X-STREAM-INF:BANDWIDTH=900,RESOLUTION=1920x1080,AUDIO="hi",VIDEO="cam"',
        "/to/playlist/hi.m3u8",
    ]


def test_narrowed_takes_the_first_rendition_without_a_default() -> None:
    lines = [line.replace("DEFAULT=YES,", "") for line in MULTIVARIANT]
    assert "a/en.m3u8" in [found.uri for found in read(*lines).narrowed().references]


LOW_LATENCY = (
    "#EXT-X-TARGETDURATION:4",
    "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=12.0",
    "#EXT-X-PART-INF:PART-TARGET=0.33",
    "#EXTINF:4.0,",
    "1.mp4",
    '#EXT-X-PART:DURATION=0.33,URI="2.mp4",BYTERANGE="100@0"',
    '#EXT-X-PART:DURATION=0.33,URI="2.mp4",BYTERANGE="50",INDEPENDENT=YES',
    '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="2.mp4",BYTERANGE-START=150,BYTERANGE-LENGTH=60',
    '#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="init.mp4"',
    '#EXT-X-RENDITION-REPORT:URI="../b.m3u8",LAST-MSN=7,LAST-PART=1',
)


def test_low_latency_tags_survive_but_for_blocking_reload() -> None:
    assert read(*LOW_LATENCY).references[1:] == (
        Reference(Role.PART, "2.mp4", (0, 99)),
        Reference(Role.PART, "2.mp4", (100, 149)),
        Reference(Role.PART, "2.mp4", (150, 209)),
        Reference(Role.MAP, "init.mp4"),
        Reference(Role.PLAYLIST, "../b.m3u8"),
    )
    assert rewritten(*LOW_LATENCY) == [
        LOW_LATENCY[0],
        "#EXT-X-SERVER-CONTROL:PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=12.0",
        *LOW_LATENCY[2:4],
        "/to/segment/1.mp4",
        '#EXT-X-PART:DURATION=0.33,URI="/to/part/2.mp4",BYTERANGE="100@0"',
        '#EXT-X-PART:DURATION=0.33,URI="/to/part/2.mp4",BYTERANGE="50@100",INDEPENDENT=YES',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="/to/part/2.mp4",BYTERANGE-START=150,BYTERANGE-LENGTH=60',
        '#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="/to/map/init.mp4"',
        '#EXT-X-RENDITION-REPORT:URI="/to/playlist/b.m3u8",LAST-MSN=7,LAST-PART=1',
    ]


def test_server_control_goes_when_nothing_is_left_of_it() -> None:
    assert rewritten("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES", "#EXTINF:4,", "1.ts")[0] == "#EXTINF:4,"


def test_a_range_without_an_offset_follows_the_one_before() -> None:
    lines = ["#EXTINF:4,", "#EXT-X-BYTERANGE:100@50", "a.ts", "#EXTINF:4,", "#EXT-X-BYTERANGE:25", "a.ts"]
    assert [found.byte_range for found in read(*lines).segments()] == [(50, 149), (150, 174)]
    assert rewritten(*lines)[4] == "#EXT-X-BYTERANGE:25@150"


def test_a_range_is_its_segments_whatever_stands_between() -> None:
    key = '#EXT-X-KEY:METHOD=AES-128,URI="k"'
    lines = ["#EXTINF:4,", "#EXT-X-BYTERANGE:9@1", key, "# odd", "a.ts"]
    assert read(*lines).segments()[0].byte_range == (1, 9)
    assert rewritten(*lines)[2:] == ["# odd", "#EXT-X-BYTERANGE:9@1", "/to/segment/a.ts"]


def test_unknown_lines_pass_byte_for_byte() -> None:
    lines = [
        "# a comment",
        "",
        "#EXT-X-CUE-OUT:30",
        '#EXT-X-DATERANGE:ID="1",X-A="<b>"',
        "#EXTINF:4, Tïtle",
        "a.ts",
    ]
    assert rewritten(*lines) == [*lines[:5], "/to/segment/a.ts"]


@pytest.mark.parametrize(
    "key",
    [
        '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://asset-1",KEYFORMAT="com.apple.streamingkeydelivery"',
        '#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI="data:text/plain;base64,AAAA,BB",KEYFORMAT="urn:uuid:1"',
        '#EXT-X-KEY:METHOD=AES-128,URI="urn:x:1"',
    ],
)
def test_keys_that_no_url_leads_to_stay(key: str) -> None:
    playlist = read(key, "#EXTINF:4,", "a.ts")
    assert playlist.has_keys
    assert playlist.render(urls).split("\n")[1:4] == [key, "#EXTINF:4,", "/to/segment/a.ts"]


def test_method_none_is_no_key() -> None:
    assert not read("#EXT-X-KEY:METHOD=NONE", "#EXTINF:4,", "a.ts").has_keys


def test_a_segment_that_cannot_be_had_is_a_gap() -> None:
    out = read("#EXTINF:4,", "bad", "#EXTINF:4,", "b.ts").render(refusing("bad"))
    assert out.split("\n")[1:] == ["#EXTINF:4,", "#EXT-X-GAP", "gap.ts", "#EXTINF:4,", "/to/segment/b.ts", ""]


def test_a_gap_is_marked_once() -> None:
    out = read("#EXT-X-GAP", "#EXTINF:4,", "bad").render(refusing("bad"))
    assert out.split("\n")[1:] == ["#EXT-X-GAP", "#EXTINF:4,", "gap.ts", ""]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('#EXT-X-KEY:METHOD=AES-128,URI="bad"', '#EXT-X-KEY:METHOD=AES-128,URI="good"'),
        ('#EXT-X-KEY:METHOD=AES-128,URI="bad"', "#EXT-X-KEY:METHOD=NONE"),
        ('#EXT-X-KEY:METHOD=AES-128,URI="a\tb"', "#EXT-X-KEY:METHOD=NONE"),
        ('#EXT-X-MAP:URI="bad"', '#EXT-X-MAP:URI="good"'),
        ('#EXT-X-MAP:URI="x",BYTERANGE="0"', '#EXT-X-MAP:URI="good"'),
        ('#EXT-X-MAP:URI=""', '#EXT-X-MAP:URI="good"'),
    ],
)
def test_segments_without_their_key_or_map_are_gaps(first: str, second: str) -> None:
    part = '#EXT-X-PART:DURATION=1,URI="p"'
    out = read(first, part, "#EXTINF:4,", "a.ts", second, part, "#EXTINF:4,", "b.ts").render(refusing("bad"))
    lines = out.replace("good", "x").split("\n")
    assert lines[1:4] == ["#EXTINF:4,", "#EXT-X-GAP", "gap.ts"]
    assert lines[5:] == ['#EXT-X-PART:DURATION=1,URI="/to/part/p"', "#EXTINF:4,", "/to/segment/b.ts", ""]


def test_a_key_does_not_mend_a_map() -> None:
    out = read('#EXT-X-MAP:URI="bad"', "#EXT-X-KEY:METHOD=NONE", "#EXTINF:4,", "a.ts").render(refusing("bad"))
    assert "#EXT-X-GAP" in out


def test_other_tags_go_with_their_target() -> None:
    kept = read(*MULTIVARIANT).render(lambda reference: None)
    assert kept.split("\n")[1:-1] == [MULTIVARIANT[0], MULTIVARIANT[3], MULTIVARIANT[7]]
    kept = read(*LOW_LATENCY).render(lambda reference: None)
    assert kept.split("\n")[4:] == ["#EXTINF:4.0,", "#EXT-X-GAP", "gap.ts", ""]


def test_variables_are_replaced_and_handed_on() -> None:
    lines = [
        '#EXT-X-DEFINE:NAME="host",VALUE="cdn"',
        '#EXT-X-DEFINE:IMPORT="token"',
        '#EXT-X-DEFINE:QUERYPARAM="q"',
        '#EXT-X-KEY:METHOD=AES-128,URI="{$host}/k?{$q}"',
        "#EXTINF:4,",
        "{$host}/{$token}/{$unknown}.ts",
    ]
    playlist = read(*lines, variables={"token": "t1", "other": "o"}, query={"q": "5"})
    assert playlist.variables == {"host": "cdn", "token": "t1", "q": "5"}
    assert [found.uri for found in playlist.references] == ["cdn/k?5", "cdn/t1/{$unknown}.ts"]
    assert "DEFINE" not in playlist.render(urls)
    assert playlist.dropped == 0


def test_without_definitions_braces_are_just_braces() -> None:
    assert read("#EXTINF:4,", "{$a}.ts", variables={"a": "b"}).segments()[0].uri == "{$a}.ts"


def test_the_longest_segment_stands_in_for_a_missing_target_duration() -> None:
    assert read("#EXTINF:2.5,", "a.ts", "#EXTINF:3.5,", "b.ts").target_duration == 3.5


def test_an_empty_live_playlist_is_one() -> None:
    assert read("#EXT-X-TARGETDURATION:4").references == ()


def test_a_long_playlist_takes_no_time() -> None:
    lines = "".join(f"#EXTINF:6.006,\nhttp://origin.example/live/u/p/seg{n}.ts?x=1\n" for n in range(1000))
    text = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n" + lines.encode()

    def once() -> float:
        started = time.thread_time()
        assert parse(text, hosts=(ORIGIN,)).render(urls).count("\n") == 2002
        return time.thread_time() - started

    assert min(once() for _ in range(5)) < 0.015
