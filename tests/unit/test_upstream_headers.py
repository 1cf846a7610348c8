"""Header fields towards a provider, and how long one of its answers may keep us away."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from m3u_proxy.errors import InvalidField
from m3u_proxy.upstream.headers import basic_credentials, request_headers, retry_after

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def test_defaults_name_the_host_and_nothing_else_of_the_url() -> None:
    assert request_headers("https://u:p@Provider.example:8443/live/u/p/1.ts?t=1", "VLC/3", {}) == {
        "User-Agent": "VLC/3",
        "Referer": "https://provider.example:8443/",
        "Origin": "https://provider.example:8443",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
    }


def test_custom_headers_win_whatever_their_case_except_over_the_encoding() -> None:
    custom = {"user-agent": "mine", "REFERER": "http://x/", "accept-encoding": "gzip", "X-A": "1"}
    headers = request_headers("http://h/", "VLC/3", custom)
    lower = {name.lower(): value for name, value in headers.items()}
    assert len(lower) == len(headers)
    assert (lower["user-agent"], lower["referer"], lower["x-a"]) == ("mine", "http://x/", "1")
    assert lower["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "UPGRADE",
        "Proxy-Connection",
        "Proxy-Authorization",
        "Content-Length",
        "Expect",
    ],
)
def test_hop_by_hop_headers_are_dropped(name: str) -> None:
    plain = request_headers("http://h/", "VLC/3", {})
    assert request_headers("http://h/", "VLC/3", {name: "x"}) == plain


@pytest.mark.parametrize(
    ("agent", "custom"),
    [
        ("a\r\nX-Evil: 1", {}),
        ("a", {"X": "1\nY: 2"}),
        ("a", {"X": "1\r"}),
        ("a", {"X": "\x00"}),
        ("a", {"X\r\nY": "1"}),
        ("a", {"X Y": "1"}),
        ("a", {"X:": "1"}),
        ("a", {"": "1"}),
        ("a", {"é": "1"}),
    ],
)
def test_what_would_not_be_one_header_line_is_refused(agent: str, custom: dict[str, str]) -> None:
    with pytest.raises(InvalidField) as caught:
        request_headers("http://h/", agent, custom)
    assert caught.value.field == "headers"


def test_credentials_of_a_url_are_decoded_before_they_are_sent() -> None:
    assert basic_credentials("Aladdin:open%20sesame") == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="  # RFC 7617 §2
    assert basic_credentials("only") == "Basic b25seTo="


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("20", 20.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("301", 300.0),
        ("1e9", 300.0),
        ("inf", 300.0),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 13:00:30 +0100", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 12:00:00 GMT", 300.0),
        ("", None),
        ("nan", None),
        ("soon", None),
        ("Thu, 99 Jan 2026 12:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_a_cap(field: str, seconds: float | None) -> None:
    assert retry_after(field, NOW) == seconds
