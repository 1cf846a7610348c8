"""The Content-Range field (RFC 9110 §14.4) and one range before the size is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.upstream.ranges import ContentRange, Single, parse_content_range, parse_single


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("bytes 42-1233/1234", ContentRange(42, 1233, 1234)),
        ("bytes 42-1233/*", ContentRange(42, 1233, None)),
        ("bytes */1234", ContentRange(None, None, 1234)),
        ("bytes */0", ContentRange(None, None, 0)),
        ("Bytes 0-0/1", ContentRange(0, 0, 1)),
        ("  bytes  0-0/1 ", ContentRange(0, 0, 1)),
    ],
)
def test_what_a_content_range_says(text: str, held: ContentRange) -> None:
    assert parse_content_range(text) == held


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes */*",
        "bytes 0-1",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes -5/10",
        "bytes 5-/10",
        "bytes=0-1/2",
        "items 0-1/2",
        "bytes 0-1/2, bytes 3-4/5",
        "bytes +0-1/2",
        "bytes 0-1/-2",
        "bytes 0-" + "9" * 40 + "/*",
        "bytes \u0660-\u0661/\u0662",
    ],
)
def test_an_invalid_content_range_says_nothing(text: str) -> None:
    assert parse_content_range(text) is None


@given(
    st.text(max_size=40)
    | st.from_regex(r"bytes ([0-9]{1,20}-[0-9]{1,20}|\*)/([0-9]{1,20}|\*)", fullmatch=True)
)
def test_whatever_is_said_lies_inside_the_size(text: str) -> None:
    held = parse_content_range(text)
    if held is None or held.first is None:
        assert held is None or (held.last is None and held.size is not None)
    else:
        assert held.last is not None
        assert 0 <= held.first <= held.last
        assert held.size is None or held.last < held.size


@given(st.text(max_size=30) | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True))
def test_a_single_range_is_sent_on_as_it_was_understood(text: str) -> None:
    single = parse_single(text)
    if single is not None:
        assert str(single).isascii()
        assert parse_single(str(single)) == single


@pytest.mark.parametrize(
    ("single", "text"),
    [
        (Single(0, None), "bytes=0-"),
        (Single(5, 9), "bytes=5-9"),
        (Single(None, 5), "bytes=-5"),
        (Single(None, 0), "bytes=-0"),
    ],
)
def test_the_range_field(single: Single, text: str) -> None:
    assert str(single) == text
    assert parse_single(text) == single
