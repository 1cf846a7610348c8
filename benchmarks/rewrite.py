"""What it costs to rewrite a long playlist, and to refuse an absurd one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from statistics import median
from time import perf_counter

from benchmarks.origin import Origin
from benchmarks.report import Figure
from benchmarks.turns import Rows
from m3u_proxy.media.playlist import NotAPlaylist, Reference, parse

LINES = 2_000
TOO_LARGE = 10_000_000
"""Bytes of a playlist that is to be refused."""
TIMES = 30
KEY_PERIOD = 20
"""Segments between two keys and times of day."""
_SECRET = bytes(32)


def rewrite(_: Origin, __: Path) -> Rows:
    """Parse and render 2,000 lines with an address minted for each URI; and refuse 10 MB of three kinds."""
    playlist = _playlist(LINES)
    took = [_seconds(lambda: parse(playlist).render(_mint)) for _ in range(TIMES)]
    name = f"rewrite, {LINES} lines"
    yield Figure(name, f"parse and render, median of {TIMES}", median(took) * 1e3, "ms", 5)
    yield Figure(name, "the same, worst", max(took) * 1e3, "ms")
    name = f"rewrite, {TOO_LARGE // 1_000_000} MB"
    line = len(playlist) / LINES
    for what, text in {
        "a playlist": _playlist(int(TOO_LARGE / line)),
        "one line": b"#EXTM3U\n" + b"x" * TOO_LARGE,
        "empty lines": b"#EXTM3U\n" + b"\n" * TOO_LARGE,
    }.items():
        took = [_seconds(partial(_refused, text)) for _ in range(TIMES)]
        yield Figure(name, f"refusal of {what}, worst of {TIMES}", max(took) * 1e3, "ms", 5)


def _seconds(do: Callable[[], object]) -> float:
    began = perf_counter()
    do()
    return perf_counter() - began


def _refused(text: bytes) -> None:
    try:
        parse(text)
    except NotAPlaylist:
        return
    raise RuntimeError(f"a playlist of {len(text)} bytes was accepted")


def _mint(reference: Reference) -> str:
    """An address as the proxy would give it, at the price of one: a keyed hash of what it stands for."""
    token = blake2b(reference.uri.encode(), key=_SECRET, digest_size=12).hexdigest()
    return f"/hls/0123456789abcdef/segment.ts?client_id=viewer&t={token}.ts"


def _playlist(lines: int) -> bytes:
    """An encrypted programme with a key and a time of day now and then, of exactly that many lines."""
    text = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-TARGETDURATION:6", "#EXT-X-MEDIA-SEQUENCE:0"]
    number = 0
    while len(text) < lines:
        if number % KEY_PERIOD == 0:
            text.append(
                f'#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example/{number}.key?u=1",IV=0x{number:032x}'
            )
            text.append(
                f"#EXT-X-PROGRAM-DATE-TIME:2026-05-01T{number // 600 % 24:02}:{number // 10 % 60:02}:00Z"
            )
        text += [f"#EXTINF:6.000,{number}", f"../video/1080p/segment-{number:08}.ts?token=0123456789abcdef"]
        number += 1
    return "\n".join([*text[:lines], ""]).encode()
