"""Every abuse that this program must survive has a test that names it by its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS = {
    "authentication and bodies": "A1 A2 A4 A6 A8 A9 A10 A11 A14 A15 A16 A19 A20",
    "target URLs": "A21 A22 A22a A23 A24 A26 A27 A28 A29 A31 A32 A34 A35 A37 A38 A39 A41 A42 A43",
    "relay": "A44 A45 A46 A48 A50",
    "arguments of FFmpeg": "A51 A52 A53 A54 A56 A58 A61 A62",
    "hostile origins": "A63 A65 A66 A68 A69 A70 A71 A73 A74 A75 A76 A78 A80 A81 A82 A84 A86 A87",
    "wire": "A88 A90 A91 A93 A95 A96 A97 A98 A99 A100 A101 A103 A104",
    "names, outputs, logs": "A105 A107 A108 A110 A111 A112 A114 A115 A116 A117",
}
"""The rows of the table of abuse, by chapter."""
LEFT_OUT = {
    "A7": "the token is compared in constant time; measuring that needs a quiet machine",
    "A59": "there are no resolvers with arguments yet",
    "A118": "what supervisord runs is checked where its sample is",
}
_ROW = re.compile(r"(?<![A-Za-z0-9])[aA](\d{1,3}a?)(?![A-Za-z0-9])")


@pytest.fixture(scope="module")
def named() -> set[str]:
    """What the tests name, this one left out."""
    files = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__).resolve())
    return {f"A{row}" for path in files for row in _ROW.findall(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("chapter", ROWS)
def test_every_row_is_named_by_a_test(named: set[str], chapter: str) -> None:
    rows = ROWS[chapter].split()
    assert len(rows) == len(set(rows))
    assert set(rows) <= named, sorted(set(rows) - named)


def test_what_is_left_out_is_in_no_chapter() -> None:
    assert not LEFT_OUT.keys() & set(" ".join(ROWS.values()).split())
