"""Is a file a cookie jar in the Netscape format, as yt-dlp and curl read it? Nobody is told its content."""

from __future__ import annotations

import os
import re
import stat

LARGEST = 1024 * 1024
"""Bytes that are looked at."""
VALID = "The file is in the Netscape cookie format"
_RELATIVE = "The path must be absolute"
_UNREADABLE = "There is no regular, readable file at this path"
_OTHER = "The file is not in the Netscape cookie format"
_HEADER = re.compile(r"#\s*(?:Netscape )?HTTP Cookie File", re.IGNORECASE)
_HTTP_ONLY = "#HttpOnly_"
_FLAGS = ("TRUE", "FALSE")
_EXPIRES = re.compile(r"-?[0-9]*(?:\.[0-9]+)?")


def inspect(path: str) -> tuple[bool, str]:
    """Whether it is one, and a sentence about that. Blocks: call it in a thread."""
    if not os.path.isabs(path):
        return False, _RELATIVE
    try:
        text = _read(path)
    except (OSError, ValueError):  # the latter: a NUL in the path, or no text
        return False, _UNREADABLE
    if text is None:
        return False, _OTHER
    return (True, VALID) if is_jar(text) else (False, _OTHER)


def is_jar(text: str) -> bool:
    """Whether every line is a cookie, a comment or blank, and there is a cookie or the usual first line."""
    lines = text.splitlines()
    cookies = [line for line in lines if line.strip() and _is_cookie_line(line)]
    has_header = bool(lines) and _HEADER.match(lines[0]) is not None
    return all(_is_cookie(line) for line in cookies) and (has_header or bool(cookies))


def _is_cookie_line(line: str) -> bool:
    return line.startswith(_HTTP_ONLY) or not line.lstrip().startswith("#")


def _is_cookie(line: str) -> bool:
    """Domain, whether its subdomains count, path, whether HTTPS only, end of life, name, value."""
    fields = line.split("\t")
    if len(fields) != 7:
        return False
    return (
        bool(fields[0].strip())
        and fields[1] in _FLAGS
        and fields[3] in _FLAGS
        and _EXPIRES.fullmatch(fields[4]) is not None
    )


def _read(path: str) -> str | None:
    """The text of a regular file; ``None`` if it is too long or no text. Never waits for a pipe's writer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
