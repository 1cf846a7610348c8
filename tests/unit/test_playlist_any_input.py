"""Any playlist, any bytes: no address gets through, no line is gained, nothing but NotAPlaylist is raised."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.playlist import GAP_URL, SIZE, NotAPlaylist, Playlist, Reference, Role, parse

HOST = "origin.example"
USER = "s3cret-user"
NAMES = (HOST, USER)
quick = settings(deadline=None, max_examples=200, derandomize=True)

KNOWN = (
    "KEY",
    "SESSION-KEY",
    "MAP",
    "MEDIA",
    "STREAM-INF",
    "I-FRAME-STREAM-INF",
    "PART",
    "PRELOAD-HINT",
    "RENDITION-REPORT",
    "SESSION-DATA",
    "CONTENT-STEERING",
    "DEFINE",
    "SERVER-CONTROL",
    "DATERANGE",
    "GAP",
    "BYTERANGE",
    "TARGETDURATION",
    "PLAYLIST-TYPE",
    "ENDLIST",
    "DISCONTINUITY",
    "PROGRAM-DATE-TIME",
)
_uri = st.sampled_from(
    [
        "a.ts",
        "../b/c.m3u8?x=1",
        f"http://{HOST}/live/{USER}/pw/1.ts",
        f"//{HOST}/x",
        f"\\\\{HOST}\\x",
        f"HTTPS://{HOST.upper()}:8080/a",
        f"http:/{HOST}/",
        f"skd://{HOST}/1",
        "skd://asset",
        f"data:text/plain,{HOST}",
        "data:;base64,AAAA",
        "file:///etc/passwd",
        f"concat:http://{HOST}/1|http://{HOST}/2",
        "javascript:alert(1)",
        "",
        "#f",
        "?x",
        "a b",
        "%0d%0a#EXT-X-KEY",
        f"{{$v}}/{HOST}",
        "{$v}{$w}",
        "a\rb",
        "a\u2028#EXT-X-ENDLIST",
        "a\x85b",
        "\udcff\udc80",
        "ümläut",
    ]
)
_text = st.one_of(
    _uri, st.text(max_size=30), st.sampled_from(["-1", "1e400", "9" * 30, "10@5", "NONE", "VOD"])
)
_value = st.one_of(_uri.map(lambda uri: f'"{uri}"'), _text, _text.map(lambda text: f'"{text}"'))
_NAMES = """
    URI METHOD TYPE NAME VALUE IMPORT QUERYPARAM BYTERANGE BYTERANGE-START BYTERANGE-LENGTH KEYFORMAT
    BANDWIDTH GROUP-ID AUDIO DEFAULT SERVER-URI X-ASSET-URI CAN-BLOCK-RELOAD X-OTHER uri
"""
_names = st.sampled_from(_NAMES.split())
_attributes = st.lists(st.tuples(_names, _value).map("=".join), max_size=5).map(",".join)
_sound = st.sampled_from(
    [
        '#EXT-X-KEY:METHOD=AES-128,URI="k"',
        "#EXT-X-KEY:METHOD=NONE",
        '#EXT-X-MAP:URI="m"',
        '#EXT-X-DEFINE:NAME="v",VALUE="http://origin.example"',
        '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="p"',
        "#EXTINF:4,",
    ]
)
_known = st.tuples(st.sampled_from(KNOWN), st.one_of(_attributes, _text)).map(
    lambda t: f"#EXT-X-{t[0]}:{t[1]}"
)
_extinf = st.tuples(_text, _text).map(lambda t: f"#EXTINF:{t[0]},{t[1]}")
_unknown = st.tuples(st.sampled_from(["#", "# ", "#EXT-X-ODD:", "#EXT-X-ODD:URI="]), _text).map("".join)
_line = st.one_of(_sound, _known, _extinf, _unknown, _uri)


@st.composite
def playlists(draw: st.DrawFn) -> str:
    """Mostly of one kind: what mixes variants with segments is refused at once."""
    absent = draw(st.sampled_from([("#EXT-X-STREAM-INF",), ("#EXTINF", "#EXT-X-TARGETDURATION"), ("?",)]))
    lines = [line for line in draw(st.lists(_line, max_size=25)) if not line.startswith(absent)]
    if "#EXTINF" in absent:
        lines += ["#EXT-X-STREAM-INF:BANDWIDTH=1", "v.m3u8"]
    ends = draw(st.sampled_from(["\n", "\r\n"]))
    return ends.join(["#EXTM3U", *lines, draw(st.sampled_from(["", "# end"]))])


def lines_of(text: str) -> list[str]:
    return [line.rstrip("\r") for line in text.split("\n")]


def url_of(reference: Reference) -> str | None:
    return None if len(reference.uri) % 5 == 4 else f"/viewer/{reference.role}"


def parsed(text: str) -> Playlist | None:
    try:
        return parse(
            text.encode("utf-8", "surrogateescape"),
            hosts=NAMES,
            variables={"x": f"http://{HOST}/"},
            query={"a.ts": '"\n#EXTINF', "w": USER},
        )
    except NotAPlaylist as error:
        refusal = error
    assert not any(name in str(refusal) for name in NAMES)
    assert refusal.reason in {"not_media", "too_large", "protocol"}
    return None


def written(playlist: Playlist) -> list[str]:
    """Both forms, for a usable and for a mostly unusable upstream."""
    both = [playlist, playlist.narrowed()]
    return [form.render(url) for form in both for url in (url_of, lambda _: None, lambda _: "/viewer/x")]


@quick
@given(playlists())
def test_no_name_of_the_upstream_gets_through(text: str) -> None:
    playlist = parsed(text)
    for out in written(playlist) if playlist else ():
        assert not any(name in out.casefold() for name in NAMES)
        out.encode("utf-8", "surrogateescape")


@quick
@given(playlists())
def test_an_absolute_url_is_only_ever_the_name_of_a_key(text: str) -> None:
    playlist = parsed(text)
    for out in written(playlist) if playlist else ():
        held = [line for line in lines_of(out) if "://" in line]
        assert all(line.startswith(("#EXT-X-KEY:", "#EXT-X-SESSION-KEY:")) for line in held)
        assert not any(word in line for line in held for word in ("http", "file", "concat"))


@quick
@given(playlists())
def test_an_unknown_line_comes_out_unchanged_or_not_at_all(text: str) -> None:
    playlist = parsed(text)
    before = Counter(lines_of(text))
    for out in written(playlist) if playlist else ():
        odd = Counter(line for line in lines_of(out) if line.startswith(("#EXT-X-ODD", "# ")))
        assert odd <= before


@quick
@given(playlists())
def test_no_line_is_gained(text: str) -> None:
    playlist = parsed(text)
    for out in written(playlist) if playlist else ():
        assert len(out.splitlines()) == len(lines_of(out.removesuffix("\n")))  # no other end of line either
        now, was = lines_of(out), lines_of(text)
        gaps = sum(line == "#EXT-X-GAP" for line in now)
        assert len(now) - gaps <= len(was)
        assert tags(now) - Counter({"#EXT-X-GAP": gaps}) <= tags(was)


@quick
@given(playlists())
def test_the_uri_lines_are_those_of_the_model(text: str) -> None:
    playlist = parsed(text)
    if playlist is None:
        return
    lines = playlist.render(lambda reference: f"/viewer/{reference.role}").splitlines()
    uris = Counter(line for line in lines if line and not line.startswith("#"))
    assert set(uris) <= {"/viewer/segment", "/viewer/playlist", "gap.ts"}
    segments = sum(slot.kind.name == "SEGMENT" for slot in playlist.slots)
    assert uris["/viewer/segment"] + uris["gap.ts"] == segments
    assert uris["/viewer/segment"] <= len(playlist.segments())
    assert uris["/viewer/playlist"] == sum(slot.kind.name == "VARIANT" for slot in playlist.slots)
    assert all(reference.uri and reference.role in Role for reference in playlist.references)


@quick
@given(playlists())
def test_what_was_written_reads_the_same(text: str) -> None:
    playlist = parsed(text)
    if playlist is None:
        return
    out = playlist.render(lambda reference: "/viewer/x")
    again = parsed(out)
    assert again is not None
    twice = again.render(lambda reference: None if reference.uri == GAP_URL else "/viewer/x")
    assert without_gaps(twice) == without_gaps(out)
    assert again.media_sequence == playlist.media_sequence


def without_gaps(text: str) -> list[str]:
    """A tag that means nothing among variants, and whose repetition is left out."""
    return [line for line in lines_of(text) if line != "#EXT-X-GAP"]


def tags(lines: list[str]) -> Counter[str]:
    return Counter(line.partition(":")[0].rstrip(" \t") for line in lines if line.startswith("#EXT"))


@quick
@given(st.binary(max_size=400), st.sampled_from([b"", b"#EXTM3U\n", b"#EXTM3U\n#EXT-X-TARGETDURATION:4\n"]))
def test_any_bytes_are_a_playlist_or_not(data: bytes, head: bytes) -> None:
    try:
        playlist = parse(head + data, hosts=NAMES)
    except NotAPlaylist:
        return
    for out in written(playlist):
        assert out.startswith("#EXTM3U")


UNIT_KIB = 64
REPEATED = {
    "quotes": b'#EXT-X-KEY:METHOD=AES-128,URI="' + b'"' * 15_000 + b"\n",
    "commas": b"#EXT-X-MEDIA:" + b"," * 15_000 + b"\n",
    "open quotes": b"#EXT-X-MEDIA:" + b',A="' * 3_750 + b"\n",
    "blanks": b"#EXT-X-MEDIA:A=" + b" " * 15_000 + b'"\n',
    "names": b"#EXT-X-MEDIA:" + b",A" * 7_500 + b"\n",
    "uses": b"#EXTINF:4,\n" + b"{$" * 7_500 + b"\n",
    "titles": b"#EXTINF:" + b" " * 15_000 + b"\n",
    "digits": b"#EXTINF:" + b"1" * 15_000 + b"\n",
    "escapes": b"#" + b"%41" * 5_000 + b"\n",
    "tags": b"#EXT-X-KEY:\n",
    "segments": b"#EXTINF:4,\nseg-000.ts?xyz\n",
    "comments": b"# a comment of some words\n",
    "returns": b"\r" * 15_000 + b"\n",
}


@pytest.mark.parametrize("what", REPEATED)
def test_no_input_takes_long(what: str) -> None:
    head = b'#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-DEFINE:NAME="v",VALUE="w"\n'
    text = head + REPEATED[what] * (UNIT_KIB * 1024 // len(REPEATED[what]))

    def once() -> float:
        started = time.thread_time()
        playlist = parsed(text.decode())
        if playlist is not None:
            written(playlist)
        return time.thread_time() - started

    assert min(once() for _ in range(3)) < 0.1


def test_rubbish_of_the_largest_size_is_judged_in_bounded_time() -> None:
    rng = random.Random(7)
    words = [
        b"#EXTINF:4,",
        b"#EXT-X-KEY:METHOD=AES-128,URI=",
        b'"http://origin.example/',
        b"\n",
        b",",
        b"=",
        b"\xff",
    ]
    text = b"#EXTM3U\n" + b"".join(rng.choices(words, k=200_000))
    started = time.thread_time()
    outs = written(parse(text[:SIZE], hosts=NAMES))
    assert time.thread_time() - started < 3
    assert not any(HOST in out for out in outs)
