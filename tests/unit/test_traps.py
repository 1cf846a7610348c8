"""Every trap that an unmodified editor would fall into has a test that names it by its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
TRAPS = 50
"""How many the checklist of the contract has."""
LEFT_OUT = {
    "the callbacks of broadcasts": (12, 13, 14, 15),
    "the directories of broadcasts": (35,),
    "names, sources and tracks of broadcasts": (40, 41, 42),
    "recordings": (43,),
    "faults of the editor, which can only be noted": (50,),
}
"""Those that need no test yet, by what they are about."""
_NAMED = re.compile(r"\btraps?[ _](\d+(?:(?:, | and )\d+)*)|_trap_(\d+)", re.IGNORECASE)


def named(text: str) -> set[int]:
    """The numbers in ``Trap 4``, ``traps 4, 29 and 30`` and ``test_trap_4_…``."""
    found = (word for pair in _NAMED.findall(text) for word in pair)
    return {int(number) for word in found for number in re.findall(r"\d+", word)}


def test_how_a_trap_is_named() -> None:
    assert named('"""Trap 4: x; traps 7, 29 and 30: y."""') == {4, 7, 29, 30}
    assert named("async def test_trap_33_the_upgrade_of_8080()") == {33}
    assert named("trapped 9, strap_5") == set()


@pytest.fixture(scope="module")
def everywhere() -> set[int]:
    """What the tests name, this one left out."""
    files = (path for path in TESTS.rglob("test_*.py") if path != Path(__file__).resolve())
    return {number for path in files for number in named(path.read_text(encoding="utf-8"))}


def test_every_trap_is_named_by_a_test(everywhere: set[int]) -> None:
    left_out = {number for numbers in LEFT_OUT.values() for number in numbers}
    assert set(range(1, TRAPS + 1)) - left_out - everywhere == set()
