"""Lineups as they are in the wild, read and written."""

from __future__ import annotations

from time import perf_counter

import pytest

from m3u_proxy.media.lineup.reader import ENTRIES, LINE, SKIPPED_TOLD, Entry, NotALineup, Reader
from m3u_proxy.media.lineup.writer import Keys, entry, header, slug

URL = "http://provider.example/live/u/p/1.ts"


def read(text: str | bytes) -> tuple[list[Entry], Reader]:
    """Everything in a lineup."""
    reader = Reader()
    data = text.encode() if isinstance(text, str) else text
    return [*reader.feed(data), *reader.finish()], reader


def only(info: str, *more: str, url: str = URL) -> Entry:
    """The one entry of a lineup."""
    entries, reader = read("\n".join(["#EXTM3U", f"#EXTINF:{info}", *more, url]))
    assert (len(entries), reader.skips) == (1, 0)
    return entries[0]


def test_what_providers_send() -> None:
    entries, reader = read(
        '#EXTM3U url-tvg="http://g.example/a.xml.gz,http://g.example/b.xml" tvg-shift=2 refresh="3600"\r\n'
        '#EXTINF:-1 tvg-id="BBC1.uk" tvg-name="BBC One, HD" tvg-logo="http://l.example/1.png?a=b,c"'
        ' tvg-chno="101"'
        ' group-title="UK;News" catchup="default" catchup-source="http://p.example/{utc}"'
        ' x-my="1",BBC One, HD\r\n'
        "#EXTGRP:Ignored\r\n"
        "http://provider.example/live/u/p/1.ts\r\n"
        "\r\n"
        "# a remark\r\n"
        "#EXTINF:0,Zwei\r\n"
        "#EXTGRP:Deutsch\r\n"
        "#EXT-X-PLAYLIST-TYPE:VOD\r\n"
        "https://provider.example/2.m3u8\r\n"
    )
    assert reader.attributes == {
        "url-tvg": "http://g.example/a.xml.gz,http://g.example/b.xml",
        "tvg-shift": "2",
        "refresh": "3600",
    }
    first, second = entries
    assert (first.line, first.name, first.url) == (2, "BBC One, HD", URL)
    assert first.attributes == {
        "tvg-id": "BBC1.uk",
        "tvg-name": "BBC One, HD",
        "tvg-logo": "http://l.example/1.png?a=b,c",
        "tvg-chno": "101",
        "group-title": "UK;News",
        "catchup": "default",
        "catchup-source": "http://p.example/{utc}",
        "x-my": "1",
    }
    assert (second.line, second.name) == (7, "Zwei")
    assert second.attributes == {"group-title": "Deutsch"}


@pytest.mark.parametrize(
    ("info", "name"),
    [
        ("-1,Plain", "Plain"),
        ("-1 , Blanks ", "Blanks"),
        ("-1.5,One, two, three", "One, two, three"),
        ('-1 tvg-name="A, B",C, D', "C, D"),
        ('-1 tvg-name="A" group-title="G" , C', "C"),
        ('-1 tvg-id="x",The "Best" Channel', 'The "Best" Channel'),
        ('-1 tvg-id="x",Channel "9"', 'Channel "9"'),
        ('-1 tvg-name="Foo" Bar",Name', "Name"),
        ('-1,Channel "4", HD', 'Channel "4", HD'),
        ('-1 tvg-id="x" group-title="A, B" , The "Best", live', 'The "Best", live'),
        ('-1 tvg-name="a "b", c",Name', "Name"),
        ("-1 tvg-id=x,Unquoted", "Unquoted"),
        ("-1 tvg-id='x, y',Single", "Single"),
        ("-1,Tab\tand\x07bell\x85", "Tab and bell"),
        ("-1,Q=uestions, a=b", "Q=uestions, a=b"),
    ],
)
def test_where_the_name_is(info: str, name: str) -> None:
    assert only(info).name == name


@pytest.mark.parametrize(
    ("info", "url", "name"),
    [
        ('-1 tvg-name="Guide",', URL, "Guide"),
        ("-1", "http://p.example/live/sport.ts?t=a/b.c", "sport"),
        ("-1,", "http://p.example/", "channel"),
        ("-1," + "x" * 600, URL, "x" * 500),
    ],
)
def test_who_has_no_name_gets_one(info: str, url: str, name: str) -> None:
    assert only(info, url=url).name == name


def test_header_fields_from_everywhere() -> None:
    one = only(
        "-1,A",
        "#EXTVLCOPT:http-user-agent=VLC/3 (x; y)",
        "#EXTVLCOPT:http-referrer=https://r.example/",
        "#EXTVLCOPT:network-caching=1000",
        "#KODIPROP:inputstream=inputstream.adaptive",
        "#KODIPROP:inputstream.adaptive.stream_headers=X-One=1%202&origin=https://o.example",
        '#EXTHTTP:{"cookie":"a=b","X-Two":"2","X-Bad":1}',
        url=URL + "|user-agent=Kodi%2F20&!X-Three=3&Referer=",
    )
    assert one.url == URL
    assert one.headers == {
        "User-Agent": "Kodi/20",
        "X-One": "1 2",
        "Origin": "https://o.example",
        "Cookie": "a=b",
        "X-Two": "2",
        "X-Three": "3",
    }


def test_options_may_stand_before_the_entry() -> None:
    entries, _ = read(f"#EXTM3U\n#EXTVLCOPT:http-user-agent=x\n#EXTGRP:G\n#EXTINF:-1,A\n{URL}\n{URL}\n")
    assert entries[0].headers == {"User-Agent": "x"}
    assert entries[0].attributes == {"group-title": "G"}
    assert entries[1].headers == {}


@pytest.mark.parametrize("said", ["X%0d%0aHost=evil", "Bad Name=1", "X=%00", "=1", "X="])
def test_what_is_no_header_field_is_left_out(said: str) -> None:
    assert only("-1,A", url=f"{URL}|{said}").headers == {}


@pytest.mark.parametrize(
    "line", ["#EXTHTTP:[1]", "#EXTHTTP:{", "#EXTHTTP:" + "[" * 20_000, "#KODIPROP:", "#EXTVLCOPT"]
)
def test_lines_that_say_nothing(line: str) -> None:
    assert only("-1,A", line).headers == {}


def test_encodings() -> None:
    lines = [b"\xef\xbb\xbf#EXTM3U", "#EXTINF:-1,Télé ñ".encode(), URL.encode()]
    lines += ["#EXTINF:-1,Télé € x".encode("cp1252"), URL.encode(), b"#EXTINF:-1,\x81\xe9", URL.encode()]
    entries, _ = read(b"\n".join(lines))
    assert [one.name for one in entries] == ["Télé ñ", "Télé € x", "é"]


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "empty", 1),
        ("\n \r\n", "empty", 1),
        ("<!DOCTYPE html><html>", "web page", 1),
        ("\n\n <html>\n", "web page", 3),
        ("<?xml version='1.0'?><tv/>", "XML", 1),
        ('{"user_info":{"auth":0}}', "JSON", 1),
        ("404 not found", "#EXTM3U", 1),
        ("\x00" * 50, "#EXTM3U", 1),
        (b"\x1f\x8b\x08\x00", "gzip", 1),
        ("PK\x03\x04", "ZIP", 1),
        ("\ufeff#EXTM3U\n".encode("utf-16-le"), "UTF-16", 1),
        ("#!/bin/sh\n# nothing\n", "#EXTM3U", 1),
        ("# a remark\n\n<html>\n", "web page", 3),
        ("<html>" + " " * 2 * LINE, "web page", 1),
        ("#EXTM3U\n#EXT-X-TARGETDURATION:6\nhttp://p.example/1.ts\n", "HLS", 2),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://p.example/1.m3u8\n", "HLS", 2),
    ],
)
def test_what_is_no_lineup_is_said(text: str | bytes, message: str, line: int) -> None:
    with pytest.raises(NotALineup, match=message) as raised:
        read(text)
    assert raised.value.line == line


def test_a_lineup_may_lack_its_first_line() -> None:
    assert [one.name for one in read(f"#EXTINF:-1,A\n{URL}")[0]] == ["A"]
    assert [one.name for one in read(URL)[0]] == ["1"]
    assert [one.name for one in read(f"# mine\n#EXTM3U\n#EXTINF:-1,A\n{URL}")[0]] == ["A"]
    (grouped,) = read(f"#EXTGRP:G\n#EXTINF:-1,A\n{URL}")[0]
    assert grouped.attributes == {"group-title": "G"}


def test_what_makes_no_entry_is_told_with_its_line() -> None:
    entries, reader = read(
        "#EXTM3U\n#EXTINF:-1,No address\n#EXTINF:-1,A\nhttp://p.example/1\nrelative.ts\n"
        "rtmp://p.example/2\n#EXTINF:-1,Cut off"
    )
    assert [one.name for one in entries] == ["A"]
    assert [(one.line, one.reason) for one in reader.skipped] == [
        (2, "no address follows"),
        (5, "not an address"),
        (6, "only http and https can be played, not rtmp"),
        (7, "no address follows"),
    ]


def test_a_long_line_is_skipped_with_the_entry_it_belongs_to() -> None:
    long = '#EXTINF:-1 tvg-logo="data:' + "A" * (10 * 2**20) + '",Long'
    entries, reader = read(
        f"#EXTM3U\n{long}\n{URL}\n#EXTINF:-1,B\n{URL}\n#EXTINF:-1,C\nhttp://x/{'y' * LINE}\n{URL}"
    )
    assert [one.name for one in entries] == ["B", "1"]
    assert [(one.line, one.reason) for one in reader.skipped] == [
        (2, "longer than 64 KiB"),
        (7, "longer than 64 KiB"),
    ]


def test_a_long_line_in_pieces_is_the_same_and_takes_no_memory() -> None:
    reader = Reader()
    piece = b"A" * 50_000
    entries = [*reader.feed(b"#EXTM3U\n#EXTINF:-1,")]
    for _ in range(200):
        entries += reader.feed(piece)
        assert len(reader._rest) <= LINE
    entries += [*reader.feed(f"\n{URL}\n#EXTINF:-1,B\n{URL}".encode()), *reader.finish()]
    assert [(one.name, one.line) for one in entries] == [("B", 4)]
    assert [one.line for one in reader.skipped] == [2]


def test_the_number_of_entries_and_of_told_lines_is_bounded() -> None:
    reader = Reader()
    entries = sum(1 for _ in reader.feed(b"#EXTM3U\n" + b"http://p.example/1\n" * (ENTRIES + 1000)))
    assert (entries, reader.skips, len(reader.skipped)) == (ENTRIES, 1000, SKIPPED_TOLD)


@pytest.mark.parametrize("filler", ["a", " ", '"', "a ", "a=", '="', "a='", ","])
def test_no_line_takes_long(filler: str) -> None:
    line = "#EXTINF:-1 " + filler * ((LINE - 20) // len(filler))
    began = perf_counter()
    read(f"#EXTM3U\n{line}\n{URL}\n")
    assert perf_counter() - began < 0.5


# -- out ------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_as_the_same() -> None:
    one = only('-1 tvg-id="a.b" group-title="G;H" x-new="é",The "Best", now')
    text = header({"url-tvg": "http://g/"}, guides=["http://we/xmltv", "http://we/2"]) + entry(
        one.name, URL, one.attributes
    )
    entries, reader = read(text)
    assert (entries[0].url, entries[0].attributes) == (one.url, one.attributes)
    assert reader.attributes == dict.fromkeys(("url-tvg", "x-tvg-url"), "http://we/xmltv,http://we/2")


def test_nothing_can_begin_a_line_or_end_a_value() -> None:
    text = entry("A\n#EXTINF:-1,B\r\x85", URL, {"tvg-id": 'a" x="y\nb'})
    assert text == f"#EXTINF:-1 tvg-id=\"a' x='y b\",A #EXTINF:-1,B\n{URL}\n"


def test_addresses_of_the_provider_stay_here() -> None:
    attributes = {"catchup-source": "http://p.example/u/CANARY/{utc}", "tvg-logo": "http://l.example/1.png"}
    text = entry("A", URL, attributes) + header({"x-more": "http://p.example/?password=CANARY"}, guides=[])
    assert "CANARY" not in text
    assert 'tvg-logo="http://l.example/1.png"' in text
    assert "url-tvg" not in text


# -- keys -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("&pictures", "and_pictures"),
        ("7x Music", "7x_music"),
        ("A&E", "a_and_e"),
        ("  BBC -- One (HD) ", "bbc_one_hd"),
        ("Télé Ñandú", "tele_nandu"),
        ("Первый", "channel"),
        ("", "channel"),
        ("___", "channel"),
        ("x" * 100, "x" * 64),
    ],
)
def test_keys_are_slugs(name: str, key: str) -> None:
    assert slug(name) == key


def test_keys_are_numbered() -> None:
    keys = Keys()
    keys.hold("news_3")
    assert [keys.take(name) for name in ("News", "NEWS", "news!", "News 2")] == [
        "news",
        "news_2",
        "news_4",
        "news_2_2",
    ]
    assert "news_4" in keys
