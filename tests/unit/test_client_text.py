"""Tables, amounts and durations for a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3u_proxy.client.streams import listing, name_of
from m3u_proxy.client.text import LONGEST_CELL, clean, period, rate, size, table, width


def test_columns_are_aligned_also_with_wide_characters() -> None:
    text = table(("NAME", "VIEWERS"), [("新闻", 2), ("News", 1000)], right=" r")
    assert text == "NAME  VIEWERS\n新闻        2\nNews     1000\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2.5e18, "2500.0 PB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("bits", "text"), [(0, "-"), (64_000, "64 kbit/s"), (4_200_000, "4.2 Mbit/s"), (1.2e9, "1200.0 Mbit/s")]
)
def test_rates(bits: float, text: str) -> None:
    assert rate(bits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (59.9, "59 s"), (80, "1 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min")),
        *((273_600, "3 d 4 h"), (86_401, "1 d 1 s")),
    ],
)
def test_periods(seconds: float, text: str) -> None:
    assert period(seconds) == text


@given(st.text())
def test_nothing_in_a_cell_moves_the_cursor(text: str) -> None:
    shown = clean(text)
    assert len(shown) <= LONGEST_CELL
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char in "\u202e\u2028" for char in shown)


@given(st.lists(st.tuples(st.text(max_size=20), st.integers()), max_size=5))
def test_a_table_has_a_line_for_each_row(rows: list[tuple[str, int]]) -> None:
    text = table(("A", "B"), rows, right=" r")
    assert len(text.split("\n")) == len(rows) + 2


def test_widths() -> None:
    assert [width(text) for text in ("", "abc", "新", "e\u0301")] == [0, 3, 2, 1]


def test_an_empty_listing_says_what_to_do() -> None:
    assert "m3u-proxy add" in listing([])


@pytest.mark.parametrize(
    ("metadata", "name"),
    [
        ({"title": "News"}, "News"),
        ({"name": "Sport"}, "Sport"),
        ({}, "provider.example"),
        (None, "provider.example"),
    ],
)
def test_names_never_show_credentials(metadata: object, name: str) -> None:
    stream = {"metadata": metadata, "original_url": "http://user:pass@provider.example/live/u/p/1.ts"}
    assert name_of(stream) == name
