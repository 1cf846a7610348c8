"""Addresses of ours that FFmpeg reads: each for one process, for one source, and gone with the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from secrets import token_urlsafe

from m3u_proxy.errors import UpstreamError
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.media.mpegts import has_adts_audio
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.vod.position import Position
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.upstream.begun import Begun

LIVE_START = -3
"""The segment of a live playlist that FFmpeg begins with (``live_start_index``)."""
_LEAVES = {"mov": "file.mp4", "matroska": "file.mkv", "mpegts": "file.ts", "mpeg": "file.mpg"}
"""Honest names: no check of extensions has to be switched off. Others are named after their demuxer."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How FFmpeg is to read a source."""

    leaf: str
    demuxer: str
    protocols: str
    is_finite: bool
    has_adts: bool


class Grant:
    """The right of one FFmpeg to read one source: a ``Tap`` whose address dies with it."""

    def __init__(
        self,
        grants: Grants,
        source: Passthrough | Vod,
        token: str,
        input_: Input,
        take_begun: Callable[[], Begun | None],
    ) -> None:
        self.source = source
        self.take_begun = take_begun
        """The file as it was opened to be judged, for whoever reads it first."""
        self.input = input_
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.sent = 0
        """Bytes given so far; whoever serves the address adds to it."""
        self.position: Position | None = None
        """Where a file is being read."""
        self.moving = asyncio.Lock()
        """Held while another place is opened: there is never more than one."""
        self.key = _digest(token)
        self._grants = grants

    def connect(self, stdin: int | None) -> None:
        """Nothing to feed: FFmpeg comes for it."""

    def lose(self, reason: str) -> None:
        """The source cannot be read on. Idempotent."""
        if not self.ended.done():
            self.ended.set_result(reason)

    def close(self) -> None:
        """The address is worth nothing from now on. Idempotent."""
        self._grants.revoke(self)


class Grants:
    """All addresses in force. ``base`` tells where the loopback listener is, without a trailing slash."""

    def __init__(self, base: Callable[[], str]) -> None:
        self._base = base
        self._grants: dict[bytes, Grant] = {}

    def __len__(self) -> int:
        return len(self._grants)

    def issue(
        self, source: Passthrough | Vod, spec: InputSpec, take_begun: Callable[[], Begun | None]
    ) -> Grant:
        """An address for one FFmpeg."""
        token = token_urlsafe(24)
        input_ = Input(
            url=f"{self._base()}/{token}/{spec.leaf}",
            demuxer=spec.demuxer,
            protocols=spec.protocols,
            is_paced=spec.is_finite,
            is_finite=spec.is_finite,
        )
        grant = Grant(self, source, token, input_, take_begun)
        self._grants[grant.key] = grant
        return grant

    def find(self, token: str) -> Grant | None:
        """The grant behind a token. Looked up by digest, so that time tells nothing about others."""
        return self._grants.get(_digest(token))

    def revoke(self, grant: Grant) -> None:
        """Take an address back. Idempotent."""
        self._grants.pop(grant.key, None)

    def lose(self, source: Passthrough | Vod, reason: str) -> None:
        """A source has ended: tell every FFmpeg that reads it."""
        for grant in list(self._grants.values()):
            if grant.source is source:
                grant.lose(reason)


async def input_spec_of(source: Passthrough | Vod) -> InputSpec:
    """Look at a source as far as FFmpeg's command line depends on it; raises why it cannot be read."""
    if isinstance(source, Passthrough):
        return await _of_playlist(source)
    about = source.about or await source.learn()
    demuxer = about.container.demuxer if about.container else None
    if demuxer is None:
        raise UpstreamError("not_media", "The source is no file that FFmpeg could be given")
    leaf = _LEAVES.get(demuxer, f"file.{demuxer}")
    return InputSpec(leaf, demuxer, "http,tcp", is_finite=True, has_adts=about.has_adts)


async def _of_playlist(source: Passthrough) -> InputSpec:
    page = await source.media_page()
    playlist = page.playlist
    protocols = "http,tcp,crypto" if playlist.has_keys else "http,tcp"
    segments = playlist.segments()
    has_adts = not playlist.has_map
    if has_adts and segments and not playlist.has_keys:
        first = segments[0 if playlist.is_ended else max(LIVE_START, -len(segments))]
        resource = page.resources[first]
        if resource is not None:
            download = source.downloads.fetch(resource, first.byte_range)
            await download.begun()
            has_adts = has_adts_audio(download.prefix)
    return InputSpec("index.m3u8", "hls", protocols, playlist.is_ended, has_adts)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
