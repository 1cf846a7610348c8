"""One range or the whole (RFC 9110 §14.1.2, §14.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.upstream.ranges import Slice, Unsatisfiable, parse_range

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-", 0, 999),
        ("bytes=0-0", 0, 0),
        ("bytes=0-499", 0, 499),
        ("bytes=500-999", 500, 999),
        ("bytes=999-", 999, 999),
        ("bytes=500-123456", 500, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-500", 500, 999),
        ("bytes=-1000", 0, 999),
        ("bytes=-5000", 0, 999),
        ("bytes= 10 - 19", 10, 19),
    ],
)
def test_one_range_selects_what_it_says(header: str, first: int, last: int) -> None:
    assert parse_range(header, SIZE) == Slice(first, last)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=0",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "bytes=5-4",
        "bytes=0x1-2",
        "bytes=+1-2",
        "bytes=--1",
        "bytes=1-2-3",
        "items=0-5",
        "bytes=0-" + "9" * 40,
    ],
)
def test_anything_else_is_answered_with_the_whole(header: str | None) -> None:
    assert parse_range(header, SIZE) is None


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=9999999-", "bytes=-0"])
def test_a_range_that_selects_nothing_is_refused(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, SIZE)


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_no_range_of_nothing_can_be_satisfied(header: str) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, 0)


@given(
    st.one_of(
        st.from_regex(r"bytes=\d{0,21}-\d{0,21}(,\d*-\d*)?", fullmatch=True),
        st.text(max_size=30),
    ),
    st.integers(0, 1 << 40),
)
def test_whatever_is_asked_the_answer_lies_inside(header: str, size: int) -> None:
    try:
        part = parse_range(header, size)
    except Unsatisfiable:
        return
    if part is not None:
        assert 0 <= part.first <= part.last < size
