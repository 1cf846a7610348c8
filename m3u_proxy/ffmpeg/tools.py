"""Which Streamlink and yt-dlp there are. Asked once, after the start, for those who ask ``/info``."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from m3u_proxy.ffmpeg.process import confine

PATIENCE = 10.0
"""Seconds for one answer: both are Python programs that take a second to start."""
_WORD = 64


@dataclass(frozen=True, slots=True)
class Tools:
    """Versions, ``None`` for what is not installed."""

    streamlink: str | None = None
    ytdlp: str | None = None


async def look_up() -> Tools:
    """As packages beside us, else as commands in ``PATH``; never raises for a missing or broken one."""
    return Tools(*await asyncio.gather(_version("streamlink"), _version("yt-dlp")))


async def _version(name: str) -> str | None:
    packaged, path = await asyncio.to_thread(lambda: (_packaged(name), shutil.which(name)))
    if packaged is not None or path is None:
        return packaged
    with suppress(OSError, TimeoutError):
        return await _said(path)
    return None


def _packaged(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


async def _said(path: str) -> str | None:
    """The last word of the first line of ``--version``."""
    child = await asyncio.create_subprocess_exec(
        path,
        "--version",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=confine.environment(os.environ),
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    words = output.decode(errors="replace").partition("\n")[0].split()
    return words[-1][:_WORD] if words and child.returncode == 0 else None
