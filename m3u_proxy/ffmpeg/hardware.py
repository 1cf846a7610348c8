"""Which hardware encodes here. Tried out once, at start: what a build names, a machine may not have."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from m3u_proxy.ffmpeg.binary import FFmpeg
from m3u_proxy.ffmpeg.command.profiles import Encoding
from m3u_proxy.ffmpeg.process import confine

log = logging.getLogger(__name__)

TRIAL = 10.0
"""Seconds for encoding two frames; a card that sleeps needs one or two."""
DEVICES = Path("/dev")
_PICTURE = ("-f", "lavfi", "-i", "color=c=black:s=256x256:r=25")
_NOWHERE = ("-frames:v", "2", "-f", "null", "-")
_WORDS: dict[str, Encoding] = {
    "nvidia": "nvidia",
    "nvenc": "nvidia",
    "cuda": "nvidia",
    "vaapi": "vaapi",
    "intel": "vaapi",
    "amd": "vaapi",
    "qsv": "qsv",
    "cpu": "cpu",
    "software": "cpu",
}
"""What entry scripts of images say, and whose options that means."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """What encodes: ``type`` as it is told to people, the kind of options that go with it, and the device."""

    type: str = "cpu"
    encoding: Encoding = "cpu"
    device: str = ""
    reason: str = ""
    """Why it is the processor: what was tried and what it said; empty if nothing is there to try."""

    @property
    def is_available(self) -> bool:
        """Whether anything but the processor encodes."""
        return self.encoding != "cpu"

    @property
    def arguments(self) -> list[str]:
        """FFmpeg's options that open the device, in front of the input."""
        return ["-vaapi_device", self.device] if self.encoding == "vaapi" else []


def named(kind: str, device: str) -> Hardware:
    """What a setting names; words that nobody knows mean the processor."""
    encoding = _WORDS.get(kind.strip().lower(), "cpu")
    if encoding == "vaapi" and not device:
        device = "/dev/dri/renderD128"
    return Hardware(kind.strip().lower(), encoding, device)


async def find(available: bool | None, kind: str, device: str, ffmpeg: FFmpeg | None) -> Hardware:
    """What encodes: as somebody says who has looked already, or found out if nobody does (``None``)."""
    if available is not None:
        return named(kind if available else "cpu", device)
    return await detect(ffmpeg) if ffmpeg is not None else Hardware()


async def detect(ffmpeg: FFmpeg, devices: Path = DEVICES) -> Hardware:
    """Try what the machine shows, best first: NVENC, VA-API on each render node, Quick Sync.

    Takes no time where there is no device. Never raises for hardware that does not work: ``reason`` says
    what it said.
    """
    said: list[str] = []
    for one, encoder, command in await asyncio.to_thread(_candidates, devices):
        if encoder not in ffmpeg.encoders:
            said.append(f"{one.type}: this FFmpeg has no {encoder}")
            continue
        failure = await asyncio.to_thread(_try, ffmpeg.path, command)
        if failure is None:
            return one
        said.append(f"{one.type} {one.device}: {failure}".replace(" :", ":"))
    return Hardware(reason="; ".join(said))


def _candidates(devices: Path) -> list[tuple[Hardware, str, tuple[str, ...]]]:
    """Hardware, the encoder it needs, and the trial's arguments."""
    found: list[tuple[Hardware, str, tuple[str, ...]]] = []
    trial: tuple[str, ...]
    if (devices / "nvidiactl").exists() or (devices / "dxg").exists():  # dxg: the card of a Windows host
        found.append((Hardware("nvidia", "nvidia"), "h264_nvenc", (*_PICTURE, "-c:v", "h264_nvenc")))
    nodes = sorted((devices / "dri").glob("renderD*"))
    for node in nodes:
        upload = ("-vf", "format=nv12,hwupload", "-c:v", "h264_vaapi")
        trial = ("-vaapi_device", str(node), *_PICTURE, *upload)
        found.append((Hardware("vaapi", "vaapi", str(node)), "h264_vaapi", trial))
    if nodes:
        trial = (*_PICTURE, "-pix_fmt", "nv12", "-c:v", "h264_qsv")
        found.append((Hardware("qsv", "qsv"), "h264_qsv", trial))
    return found


def _try(path: str, command: Sequence[str]) -> str | None:
    """Encode two frames; the last thing it says if that fails."""
    try:
        done = subprocess.run(
            [path, "-hide_banner", "-nostdin", "-loglevel", "error", *command, *_NOWHERE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=confine.environment(os.environ),
            timeout=TRIAL,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TRIAL:.0f} s"
    except OSError as error:
        return error.strerror or "not started"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in done.stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[0][:200] if lines else f"exit code {done.returncode}"


def tell(hardware: Hardware) -> None:
    """One line in the log, for whoever wonders why encoding is slow."""
    if hardware.is_available:
        where = f" on {hardware.device}" if hardware.device else ""
        log.info("hardware encoding: %s%s", hardware.type, where)
    elif hardware.reason:
        log.warning("hardware encoding does not work, the processor encodes: %s", hardware.reason)
    else:
        log.info("hardware encoding: none found, the processor encodes")
