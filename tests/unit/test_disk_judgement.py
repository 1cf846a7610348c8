"""Whether a writer may start, and what the figures are called."""

from __future__ import annotations

import pytest

from m3u_proxy.storage.disk import Space, judge, report

MIB = 1024 * 1024
GIB = 1024 * MIB


def space(free: int, total: int, inodes: int = 1000, of_inodes: int = 1000) -> Space:
    return Space(free, total, inodes, of_inodes)


@pytest.mark.parametrize(
    ("given", "level"),
    [
        (space(100 * GIB, 100 * GIB), "ok"),
        (space(20 * GIB, 100 * GIB), "ok"),
        (space(20 * GIB - 1, 100 * GIB), "warn"),
        (space(5 * GIB, 100 * GIB), "warn"),
        (space(5 * GIB - 1, 100 * GIB), "full"),
        (space(0, 100 * GIB), "full"),
        # on a small disk 64 MiB are more than 5 %
        (space(64 * MIB, 200 * MIB), "ok"),
        (space(64 * MIB - 1, 200 * MIB), "full"),
        (space(50 * MIB, 50 * MIB), "full"),
        # inodes
        (space(50 * GIB, 100 * GIB, 50, 1000), "warn"),
        (space(50 * GIB, 100 * GIB, 49, 1000), "full"),
        (space(50 * GIB, 100 * GIB, 199, 1000), "warn"),
        (space(50 * GIB, 100 * GIB, 200, 1000), "ok"),
        # a filesystem that does not count
        (space(50 * GIB, 100 * GIB, 0, 0), "ok"),
        (space(0, 0, 0, 0), "ok"),
        (space(0, 0, 1, 1000), "full"),
    ],
)
def test_limits(given: Space, level: str) -> None:
    assert judge(given) == level


@pytest.mark.parametrize(
    ("free", "word"),
    [
        (2 * GIB, "ok"),
        (2 * GIB - 1, "low"),
        (512 * MIB, "low"),
        (512 * MIB - 1, "critical"),
        (0, "critical"),
    ],
)
def test_words_for_the_reader(free: int, word: str) -> None:
    assert report(space(free, 100 * GIB), 2 * GIB, 512 * MIB) == word


def test_thresholds_of_zero_are_off() -> None:
    assert report(space(0, 100 * GIB), 0, 0) == "ok"


def test_the_critical_threshold_alone_is_enough() -> None:
    assert report(space(100 * MIB, 100 * GIB), 0, 512 * MIB) == "critical"


def test_a_filesystem_without_figures_is_not_called_low() -> None:
    assert report(space(0, 0), 2 * GIB, 512 * MIB) == "ok"
