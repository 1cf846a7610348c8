"""References of a playlist are resolved quickly, and exactly as one at a time would be."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from m3u_proxy.errors import InvalidField
from m3u_proxy.upstream.url import MAX_URL, Base, join, parse

DOCUMENTS = [
    "http://h.example/a/b/c.m3u8",
    "https://u:p%40@h.example:8443/a/b/c.m3u8?x=/y/&z=1",
    "http://h.example",
    "http://h.example/?a/b",
    "http://h.example/a//b/../c/./d.m3u8",
    "http://h.example/a b/ü/c",
    "http://[::1]:80/x/y",
]
PIECES = (
    r"/ // .. . a seg1.ts http: https:// cdn.example @ # ? ?x=1 %2e%2e \ : ü ..; a.b //h/ x:y & [::1] 1.1 ;"
)


@given(
    st.sampled_from(DOCUMENTS),
    st.lists(st.sampled_from([*PIECES.split(), " ", "\t"]), max_size=8).map("".join),
)
@example(DOCUMENTS[0], "a?")
@example(DOCUMENTS[1], " //other.example/a")
def test_a_reference_is_resolved_as_by_itself(document: str, reference: str) -> None:
    target = parse(document)
    base = Base(target)
    expected: str | None
    try:
        expected = str(join(target, reference))
    except InvalidField:
        expected = None
    assert base.resolve(reference) == expected
    assert base.resolve(reference) == expected  # from memory


@pytest.mark.parametrize("reference", [" //other.example/a", "  http://other.example/a"])
def test_blanks_ahead_do_not_send_credentials_elsewhere(reference: str) -> None:
    assert Base(parse("http://u:p@h.example/x")).resolve(reference) == "http://other.example/a"


def test_an_address_that_is_too_long_is_none() -> None:
    base = Base(parse("http://h.example/" + "a/" * (MAX_URL // 2 - 100)))
    assert base.resolve("s.ts") is not None
    assert base.resolve("s" * 300 + ".ts") is None
