"""Every fault that this program must survive has a test that names it by its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROWS = {
    "upstream connection": "F1 F2 F4 F5 F6 F8 F9 F11 F12 F14 F15 F17 F18 F19 F20 F21 F22 F24 F25",
    "upstream connection, all of it": "F26 F28 F29 F30",
    "upstream HLS": "F31 F32 F34 F35 F36 F38 F39 F41 F42 F43 F44 F45",
    "FFmpeg": "F46 F47 F48 F49 F50 F51 F52 F53 F55 F56 F57 F59",
    "life of the daemon": "F61 F62 F65 F66 F68 F70 F71 F73 F74",
    "resources": "F75 F76 F78 F79 F80 F82 F83 F84 F87",
    "viewers": "F88 F89 F90 F91 F93 F94 F96 F98 F99 F100 F101",
    "control plane": "F103 F105 F106 F107",
}
"""The rows of the table of faults, by chapter."""
_ROW = re.compile(r"\bF\d{1,3}\b")


@pytest.fixture(scope="module")
def named() -> set[str]:
    """What the tests name, this one left out."""
    files = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__).resolve())
    return {row for path in files for row in _ROW.findall(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("chapter", ROWS)
def test_every_row_is_named_by_a_test(named: set[str], chapter: str) -> None:
    rows = ROWS[chapter].split()
    assert len(rows) == len(set(rows))
    assert set(rows) <= named, sorted(set(rows) - named)
