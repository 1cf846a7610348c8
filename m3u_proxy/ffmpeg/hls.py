"""One FFmpeg, one claimed directory, one playlist: HLS for all viewers of a transcoded stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from secrets import token_hex
from time import monotonic
from typing import TypeVar

from m3u_proxy.errors import Closed, ProxyError, Unavailable
from m3u_proxy.ffmpeg.run import COMPLETED, Argv, Feed, Kit, Run
from m3u_proxy.ffmpeg.shelf import Delivery, Segment, Shelf
from m3u_proxy.media.timeline import Timeline
from m3u_proxy.model import Kind, RunSnapshot, State, StreamKey
from m3u_proxy.storage.directories import Claim

log = logging.getLogger(__name__)

LOOK_INTERVAL = 0.1
"""Seconds between two looks into the directory; a look costs a thread hop and one small read."""
HOLLOW_PATIENCE = 1.5
"""Seconds an empty file is forgiven: on a full disk FFmpeg goes on and says nothing."""
INPUT_PAUSE = 1.0
"""Seconds without input after which FFmpeg's clock stops."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HlsOutput:
    """What is written: FFmpeg's command line and the shape of the playlist."""

    argv: Argv
    segment_duration: float
    window: int
    keep_extra: int
    stall: float
    """Seconds without a finished segment, in spite of input, after which the run is lost."""


class HlsWriter:
    """Running thing behind a transcoded HLS stream.

    ``run()`` is its whole life, owned by the pool. When it returns the process is reaped, the directory
    emptied and every segment closed, also when ending FFmpeg failed. A finite input ends before that: FFmpeg
    is gone, the playlist has its end, and the writer goes on serving until it is cancelled.
    """

    kind = Kind.TRANSCODE_HLS

    def __init__(
        self,
        key: StreamKey,
        output: HlsOutput,
        *,
        feed: Feed,
        kit: Kit,
        claim: Callable[[], Claim],
        admit: Callable[[], None],
    ) -> None:
        self.key = key
        self.state = State.STARTING
        self.error: ProxyError | None = None
        self.files: dict[int, Segment] = {}
        """What may be fetched now: segments by media sequence number, and ``MAP``."""
        self.nonce = token_hex(4)
        """Tells the segments of this writer from those of an earlier one for the same stream."""
        self.timeline = Timeline(output.window, output.keep_extra, output.segment_duration)
        self.revision = 0
        """Changes whenever the playlist does."""
        self.bytes_out = 0
        self._output = output
        self._feed = feed
        self._kit = kit
        self._claim = claim
        self._admit = admit
        self._run = Run(kit, feed, self.kind, key.digest)
        self._ready = asyncio.Event()

    def __repr__(self) -> str:
        return f"<HlsWriter {self.key.digest} {self.state} next={self.timeline.next}>"

    @property
    def target(self) -> float:
        """Target duration in seconds."""
        return self.timeline.target

    @property
    def is_warm(self) -> bool:
        """Whether a playlist exists already."""
        return self.revision > 0

    async def ready(self) -> None:
        """Wait for the first finished segment; raises the error of a writer that failed."""
        await self._ready.wait()
        if self.error is not None:
            raise self.error.again()

    async def run(self, after: asyncio.Task[None] | None = None) -> None:
        """Write and serve until cancelled or lost.

        Begins when ``after``, an earlier writer's closing, has ended.
        """
        try:
            if after is not None:
                await asyncio.wait([after])
            await self._feed.ready()
            self._admit()
            async with _held(self._claim) as claim:
                shelf = Shelf(claim, self.timeline)
                try:
                    self._run.start(self._output.argv, claim.path, stdout=False)
                    await self._follow(shelf)
                    await self._finish(shelf)
                    await asyncio.get_running_loop().create_future()  # serves until it is cancelled
                except ProxyError as error:
                    self._fail(error)  # viewers hear of it before FFmpeg has been ended
                finally:
                    try:
                        await uncut(self._run.stop())
                    finally:
                        shelf.close()
        except ProxyError as error:
            self._fail(error)
        finally:
            if self.state is not State.FAILED:
                self.error = Closed("The stream was stopped", reason="closed")
                self._enter(State.CLOSED)
            self.files.clear()
            self._ready.set()

    def _fail(self, error: ProxyError) -> None:
        self.error = error
        self.files.clear()
        self._enter(State.FAILED)
        self._ready.set()

    async def _follow(self, shelf: Shelf) -> None:
        """Take in segments as FFmpeg finishes them, up to the end of a finite input.

        Raises when the run is lost or makes no progress.
        """
        health = Health(self._output.stall, monotonic(), self._run.patience)
        while True:
            await asyncio.wait([self._run.failure], timeout=LOOK_INTERVAL)
            if self._run.failure.done():
                outcome = self._run.failure.result()
                if outcome.reason == COMPLETED:
                    return
                raise outcome
            delivery = await uncut(asyncio.to_thread(shelf.look))
            if delivery is not None:
                self._take(delivery)
            fed, unread = self._run.fed, self._run.unread
            if health.is_hollow(monotonic(), hollow=shelf.hollow):
                raise self._hollow()
            if not health.look(monotonic(), fed=fed, unread=unread, delivered=delivery is not None):
                raise Unavailable("FFmpeg makes no progress", reason="stall", retry_after=5.0)

    async def _finish(self, shelf: Shelf) -> None:
        """Take in what FFmpeg wrote last and end the playlist; raises when there is nothing to show."""
        await uncut(self._run.stop())
        delivery = await uncut(asyncio.to_thread(shelf.look))
        if delivery is not None:
            self._take(delivery)
        if shelf.hollow:
            raise self._hollow()
        if not self.timeline:
            raise Unavailable("FFmpeg found nothing to write", reason="ffmpeg_eof", retry_after=5.0)
        self.timeline.end()
        self.revision += 1
        log.info("writer completed", extra=self._who)

    def _hollow(self) -> Unavailable:
        self._kit.ledger.write_errors["empty_output"] += 1
        return Unavailable("FFmpeg writes empty files", reason="write_error", retry_after=5.0)

    def _take(self, delivery: Delivery) -> None:
        self.timeline.map_name = delivery.map_name
        self.files |= delivery.files
        self.bytes_out += sum(segment.size for segment in delivery.files.values())
        for entry in self.timeline.extend(delivery.entries):
            gone = self.files.pop(entry.number, None)
            if gone is not None:
                gone.close()
        self.revision += 1
        self._enter(State.LIVE)
        self._ready.set()

    def _enter(self, state: State) -> None:
        if state is self.state:
            return
        self.state = state
        level = logging.WARNING if state is State.FAILED else logging.INFO
        log.log(level, "writer %s%s", state, f": {self.error.detail}" if self.error else "", extra=self._who)

    @property
    def _who(self) -> dict[str, str]:
        return {"stream": self.key.digest}

    def _bitrate(self) -> float:
        """Bits per second of the segments in the playlist."""
        listed = [(entry.duration, self.files.get(entry.number)) for entry in self.timeline.listed()]
        seconds = sum(duration for duration, segment in listed if segment)
        size = sum(segment.size for _, segment in listed if segment)
        return size * 8 / seconds if seconds else 0.0

    def snapshot(self) -> RunSnapshot:
        """The writer now; ``bytes_in`` is what FFmpeg was fed."""
        tap = self._run.tap
        return RunSnapshot(
            key=self.key.digest,
            kind=self.kind,
            state=self.state,
            reason=self.error.reason if self.error else None,
            bytes_in=tap.sent if tap else 0,
            bitrate=self._bitrate(),
            skips=0,
            media_info={},
            upstream_connections=0,
            ffmpeg_pid=self._run.pid,
        )


class Health:
    """Progress of a writer: a finished segment every so often, while there is input. Monotonic seconds.

    ``patience`` bounds how long the source is blamed for a silence.
    """

    def __init__(self, limit: float, now: float, patience: float = inf) -> None:
        self._limit = limit
        self._patience = patience
        self._fed = 0
        self._hollow_since: float | None = None
        self._fed_at = self._looked_at = self._delivered_at = now

    def look(self, now: float, *, fed: int, unread: int, delivered: bool) -> bool:
        """Whether the writer is healthy.

        ``fed`` is the running total of its input in bytes, ``unread`` how many of them it has not taken: a
        hung FFmpeg leaves its pipe full, and then nothing more can be fed.
        """
        if fed != self._fed or unread:
            self._fed, self._fed_at = fed, now
        if delivered:
            self._delivered_at = now
        elif INPUT_PAUSE < now - self._fed_at <= self._patience:
            self._delivered_at += now - self._looked_at  # FFmpeg is not to blame for a silent source
        self._looked_at = now
        return now - self._delivered_at <= self._limit

    def is_hollow(self, now: float, *, hollow: bool) -> bool:
        """Whether empty files have been there for longer than is forgiven."""
        if not hollow:
            self._hollow_since = None
        elif self._hollow_since is None:
            self._hollow_since = now
        return self._hollow_since is not None and now - self._hollow_since > HOLLOW_PATIENCE


async def uncut(work: Coroutine[object, object, T]) -> T:
    """Await ``work`` to its end even when cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


@asynccontextmanager
async def _held(claim: Callable[[], Claim]) -> AsyncIterator[Claim]:
    """A claimed directory, emptied and released at the end, whatever happens in between."""
    making = asyncio.ensure_future(asyncio.to_thread(claim))
    try:
        held = await asyncio.shield(making)
    except asyncio.CancelledError:
        held = await making
        await asyncio.to_thread(held.clear)
        raise
    try:
        yield held
    finally:
        await uncut(asyncio.to_thread(held.clear))
