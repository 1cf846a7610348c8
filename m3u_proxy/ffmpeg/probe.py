"""What is in a source: tracks and codecs, as ffprobe finds them.

ffprobe reads like FFmpeg does: a relay through its standard input, anything else at an address of ours.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from m3u_proxy.errors import UpstreamError
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.process.child import Child
from m3u_proxy.ffmpeg.process.run import Feed, Kit, Tap
from m3u_proxy.ffmpeg.process.stderr import StderrLines
from m3u_proxy.redact import redact

REPLY = 256 * 1024
"""Bytes of ffprobe's answer; a source with a thousand tracks is none that anybody plays."""
KIND = "probe"
_ENTRIES = (
    "format=duration,bit_rate"
    ":stream=codec_type,codec_name,profile,width,height,avg_frame_rate,channels,sample_rate,bit_rate"
    ":stream_tags=language"
)


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream; ``bitrate`` is bits per second. What ffprobe did not learn is 0."""

    kind: str
    """``video``, ``audio``, ``subtitle`` or ``data``."""
    codec: str
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0
    channels: int = 0
    sample_rate: int = 0
    bitrate: int = 0
    language: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    """Tracks of a source; ``duration`` in seconds and ``bitrate`` in bits per second, 0 if not known."""

    tracks: tuple[Track, ...]
    duration: float = 0.0
    bitrate: int = 0


async def probe(ffprobe: str, kit: Kit, feed: Feed, *, patience: float) -> Contents:
    """Look into what ``feed`` gives, which must be ready, for at most ``patience`` seconds.

    Nothing is left afterwards: no process, pipe or place at the source. Raises ``UpstreamError`` with reason
    ``not_media`` when nothing can be decoded, ``stall`` when that took too long.
    """
    tap = feed.tap()
    said = StderrLines(redact)
    child = Child(
        [ffprobe, "-hide_banner", "-loglevel", "error", *_arguments(tap.input)],
        cwd=Path("/"),
        confinement=kit.confinement,
        stdin=tap.input.is_stdin,
        stdout=True,
        on_stderr=lambda data: _keep(said.feed(data)),
        on_progress=lambda _: None,
    )
    try:
        async with _running(child, tap, kit), asyncio.timeout(patience):
            assert child.stdout_fd is not None
            answer = await _read(child.stdout_fd)
            exit_ = await child.wait()
    except TimeoutError:
        raise UpstreamError("stall", "The source gave too little to tell what it is") from None
    if exit_.code != 0 or not (contents := parse(answer)).tracks:
        words = said.last(1)
        raise UpstreamError("not_media", f"Nothing in it can be decoded{': ' + words[0] if words else ''}")
    return contents


@asynccontextmanager
async def _running(child: Child, tap: Tap, kit: Kit) -> AsyncIterator[None]:
    """While ffprobe runs, fed through ``tap`` and counted; it is ended with the context."""
    ledger, started = kit.ledger, False
    try:
        child.start()
        ledger.starts[KIND] += 1
        ledger.running[KIND] += 1
        started = True
        tap.connect(child.stdin_fd)
        yield
    finally:
        tap.close()
        child.close_stdin()
        try:
            ended = await child.stop(kit.term_kill)
        finally:
            ledger.running[KIND] -= started
        if started:
            ledger.exits[ended.reason] += 1


def _keep(_: list[str]) -> None:
    """The tail holds the lines; nobody reads them before the end."""


def _arguments(input_: Input) -> list[str]:
    # Whole programmes, not what a player starts with: audio may come seconds after the picture.
    analysis = ("-analyzeduration", "4000000", "-probesize", "8000000")
    paced = replace(input_, is_paced=False)  # an option of FFmpeg's that ffprobe does not know
    return [*analysis, *_without(paced.argv(()), "-analyzeduration", "-probesize"), *_output()]


def _without(argv: Iterable[str], *names: str) -> list[str]:
    words = list(argv)
    for name in names:
        if name in words:
            at = words.index(name)
            del words[at : at + 2]
    return words


def _output() -> list[str]:
    return ["-show_entries", _ENTRIES, "-of", "json=compact=1"]


async def _read(fd: int) -> bytes:
    """Everything up to the end of a non-blocking pipe, within bounds."""
    loop = asyncio.get_running_loop()
    wake = asyncio.Event()
    parts: list[bytes] = []
    size = 0
    loop.add_reader(fd, wake.set)
    try:
        while size < REPLY:
            await wake.wait()
            wake.clear()
            try:
                data = os.read(fd, REPLY)
            except BlockingIOError:
                continue
            if not data:
                break
            wake.set()
            parts.append(data)
            size += len(data)
    finally:
        loop.remove_reader(fd)
    return b"".join(parts)


def parse(answer: bytes) -> Contents:
    """ffprobe's JSON; what is missing or nonsense counts as not known."""
    try:
        found = json.loads(answer)
    except ValueError:
        return Contents(())
    if not isinstance(found, Mapping):
        return Contents(())
    streams, about = found.get("streams"), found.get("format")
    about = about if isinstance(about, Mapping) else {}
    rows = streams if isinstance(streams, list) else []
    tracks = tuple(_track(row) for row in rows if isinstance(row, Mapping) and row.get("codec_name"))
    return Contents(tracks, _number(about.get("duration")), int(_number(about.get("bit_rate"))))


def _track(row: Mapping[str, Any]) -> Track:
    tags = row.get("tags")
    language = tags.get("language") if isinstance(tags, Mapping) else None
    return Track(
        kind=str(row.get("codec_type", "data"))[:16],
        codec=str(row["codec_name"])[:32],
        width=int(_number(row.get("width"))),
        height=int(_number(row.get("height"))),
        frame_rate=_fraction(str(row.get("avg_frame_rate", ""))),
        channels=int(_number(row.get("channels"))),
        sample_rate=int(_number(row.get("sample_rate"))),
        bitrate=int(_number(row.get("bit_rate"))),
        language=str(language)[:16] if language else "",
    )


def _number(value: object) -> float:
    """A number, or the text of one; 0 for anything else, and for what no track can have."""
    try:
        number = float(value) if isinstance(value, str | int | float) else 0.0
    except ValueError:
        return 0.0
    return number if 0 <= number < 1e15 else 0.0


def _fraction(text: str) -> float:
    """``50/1`` as frames per second; 0 for ``0/0``."""
    top, _, bottom = text.partition("/")
    divisor = _number(bottom) or 1.0
    return round(_number(top) / divisor, 3)
