"""What must be right before the daemon starts: the directory of segments, and what the machine has to offer.

``m3u-proxy hardware`` tells, ``m3u-proxy prepare`` makes the directory too; the entry script of the container
begins with that.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Final, TextIO

from m3u_proxy.errors import StartError
from m3u_proxy.ffmpeg.binary import Binaries, locate
from m3u_proxy.ffmpeg.hardware import DEVICES, Hardware, find
from m3u_proxy.settings import Settings
from m3u_proxy.storage import directories, disk

DONE, FAILED = 0, 1
IGNORE: Final = "*\n"
"""Of version control: segments are nobody's source, this file included."""
_COMMON = ("libx264", "libx265", "aac", "h264_nvenc", "h264_vaapi", "h264_qsv")
"""Encoders that the built-in profiles can use."""


def hardware(settings: Settings, *, exported: bool) -> int:
    """Tell what encodes here. With ``exported`` standard output is for a shell: the settings that say it."""
    binaries, found = asyncio.run(_look(settings))
    _tell(sys.stderr if exported else sys.stdout, _hardware_lines(binaries, found))
    if exported:
        sys.stdout.write("".join(f"{name}={value}\n" for name, value in _exports(found)))
    return DONE


def prepare(settings: Settings, *, exported: bool) -> int:
    """Make the directory of segments and tell of it and of the hardware; 1 if it cannot be used."""
    root = settings.hls_temp_dir
    try:
        directories.prepare(root)
        _ignore(root)
    except StartError as error:
        sys.stderr.write(f"m3u-proxy: {error.detail}\n")
        return FAILED
    _tell(sys.stderr if exported else sys.stdout, _segment_lines(settings))
    return hardware(settings, exported=exported)


async def _look(settings: Settings) -> tuple[Binaries, Hardware]:
    binaries = await locate(settings.ffmpeg_path, settings.ffprobe_path)
    said = settings.hw_accel_available, settings.hw_accel_type, settings.hw_accel_device
    return binaries, await find(*said, binaries.ffmpeg)


def _ignore(root: Path) -> None:
    """Keep version control out of what may lie inside a checkout; a full disk is no reason to fail."""
    try:
        with open(root / ".gitignore", "x", encoding="ascii") as file:
            file.write(IGNORE)
    except OSError as error:
        logging.getLogger(__name__).debug("no .gitignore in %s: %s", root, error.strerror)


def _segment_lines(settings: Settings) -> list[str]:
    space = disk.look(settings.hls_temp_dir)
    state = disk.report(space, settings.disk_warning_bytes, settings.disk_critical_bytes)
    words = {"ok": "", "low": "  WARNING: low", "critical": "  CRITICAL: there is hardly room for segments"}
    figures = f"{space.free_bytes / 2**30:.1f} of {space.total_bytes / 2**30:.1f} GiB free{words[state]}"
    owner = settings.hls_temp_dir.stat()
    return [
        "Segments",
        f"  directory  {settings.hls_temp_dir} (mode {owner.st_mode & 0o7777:04o}, of user {owner.st_uid})",
        f"  space      {figures}",
    ]


def _hardware_lines(binaries: Binaries, found: Hardware) -> list[str]:
    ffmpeg = binaries.ffmpeg
    if ffmpeg is None:
        return ["Hardware", f"  FFmpeg     none, nothing can be transcoded: {binaries.reason}"]
    encoders = [name for name in _COMMON if name in ffmpeg.encoders]
    where = f" on {found.device}" if found.device else ""
    if found.device.startswith("/") and not Path(found.device).exists():
        where += "  WARNING: there is no such device"
    lines = [
        "Hardware",
        f"  FFmpeg     {ffmpeg.version} ({ffmpeg.path}): {' '.join(encoders)}",
        f"  devices    {_devices(DEVICES)}",
        f"  encodes    {found.type if found.is_available else 'the processor'}{where}",
    ]
    return [*lines, *(f"  not used   {reason}" for reason in found.reason.split("; ") if reason)]


def _devices(devices: Path) -> str:
    """Render nodes and cards, and whether this user may open them."""
    nodes = sorted((devices / "dri").glob("renderD*"))
    cards = [path for name in ("nvidiactl", "dxg") if (path := devices / name).exists()]
    words = [
        str(node) if os.access(node, os.R_OK | os.W_OK) else f"{node} (needs group {node.stat().st_gid})"
        for node in [*nodes, *cards]
    ]
    return ", ".join(words) or "none (no /dev/dri, no card of NVIDIA)"


def _exports(found: Hardware) -> list[tuple[str, str]]:
    """Settings with which a daemon need not try it all again."""
    return [
        ("HW_ACCEL_AVAILABLE", "true" if found.is_available else "false"),
        ("HW_ACCEL_TYPE", found.type),
        ("HW_ACCEL_DEVICE", found.device),
    ]


def _tell(out: TextIO, lines: list[str]) -> None:
    out.write("\n".join(lines) + "\n")
    out.flush()
