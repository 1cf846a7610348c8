"""Any lineup in any pieces: the same entries, clean ones, and nothing but NotALineup is raised."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from m3u_proxy.media.lineup.fields import is_header
from m3u_proxy.media.lineup.reader import Entry, NotALineup, Reader, Skipped
from m3u_proxy.media.lineup.writer import Keys, entry, header, slug

quick = settings(deadline=None, max_examples=200, derandomize=True)

_words = st.sampled_from(
    [
        *(
            "#EXTM3U",
            "#EXTINF:-1",
            "#EXTINF:",
            "#EXTGRP:",
            "#EXTVLCOPT:http-user-agent=",
            "#EXTHTTP:",
            "#KODIPROP:",
        ),
        *("tvg-id=", "group-title=", '"', "'", ",", " ", "|", "User-Agent=x", "&", "!", "=", "%00", "{", "}"),
        *("http://h.example/", "rtmp://x/", "é", "\n", "\r\n", "\n\n", "\ufeff", "\x00", "\x85", "\u2028"),
    ]
)
_texts = st.lists(_words | st.text(max_size=4), max_size=60).map(
    lambda parts: "".join(parts).encode("utf-8", "replace")
)
lineups = st.one_of(
    st.binary(max_size=400),
    _texts,
    _texts.map(lambda text: b"#EXTM3U\n" + text),
    st.tuples(_texts, st.binary(max_size=30)).map(lambda pair: b"#EXTM3U\n" + pair[1] + pair[0]),
)


def read(pieces: list[bytes]) -> tuple[list[Entry], list[Skipped], str]:
    """Entries, what was skipped, and why it is no lineup."""
    reader, entries = Reader(), list[Entry]()
    try:
        for piece in pieces:
            entries += reader.feed(piece)
        entries += reader.finish()
    except NotALineup as error:
        return entries, reader.skipped, f"{error} {error.line}"
    return entries, reader.skipped, ""


@quick
@given(lineups, st.lists(st.integers(0, 400), max_size=8))
def test_pieces_make_no_difference(text: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(places)]
    assert read(pieces) == read([text]) == read([text[at : at + 1] for at in range(len(text))])


@quick
@given(lineups)
def test_entries_are_clean(text: bytes) -> None:
    for one in read([text])[0]:
        assert one.url.lower().startswith(("http://", "https://"))
        assert one.url.isprintable()
        assert "|" not in one.url
        assert one.name
        assert one.name.isprintable()
        assert all(value.isprintable() for value in one.attributes.values())
        assert all(is_header(name, value) for name, value in one.headers.items())


@quick
@given(lineups)
def test_what_is_written_has_the_same_number_of_entries(text: bytes) -> None:
    entries = read([text])[0]
    written = header({}, guides=[]) + "".join(entry(one.name, one.url, one.attributes) for one in entries)
    again, skipped, why = read([written.encode("utf-8", "replace")])
    assert [one.url for one in again] == [one.url for one in entries]
    assert (skipped, why) == ([], "")


@quick
@given(st.lists(st.text(max_size=12)))
def test_keys_are_slugs_and_given_once(names: list[str]) -> None:
    keys = Keys()
    taken = [keys.take(name) for name in names]
    assert len(set(taken)) == len(names)
    for name, key in zip(names, taken, strict=True):
        assert key.startswith(slug(name))
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_")
