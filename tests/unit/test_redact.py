"""No credential survives ``redact``, and words that hold none are left as they are."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from m3u_proxy.redact import redact

SHAPES = {
    "userinfo": "cannot connect to http://{0}:{1}@provider.example:8080/a.m3u8",
    "userinfo without a scheme": "proxy {0}:{1}@provider.example refused",
    "live path": "GET http://provider.example/live/{0}/{1}/101.ts failed",
    "movie, series and time shift": (
        "/movie/{0}/{1}/7.mkv /series/{0}/{1}/8.mp4 /timeshift/{0}/{1}/60/2026-05-01:10-00/9.ts"
    ),
    "short path": "'http://provider.example:8080/{0}/{1}/123.ts' ended, provider.example/{0}/{1}/123 too.",
    "JSON with escaped slashes": r'{{"url":"http:\/\/provider.example\/live\/{0}\/{1}\/1.ts","n":1}}',
    "encoded": "url=http%3A%2F%2Fprovider.example%2Flive%2F{0}%2F{1}%2F1.ts",
    "query": "GET /get.php?username={0}&password={1}&type=m3u_plus HTTP/1.1",
    "query without names": "http://provider.example/a.m3u8?{0}{1}",
    "header lines": "Authorization: Bearer {0}\r\nCookie: a={1}; b={0}\r\nX-API-Token: {1}\r\nHost: h",
    "headers as a dict": "{{'Authorization': 'Basic {0}', \"X-Auth-Key\": \"{1}\", 'Host': 'h'}}",
    "raw headers": "((b'X-API-Token', b'{0}'), (b'Cookie', b'{1}'), (b'Host', b'h'))",
    "running text": "api_token={0} password: {1} refresh_token='{0}'",
    "authentication scheme": "upstream answered 401 to Bearer {0} and to Basic {1}",
    "options behind an address": "http://provider.example/a.ts|User-Agent=x&Cookie={0}&Authorization={1}",
}

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# The prefix is in no shape; what follows it is whatever RFC 3986 allows in a path segment, and some more.
CANARIES = st.text(UNRESERVED, min_size=2, max_size=20).map(lambda tail: f"CANARY00{tail}")
PATH_CANARIES = st.text(UNRESERVED + "!$'()*+,;=:@|\"<>é%", max_size=12).map(
    lambda mid: f"CANARY00{mid}CANARY99"
)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@given(user=CANARIES, password=CANARIES)
@example(user="CANARY00.PASSWORD", password="CANARY00")
def test_no_credential_survives(shape: str, user: str, password: str) -> None:
    assert "CANARY" not in redact(shape.format(user, password))


@pytest.mark.parametrize(
    "shape",
    [
        "http://provider.example/live/{0}/{1}/101.ts",
        "http://provider.example/series/{0}/{1}/101.mkv?x=1",
        "http://provider.example:8080/{0}/{1}/101.ts",
        "http://provider.example/get.php?username={0}&password={1}",
    ],
)
@given(user=PATH_CANARIES, password=PATH_CANARIES)
def test_odd_characters_hide_nothing_from_it(shape: str, user: str, password: str) -> None:
    # A quote before a delimiter ends a query: what follows is text.
    assume("get.php" not in shape or not set("\"'<>") & set(user + password))
    assert "CANARY" not in redact(shape.format(user, password))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://bob:p@ss@h.example:80/a.ts", "http://***@h.example:80/a.ts"),
        ("redis://:secret@h.example:6379/0", "redis://***@h.example:6379/0"),
        ("http://h.example/live/bob/pw/101.ts", "http://h.example/live/***/***/101.ts"),
        ("http://h.example/LIVE/bob/pw", "http://h.example/LIVE/***/***"),
        ("Opening '/bob/pw/12.m3u8' for reading", "Opening '/***/***/12.m3u8' for reading"),
        ("http://h.example/live/o'neil/p\"w/1.ts", "http://h.example/live/***/***/1.ts"),
        ("GET /hls/1e50/playlist.m3u8?client_id=7&t", "GET /hls/1e50/playlist.m3u8?client_id=***&***"),
        ("<http://h.example/a?b=c>, next", "<http://h.example/a?b=***>, next"),
        ('{"url":"http://h.example/a?b=c","n":1}', '{"url":"http://h.example/a?b=***","n":1}'),
        ("http%3A%2F%2Fbob%3Apw%40h.example%2Fa", "http%3A%2F%2F***@h.example%2Fa"),
        ("a%3Fpassword%3Dpw", "a%3F***"),
        ("{'Cookie': 'a=b; c=d', 'Host': 'h'}", "{'Cookie': '***', 'Host': 'h'}"),
        ("Set-Cookie: a=b\r\nHost: h", "Set-Cookie: ***\r\nHost: h"),
        (r"b'GET / HTTP/1.1\r\nCookie: a=b'", r"b'GET / HTTP/1.1\r\nCookie: ***"),
        ('{"api_token": "a\\"b", "n": 1}', '{"api_token": "***", "n": 1}'),
    ],
)
def test_masks_the_secret_and_keeps_the_rest(text: str, expected: str) -> None:
    assert redact(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "stream 1e504d534b5eac4979fb73c871810a37 is live, 3 viewers",
        "[hls @ 0x55d0c8] Opening 'segment_12.ts' for writing",
        "listening on http://0.0.0.0:8085/m3u-proxy",
        "GET /hls/1e504d534b5eac4979fb73c871810a37/playlist.m3u8",
        "http://provider.example/live/stream.m3u8",
        "http://provider.example:8080/live/1.ts",
        r"http:\/\/provider.example\/live\/1.ts",
        "http%3A%2F%2Fprovider.example%2Flive%2F1.ts",
        "2026-05-01T10:00:00.000+00:00 is this all? Yes.",
        "-map 0:v:0 -map 0:a? -f hls",
    ],
)
def test_leaves_ordinary_text_alone(text: str) -> None:
    assert redact(text) is text


@given(st.text(alphabet="ab1/?&=@:%2f'\" \\.\r\n", max_size=60))
def test_twice_is_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@pytest.mark.timeout(5)
@pytest.mark.parametrize(
    "unit",
    ["/", "/1", "/live/", "%2f", "%2fa", "?'a", "a:", "//", "x-", "x-token", "token='", "cookie '", "\\"],
)
def test_hostile_text_costs_little(unit: str) -> None:
    text = unit * (40_000 // len(unit))
    assert len(redact(text + "@")) <= 2 * len(text) + 10
