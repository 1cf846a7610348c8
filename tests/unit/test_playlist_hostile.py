"""Playlists that are damaged or mean harm: refused, or written without what could reach past the proxy."""

from __future__ import annotations

import time

import pytest

from m3u_proxy.media.playlist import ENTRIES, LINE, LINES, SIZE, NotAPlaylist, Playlist, Reference, parse

ORIGIN = "origin.example"
SEGMENT = ("#EXTINF:4,", "a.ts")


def urls(reference: Reference) -> str:
    return f"/to/{reference.role}"


def read(*lines: str) -> Playlist:
    return parse("\n".join(["#EXTM3U", *lines, ""]).encode(), hosts=(ORIGIN, "s3cret-user"))


def rewritten(*lines: str) -> list[str]:
    return read(*lines).render(urls).split("\n")[1:-1]


def refused(text: bytes) -> NotAPlaylist:
    with pytest.raises(NotAPlaylist) as caught:
        parse(text, hosts=(ORIGIN,))
    assert ORIGIN not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\r\n \n",
        b"<html>http://origin.example</html>",
        b"\x47" * 188,
        b"\xff\xfe#\x00E\x00",
        b"#EXTINF:4,\nhttp://origin.example/a.ts\n",
        b"#EXTM3U",
        b"#EXTM3U\n#EXT-X-VERSION:3\n",
        b"#EXTM3U8\n#EXTINF:4,\na.ts\n",
        b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n",
        b"#EXTM3U\n" + b'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",URI="a.m3u8"\n',
    ],
)
def test_what_is_no_playlist_is_refused(text: bytes) -> None:
    assert refused(text).reason == "not_media"


@pytest.mark.parametrize(
    "text",
    [
        b"#EXTM3U\n" + b"#\n" * (SIZE // 2),
        b"#EXTM3U\n" + b"\n" * LINES,
        b"#EXTM3U\n#EXTINF:4,\n" + b"a" * (LINE + 1),
        b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="data:' + b"a" * LINE + b'"\n',
        b"#EXTM3U\n#EXTINF:4," + b"a" * LINE + b"\n",
        b"#EXTM3U\n" + b"#EXT-X-STREAM-INF:BANDWIDTH=1\na\n" * (ENTRIES + 1),
        b"#EXTM3U\n" + b"#EXT-X-MEDIA:URI=a\n" * (2 * ENTRIES + 1),
    ],
)
def test_what_is_too_large_is_refused(text: bytes) -> None:
    assert refused(text).reason == "too_large"


def test_ten_megabytes_are_refused_unread() -> None:
    text = b"#EXTM3U\n" + b"#EXTINF:4,\na.ts\n" * 650_000

    def once() -> float:
        started = time.thread_time()
        refused(text)
        return time.thread_time() - started

    assert min(once() for _ in range(5)) < 0.001


def test_variables_do_not_multiply_without_bound() -> None:
    value = "x" * 16_000
    head = f'#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="{value}"\n'
    assert refused((head + "{$a}{$a}\n").encode()).reason == "too_large"
    assert refused((head + "#EXTINF:4,\n{$a}\n" * 200).encode()).reason == "too_large"


@pytest.mark.parametrize("tag", ["MEDIA-SEQUENCE", "DISCONTINUITY-SEQUENCE"])
@pytest.mark.parametrize("value", ["-1", "1e3", "", "x", str(2**63), str(2**70), "9" * 5000, "٣"])
def test_sequence_numbers_out_of_range_are_refused(tag: str, value: str) -> None:
    assert refused(f"#EXTM3U\n#EXT-X-{tag}:{value}\n#EXTINF:4,\na\n".encode()).reason == "protocol"


def test_the_largest_sequence_number_is_taken() -> None:
    assert read(f"#EXT-X-MEDIA-SEQUENCE:{2**63 - 1}", *SEGMENT).media_sequence == 2**63 - 1


def test_variants_among_segments_are_refused() -> None:
    text = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n#EXTINF:4,\na.ts\n"
    assert refused(text).reason == "protocol"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("1e400", "60.000"),
        ("-3", "0.000"),
        ("nan", "0.000"),
        ("abc", "0.000"),
        ("", "0.000"),
        ("1000000", "60.000"),
        ("4e0", "4.000"),
        ("0", "0"),
        ("7200.5", "7200.5"),
    ],
)
def test_durations_are_plain_decimals(written: str, expected: str) -> None:
    assert rewritten(f"#EXTINF:{written},", "a.ts") == [f"#EXTINF:{expected},", "/to/segment"]


@pytest.mark.parametrize(
    ("written", "expected", "timing"),
    [
        ("0", "1", 1),
        ("-5", "1", 1),
        ("4.2", "5", 5),
        ("1e400", "60", 60),
        ("x", "10", 10),
        ("3600", "3600", 60),
        ("9" * 30, "60", 60),
    ],
)
def test_the_target_duration_is_a_positive_integer(written: str, expected: str, timing: float) -> None:
    playlist = read(f"#EXT-X-TARGETDURATION:{written}", *SEGMENT)
    assert playlist.render(urls).split("\n")[1] == f"#EXT-X-TARGETDURATION:{expected}"
    assert playlist.target_duration == timing


@pytest.mark.parametrize("value", ["x", "0@5", "-1@0", "1@-1", str(2**64), f"10@{2**63 - 5}", "1@2@3", ""])
def test_a_range_that_is_none_makes_a_gap(value: str) -> None:
    out = rewritten("#EXTINF:4,", f"#EXT-X-BYTERANGE:{value}", "a.ts", *SEGMENT)
    assert out == ["#EXTINF:4,", "#EXT-X-GAP", "gap.ts", "#EXTINF:4,", "/to/segment"]


@pytest.mark.parametrize("bandwidth", ["", "BANDWIDTH=", "BANDWIDTH=x", "BANDWIDTH=-1", "BANDWIDTH=1e9"])
def test_a_variant_always_has_a_bandwidth(bandwidth: str) -> None:
    playlist = read(f"#EXT-X-STREAM-INF:{bandwidth}", "v.m3u8")
    assert playlist.render(urls).split("\n")[1] == "#EXT-X-STREAM-INF:BANDWIDTH=1"
    assert playlist.narrowed().references == playlist.references


@pytest.mark.parametrize(
    "uri", ["a\rb", "a\x85b", "a\u2028b", "a\u2029b", "a\x00b", "a\tb", "a\x7f", "\x1b[2J"]
)
def test_a_segment_whose_uri_holds_a_control_character_is_a_gap(uri: str) -> None:
    playlist = read("#EXTINF:4,", uri, *SEGMENT)
    assert [found.uri for found in playlist.segments()] == ["a.ts"]
    assert playlist.render(urls).split("\n")[1:4] == ["#EXTINF:4,", "#EXT-X-GAP", "gap.ts"]


@pytest.mark.parametrize(
    "line",
    [
        "# see http://elsewhere.example/",
        "# see http%3A%2F%2felsewhere.example/",
        "#EXT-X-FOO:URI=x",
        '#EXT-X-FOO:uri="x"',
        "# ORIGIN.Example",
        "# %6frigin.example",
        "# s3cret-user",
        "# a\rb",
        "# a\x85b",
        "# a\u2028b",
        "# a\x9bb",
        "#" + "x" * 1_000_000,
        '#EXT-X-DATERANGE:ID="1",X-ASSET-URI="http://ads.example/"',
        '#EXT-X-DATERANGE:ID="1",X-ASSET-LIST="list.json"',
        '#EXT-X-CONTENT-STEERING:SERVER-URI="steer.json",PATHWAY-ID="A"',
        '#EXT-X-SESSION-DATA:DATA-ID="a",VALUE="http://x/"',
        '#EXT-X-SESSION-KEY:METHOD=AES-128,URI=""',
        "#EXT-X-SESSION-KEY:METHOD=NONE",
        '#EXT-X-PRELOAD-HINT:TYPE=OTHER,URI="x"',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="x",BYTERANGE-START=x',
        '#EXT-X-PART:DURATION=1,URI="x",BYTERANGE="x"',
        '#EXT-X-PART:DURATION=1,URI="x',
        "#EXT-X-RENDITION-REPORT:LAST-MSN=1",
        '#EXT-X-RENDITION-REPORT:URI="a\u2028b"',
        '#EXT-X-RENDITION-REPORT:URI="a",X-OTHER-URI="/live/user/b"',
        '#EXT-X-RENDITION-REPORT:URI="a",uri="/live/user/b"',
        "#EXT-X-PLAYLIST-TYPE:http",
        "#EXT-X-SERVER-CONTROL:X=http://x",
    ],
)
def test_a_line_that_could_carry_an_address_is_left_out_and_counted(line: str) -> None:
    playlist = read(line, *SEGMENT)
    assert playlist.render(urls) == "#EXTM3U\n#EXTINF:4,\n/to/segment\n"
    assert playlist.dropped == 1


@pytest.mark.parametrize("title", ["http://x/", ORIGIN, "a\rb", ' tvg-logo="http://x/l.png",Name'])
def test_titles_that_could_carry_an_address_are_emptied(title: str) -> None:
    assert rewritten(f"#EXTINF:4,{title}", "a.ts") == ["#EXTINF:4,", "/to/segment"]


def test_a_header_that_carries_an_address_is_cut() -> None:
    text = b'#EXTM3U x-tvg-url="http://epg.example/"\r\n#EXTINF:-1 a="b",N\r\nx\r\n'
    assert parse(text).render(urls) == '#EXTM3U\r\n#EXTINF:0.000 a="b",N\r\n/to/segment\r\n'


@pytest.mark.parametrize("name", ["http://x/", ORIGIN.upper(), "a\u2029b"])
def test_a_known_tag_goes_when_another_attribute_reveals_an_address(name: str) -> None:
    playlist = read(
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{name}",URI="a.m3u8"',
        f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="{name}"',
        f'#EXT-X-STREAM-INF:BANDWIDTH=1,NAME="{name}"',
        "gone.m3u8",
        "#EXT-X-STREAM-INF:BANDWIDTH=2",
        "kept.m3u8",
    )
    assert playlist.render(urls) == "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=2\n/to/playlist\n"
    assert playlist.dropped == 4


def test_numbers_codecs_and_words_of_the_format_are_no_names() -> None:
    variant = '#EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO="a",CODECS="avc1.640028,mp4a.40.2",RESOLUTION=1280x720'
    text = f"#EXTM3U\n{variant}\nv.m3u8\n".encode()
    assert parse(text, hosts=("1000", "640", "720", "audio", "", "a")).render(urls).split("\n")[1] == variant


def test_codecs_hide_no_name() -> None:
    lines = [
        f'#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="avc1.{ORIGIN}"',
        "x",
        "#EXT-X-STREAM-INF:BANDWIDTH=1",
        "y",
    ]
    assert rewritten(*lines) == ["#EXT-X-STREAM-INF:BANDWIDTH=1", "/to/playlist"]


def test_a_key_scheme_does_not_smuggle_a_host() -> None:
    out = rewritten(f'#EXT-X-KEY:METHOD=SAMPLE-AES,URI="skd://{ORIGIN}/1"', *SEGMENT)
    assert out == ["#EXTINF:4,", "#EXT-X-GAP", "gap.ts"]


def test_attributes_are_found_without_quotes_twice_and_among_rubbish() -> None:
    lines = [
        '#EXT-X-KEY: METHOD=AES-128, URI=http://origin.example/k,URI="http://x/",=,,junk,IV=0x1',
        *SEGMENT,
    ]
    assert rewritten(*lines)[0] == '#EXT-X-KEY:METHOD=AES-128,URI="/to/key",IV=0x1'
    assert read(*lines).references[0].uri == "http://origin.example/k"


def test_stray_uris_among_variants_are_left_out() -> None:
    playlist = read("stray.m3u8", "#EXT-X-STREAM-INF:BANDWIDTH=1", "", "# between", "v.m3u8", "stray.m3u8")
    assert playlist.render(urls).split() == [
        "#EXTM3U",
        "#",
        "between",
        "#EXT-X-STREAM-INF:BANDWIDTH=1",
        "/to/playlist",
    ]
    assert (playlist.dropped, len(playlist.references)) == (2, 1)
    assert playlist.narrowed().references == playlist.references


def test_variables_from_outside_cannot_break_out_of_a_value() -> None:
    text = b'#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM="q"\n#EXT-X-MEDIA:TYPE=AUDIO,NAME="{$q}"\n#EXTINF:4,\na\n'
    for value in ('x",URI="y', "a\nb", "a\u2028"):
        assert (
            parse(text, query={"q": value}).render(urls).split("\n")[1]
            == '#EXT-X-MEDIA:TYPE=AUDIO,NAME="{$q}"'
        )


def _long(*extra: str, count: int = ENTRIES + 2) -> list[str]:
    segments = [line for n in range(count) for line in ("#EXTINF:4,", f"{n}.ts")]
    return ["#EXT-X-TARGETDURATION:4", "#EXT-X-MEDIA-SEQUENCE:7", *extra, *segments]


def test_a_live_playlist_keeps_its_last_window() -> None:
    lines = _long('#EXT-X-KEY:METHOD=AES-128,URI="k0"', '#EXT-X-MAP:URI="m"', "#EXT-X-DISCONTINUITY")
    lines[lines.index("1.ts") - 1 : lines.index("1.ts")] = [
        '#EXT-X-KEY:METHOD=AES-128,URI="k1"',
        "#EXTINF:4,",
    ]
    lines.insert(lines.index("2.ts"), "#EXT-X-DISCONTINUITY")
    playlist = read(*lines)
    assert playlist.media_sequence == 9
    assert [found.uri for found in playlist.references[:3]] == ["m", "k1", "2.ts"]
    assert len(playlist.segments()) == ENTRIES
    assert playlist.render(lambda reference: reference.uri).split("\n")[:9] == [
        "#EXTM3U",
        "#EXT-X-TARGETDURATION:4",
        "#EXT-X-MEDIA-SEQUENCE:9",
        "#EXT-X-DISCONTINUITY-SEQUENCE:1",
        '#EXT-X-MAP:URI="m"',
        '#EXT-X-KEY:METHOD=AES-128,URI="k1"',
        "#EXTINF:4,",
        "#EXT-X-DISCONTINUITY",
        "2.ts",
    ]


def test_an_ended_playlist_keeps_its_beginning() -> None:
    playlist = read(*_long(), "#EXT-X-ENDLIST")
    assert playlist.media_sequence == 7
    assert len(playlist.segments()) == ENTRIES
    lines = playlist.render(lambda reference: reference.uri).split("\n")
    assert lines[4] == "0.ts"
    assert lines[-3:] == [f"{ENTRIES - 1}.ts", "#EXT-X-ENDLIST", ""]


def test_date_ranges_are_capped() -> None:
    playlist = read(*['#EXT-X-DATERANGE:ID="1"'] * (ENTRIES + 5), *SEGMENT)
    assert playlist.dropped == 5
    assert playlist.render(urls).count("DATERANGE") == ENTRIES
