"""Which FFmpeg there is, and what it can do. Asked once, at start."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m3u_proxy.ffmpeg.process import confine

FoundIn = Literal["setting", "PATH", "wheel"]

QUERY_TIMEOUT = 10.0
"""Seconds for one answer; the slowest known binary needs 0.1 s from a warm disk."""
GIT_VERSION = (99, 0)
"""A build without a release number (``N-12345-gabcdef``, a date) is newer than any release it matters for."""
MISSING = "FFmpeg was not found: install the system's package or m3u-proxy[ffmpeg], or set FFMPEG_PATH"


@dataclass(frozen=True, slots=True)
class FFmpeg:
    """A binary that runs, by its own account.

    ``version`` is like ``5.1.9-0+deb12u1``, ``n8.0`` or ``N-12345-gabcdef``, ``banner`` the first line of
    ``-version``. ``hwaccels`` is what it was built with, not what the machine has.
    """

    path: str
    version: str
    version_info: tuple[int, int]
    banner: str
    found_in: FoundIn
    encoders: frozenset[str]
    hwaccels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Binaries:
    """The answer of ``locate``. ``reason`` tells a person what is missing; it names no local path."""

    ffmpeg: FFmpeg | None
    ffprobe: str | None
    reason: str | None


class _UnusableError(Exception):
    """Why there is no FFmpeg, for a person."""


async def locate(ffmpeg_path: str | None, ffprobe_path: str | None) -> Binaries:
    """Find FFmpeg (setting, ``PATH``, wheel) and ffprobe (setting, ``PATH``, beside FFmpeg), and ask FFmpeg.

    A setting is final: if it is wrong, nothing else is tried. Takes about 0.2 s off the loop; never raises
    for a missing or broken binary.
    """
    ffmpeg = reason = None
    try:
        ffmpeg = await _ask(*await asyncio.to_thread(_find_ffmpeg, ffmpeg_path))
    except _UnusableError as error:
        reason = str(error)
    ffprobe = await asyncio.to_thread(_find_ffprobe, ffprobe_path, ffmpeg)
    if ffprobe_path and ffprobe is None:
        reason = "; ".join(filter(None, [reason, "FFPROBE_PATH names no executable file"]))
    return Binaries(ffmpeg, ffprobe, reason)


def parse_version(banner: str) -> tuple[str, tuple[int, int]] | None:
    """``("5.1.9-0+deb12u1", (5, 1))`` from the first line of ``-version``; ``None`` if it is not FFmpeg's."""
    named = re.match(r"ffmpeg version (\S+)", banner)
    if named is None:
        return None
    number = re.match(r"n?(\d+)\.(\d+)", named[1])
    return named[1], (int(number[1]), int(number[2])) if number else GIT_VERSION


def _find_ffmpeg(setting: str | None) -> tuple[str, FoundIn]:
    if setting:
        if path := shutil.which(setting):
            return os.path.abspath(path), "setting"
        raise _UnusableError("FFMPEG_PATH names no executable file")
    if path := shutil.which("ffmpeg"):
        return os.path.abspath(path), "PATH"
    with contextlib.suppress(ImportError, RuntimeError):  # the extra; it may hold no binary for this machine
        if path := shutil.which(importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()):
            return os.path.abspath(path), "wheel"
    raise _UnusableError(MISSING)


def _find_ffprobe(setting: str | None, ffmpeg: FFmpeg | None) -> str | None:
    path = shutil.which(setting or "ffprobe")
    if path is None and not setting and ffmpeg is not None:
        path = shutil.which(Path(ffmpeg.path).with_name("ffprobe"))
    return os.path.abspath(path) if path else None


async def _ask(path: str, found_in: FoundIn) -> FFmpeg:
    version, encoders, hwaccels = await asyncio.gather(
        *(asyncio.to_thread(_query, path, option) for option in ("-version", "-encoders", "-hwaccels"))
    )
    banner = version.partition("\n")[0].strip()
    parsed = parse_version(banner)
    if parsed is None:
        raise _UnusableError("what was found as FFmpeg is something else")
    rows = (line.split() for line in encoders.partition("------\n")[2].splitlines())  # V....D libx264 …
    return FFmpeg(
        path=path,
        version=parsed[0],
        version_info=parsed[1],
        banner=banner,
        found_in=found_in,
        encoders=frozenset(row[1] for row in rows if len(row) > 1),
        hwaccels=frozenset(hwaccels.partition(":\n")[2].split()),
    )


def _query(path: str, option: str) -> str:
    try:
        answer = subprocess.run(
            [path, "-hide_banner", option],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=confine.environment(os.environ),
            timeout=QUERY_TIMEOUT,
            start_new_session=True,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise _UnusableError(f"FFmpeg gives no answer to {option} within {QUERY_TIMEOUT:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise _UnusableError(f"FFmpeg ends with {error.returncode} on {option}") from None
    except OSError as error:
        raise _UnusableError(f"FFmpeg cannot be run: {error.strerror}") from None
    return answer.stdout.decode(errors="replace")
