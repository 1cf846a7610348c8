"""Is a source playable? Found out as a viewer would, through the pool, so that nobody is asked twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic

from m3u_proxy.errors import ProxyError, Unavailable, UpstreamError
from m3u_proxy.ffmpeg.probe import Contents, Track
from m3u_proxy.ffmpeg.process.run import Feed
from m3u_proxy.model import Kind, Stream
from m3u_proxy.pool.accounts import Accounts, Allowance
from m3u_proxy.pool.entry import Entry
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.pool.pool import Pool
from m3u_proxy.pool.supply import Inner, Supply

Probe = Callable[[Feed], Awaitable[Contents]]
"""Looks into a source that is ready."""

AT_ONCE = 4
"""Checks at the same time; the others wait."""
LISTEN = 2.0
"""Seconds of a live source from which its bit rate is told, beyond what the probe takes."""
NOBODY = "check"
"""Id of whatever is checked: it belongs to no definition."""
PATIENCE = 20.0
"""Seconds for one check."""
QUEUE = 20.0
"""Seconds for which somebody who asks waits for a turn: nobody waits for the last of a hundred."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check has found. Without ``reason`` the source can be played."""

    kind: Kind
    first_byte: float | None = None
    """Seconds until it was known what the source is; ``None`` if that never came."""
    tracks: tuple[Track, ...] = ()
    bitrate: float = 0.0
    """Bits per second; 0 if not known."""
    duration: float = 0.0
    """Seconds, of a file."""
    was_running: bool = False
    """The pool had it open already: no connection was made for the check."""
    allowance: Allowance = field(default_factory=Allowance)
    reason: str | None = None
    detail: str | None = None


class Checkup:
    """Checks sources one after the other, a few at a time. ``probe`` is ``None`` without ffprobe."""

    def __init__(self, pool: Pool, accounts: Accounts, probe: Probe | None) -> None:
        self._pool = pool
        self._accounts = accounts
        self._probe = probe
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def check(self, stream: Stream, *, queue: float | None = None) -> Finding:
        """Open it unless it is open, look into it, let go of it at once.

        Raises nothing about the source, but ``Unavailable`` if it gets no turn within ``queue`` seconds.
        """
        stream = replace(stream, id=NOBODY)  # what is told to those who watch it under its own id goes on
        async with self._taking_turns(queue):
            was_running = self.is_open(stream)
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._held(stream, was_running=was_running)
            except ProxyError as error:
                return self._failed(stream, error, was_running=was_running)
            except TimeoutError:
                late = UpstreamError("stall", f"The source could not be judged within {PATIENCE:.0f} s")
                return self._failed(stream, late, was_running=was_running)
            finally:
                await self._pool.give_up(stream)

    @asynccontextmanager
    async def _taking_turns(self, queue: float | None) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(queue):
                await self._turn.acquire()
        except TimeoutError:
            raise Unavailable(
                "Too many sources are being checked; try again later", reason="busy", retry_after=PATIENCE
            ) from None
        try:
            yield
        finally:
            self._turn.release()

    def is_open(self, stream: Stream) -> bool:
        """Whether a check needs no connection."""
        return self._pool.supply(stream) is not None

    async def _held(self, stream: Stream, *, was_running: bool) -> Finding:
        entry = self._pool.acquire(stream)
        entry.hold()
        try:
            return await self._look(stream, entry, was_running=was_running)
        finally:
            entry.release()

    async def _look(self, stream: Stream, entry: Entry, *, was_running: bool) -> Finding:
        supply = entry.thing
        assert isinstance(supply, Supply)
        began = monotonic()
        await supply.ready()
        first_byte = monotonic() - began
        contents = await self._contents(supply)
        return Finding(
            kind=supply.kind,
            first_byte=first_byte,
            tracks=contents.tracks,
            bitrate=await _bitrate(await supply.settled(), contents),
            duration=contents.duration if supply.kind is Kind.VOD else 0.0,
            was_running=was_running,
            allowance=self._accounts.allowance(stream.origin.url),
        )

    async def _contents(self, supply: Supply) -> Contents:
        if self._probe is None:
            return _declared(supply)
        return await self._probe(supply)

    def _failed(self, stream: Stream, error: ProxyError, *, was_running: bool) -> Finding:
        return Finding(
            kind=self._pool.kind(stream),
            was_running=was_running,
            allowance=self._accounts.allowance(stream.origin.url),
            reason=error.reason,
            detail=error.detail,
        )


def _declared(supply: Supply) -> Contents:
    """What the tables of a live source say, where nobody can look further."""
    media = supply.snapshot().media_info
    kinds = (("video", media.get("video_codec")), ("audio", media.get("audio_codec")))
    tracks = tuple(Track(kind, str(codec)) for kind, codec in kinds if codec)
    if not tracks and isinstance(supply.inner, Relay):
        raise Unavailable("The source has tables without tracks", reason="not_media")
    return Contents(tracks)


async def _bitrate(inner: Inner, contents: Contents) -> float:
    """Of a live source what comes in, of anything else what its container or playlist says."""
    if not isinstance(inner, Relay):
        return float(contents.bitrate or sum(track.bitrate for track in contents.tracks))
    before, began = inner.bytes_in, monotonic()
    await asyncio.sleep(LISTEN)
    return (inner.bytes_in - before) * 8 / (monotonic() - began)
