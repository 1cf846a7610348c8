"""A URL is read in exactly one way, or not at all."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.errors import InvalidField
from m3u_proxy.upstream.url import join, parse

EMPTY = "URL cannot be empty"
PROTOCOL = "URL must use HTTP or HTTPS protocol"
DOMAIN = "URL must have a valid domain"
CONTROL = "URL must not contain control characters"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", EMPTY),
        ("   ", EMPTY),
        ("\r\n", EMPTY),
        *[
            (f"{scheme}x", PROTOCOL)
            for scheme in (
                "file:///",
                "ftp://",
                "gopher://",
                "data:",
                "javascript:",
                "unix:",
                "pipe:",
                "concat:",
                "subfile,,:",
                "crypto+file:",
                "tee:",
                "lavfi:",
                "rtmp://",
                "udp://",
                "httpx://",
                "//",
                "",
            )
        ],
        ("http://a@b@c/", DOMAIN),
        ("http://internal#@ok/", DOMAIN),
        ("http://internal?@ok/", DOMAIN),
        ("http:\\\\internal", DOMAIN),
        ("http://h\\@x/", DOMAIN),
        ("http://h\\x/", DOMAIN),
        ("http:/h/x", DOMAIN),
        ("http:h/x", DOMAIN),
        ("http:///x", DOMAIN),
        ("http://", DOMAIN),
        ("http://:80/", DOMAIN),
        ("http://user@/", DOMAIN),
        ("http://h%00/x", DOMAIN),
        ("http://h%2ex/", DOMAIN),
        ("http://a b/", DOMAIN),
        ("http://a,b/", DOMAIN),
        ("http://a..b/", DOMAIN),
        (f"http://{'a' * 64}.example/", DOMAIN),
        (f"http://{'a.' * 130}example/", DOMAIN),
        ("http://[::1/", DOMAIN),
        ("http://::1/", DOMAIN),
        ("http://[::1]x/", DOMAIN),
        ("http://[fe80::1%lo]/", DOMAIN),
        ("http://[fe80::1%25lo]/", DOMAIN),
        ("http://[v1.x]/", DOMAIN),
        ("http://1.2.3.4.5/", DOMAIN),
        ("http://256.1.1.1/", DOMAIN),
        ("http://example.0x1g.99999999999/", DOMAIN),
        ("http://h:80:90/", DOMAIN),
        ("http://h:+80/", DOMAIN),
        ("http://h:\uff18\uff10/", DOMAIN),
        ("http://h:0x50/", DOMAIN),
        ("http://h:0/", "URL must have a port between 1 and 65535"),
        ("http://h:65536/", "URL must have a port between 1 and 65535"),
        ("http://h/a\tb", CONTROL),
        ("ht\ttp://h/", CONTROL),
        ("http://h\r\n/", CONTROL),
        ("http://h/\x00", CONTROL),
        ("http://h/\x85", CONTROL),
        ("http://h/" + "a" * 40_000, "URL must not be longer than 32768 characters"),
        ("http://h/\ud800", "URL must be valid Unicode text"),
    ],
)
def test_a_url_with_no_or_more_than_one_reading_is_refused(url: str, message: str) -> None:
    with pytest.raises(InvalidField) as caught:
        parse(url, "failover_urls")
    assert (caught.value.field, caught.value.detail) == ("failover_urls", message)


@pytest.mark.parametrize(
    ("url", "wire", "host", "port", "userinfo"),
    [
        ("http://h/x", "http://h/x", "h", 80, None),
        ("  HTTPS://H.Example.:443 ", "https://h.example./", "h.example.", 443, None),
        ("http://h:/x", "http://h/x", "h", 80, None),
        ("http://h:08080?a=1#f", "http://h:8080/?a=1", "h", 8080, None),
        ("http://ok@internal/", "http://internal/", "internal", 80, "ok"),
        ("http://u%40x:p%3A:q@h/", "http://h/", "h", 80, "u%40x:p%3A:q"),
        ("http://:@h/", "http://h/", "h", 80, ":"),
        # providers sign what follows the authority: not one byte of it may change
        ("http://h/a%2Fb/../c//?x=%2f+~[]|&y={}^`'\"<>\\&z=a@b", None, "h", 80, None),
        ("http://h/%zz%?javascript:<script", None, "h", 80, None),
        ("http://h/a b/é?ü", "http://h/a%20b/%C3%A9?%C3%BC", "h", 80, None),
        ("http://h/\udce9", "http://h/%E9", "h", 80, None),
        ("http://münchen.example/", "http://xn--mnchen-3ya.example/", "xn--mnchen-3ya.example", 80, None),
        ("http://under_score.example/", None, "under_score.example", 80, None),
        ("http://127.1/x", "http://127.0.0.1/x", "127.0.0.1", 80, None),
        ("http://127.0.1/", "http://127.0.0.1/", "127.0.0.1", 80, None),
        ("http://0x7f.1:81/", "http://127.0.0.1:81/", "127.0.0.1", 81, None),
        ("http://0177.0.0.1./", "http://127.0.0.1/", "127.0.0.1", 80, None),
        ("http://2130706433/", "http://127.0.0.1/", "127.0.0.1", 80, None),
        ("http://0/", "http://0.0.0.0/", "0.0.0.0", 80, None),
        ("http://①②⑦.0.0.1/", "http://127.0.0.1/", "127.0.0.1", 80, None),
        ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/", "::ffff:7f00:1", 80, None),
        ("http://[0:0:0:0:0:0:0:1]:81/", "http://[::1]:81/", "::1", 81, None),
    ],
)
def test_a_url_is_read_in_one_way(
    url: str, wire: str | None, host: str, port: int, userinfo: str | None
) -> None:
    target = parse(url)
    assert str(target.url) == (wire or url)
    assert (target.host, target.port, target.userinfo) == (host, port, userinfo)


@given(
    st.text(st.characters(exclude_categories=()), max_size=40),
    st.sampled_from(["http://", "https://u@", "http:"]),
)
def test_whatever_is_read_has_the_same_host_in_another_parser(text: str, prefix: str) -> None:
    try:
        target = parse(prefix + text)
    except InvalidField:
        return
    wire = str(target.url)
    assert urlsplit(wire).hostname == target.host
    assert parse(wire).url == target.url
    assert wire.isascii()
    assert " " not in wire


@pytest.mark.parametrize(
    ("reference", "joined"),
    [
        ("b.ts", "http://u:p@h:81/a%2Fx/b.ts"),
        ("../b c.ts?q=1#f", "http://u:p@h:81/b%20c.ts?q=1"),
        ("/b", "http://u:p@h:81/b"),
        ("?q", "http://u:p@h:81/a%2Fx/l.m3u8?q"),
        ("//other/b", "http://other/b"),
        ("https://x:y@other/b", "https://x:y@other/b"),
    ],
)
def test_a_reference_keeps_the_credentials_of_its_base_on_the_same_host(reference: str, joined: str) -> None:
    assert str(join(parse("http://u:p@h:81/a%2Fx/l.m3u8?old"), reference)) == joined


@pytest.mark.parametrize("reference", ["/\t/internal/", "\\\\internal\r\n", "file:///etc/passwd", "//a@b@c/"])
def test_a_reference_with_more_than_one_reading_is_refused(reference: str) -> None:
    with pytest.raises(InvalidField):
        join(parse("http://h/"), reference)
