"""What counts as a file of cookies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from m3u_proxy.storage.cookies import LARGEST, inspect, is_jar

COOKIE = ".a.example\tTRUE\t/\tFALSE\t1893456000\tname\tvalue\n"


@pytest.mark.parametrize(
    "text",
    [
        "# Netscape HTTP Cookie File\n",
        "# HTTP Cookie File\n\n" + COOKIE,
        COOKIE,
        "# a comment\n#HttpOnly_" + COOKIE,
        COOKIE.replace("1893456000", "1893456000.5"),
        COOKIE.replace("1893456000", ""),
        COOKIE.replace("\n", "\r\n"),
        COOKIE.replace("value", ""),
    ],
)
def test_a_jar(text: str) -> None:
    assert is_jar(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# a comment\n",
        "[]",
        "# Netscape HTTP Cookie File\nroot:x:0:0::/:/bin/sh\n",
        COOKIE.replace("TRUE", "maybe"),
        COOKIE.replace("1893456000", "never"),
        COOKIE.replace("\tvalue", ""),
        COOKIE.replace("\t", " "),
        "#HttpOnly_" + COOKIE.replace("\t", " "),
    ],
)
def test_no_jar(text: str) -> None:
    assert not is_jar(text)


def test_only_regular_files_of_text_are_read(tmp_path: Path) -> None:
    jar, pipe, large, binary = (tmp_path / name for name in ("jar", "pipe", "large", "binary"))
    jar.write_text(COOKIE)
    os.mkfifo(pipe)
    large.write_text(COOKIE * (LARGEST // len(COOKIE) + 1))
    binary.write_bytes(COOKIE.encode() + b"\xff")
    (tmp_path / "link").symlink_to(jar)
    valid = {
        name: inspect(str(tmp_path / name))[0] for name in ("jar", "link", "pipe", "large", "binary", "x\0y")
    }
    assert valid == {"jar": True, "link": True, "pipe": False, "large": False, "binary": False, "x\0y": False}
