"""One playlist for all viewers of a transcoded stream, whatever becomes of the FFmpeg behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from time import monotonic
from typing import TypeVar

from m3u_proxy.errors import ProxyError, Unavailable
from m3u_proxy.ffmpeg.command.input import Input
from m3u_proxy.ffmpeg.hls.departures import Departures
from m3u_proxy.ffmpeg.hls.health import Watchdog
from m3u_proxy.ffmpeg.hls.shelf import Delivery, Segment, Shelf
from m3u_proxy.ffmpeg.process.restarts import Pace, Restarts
from m3u_proxy.ffmpeg.process.run import COMPLETED, RETRY_AFTER, SWITCHED, Feed, Kit, Lost, Run
from m3u_proxy.lifecycle import Running
from m3u_proxy.media.timeline import Timeline
from m3u_proxy.model import Kind, Naming, RunSnapshot, State, StreamKey
from m3u_proxy.storage.directories import Claim
from m3u_proxy.tasks import uncut

log = logging.getLogger(__name__)

LOOK_INTERVAL = 0.1
"""Seconds between two looks into the directory; a look costs a thread hop and one small read."""
GIVEN_UP = 30.0
"""Seconds until it makes sense to ask again for a stream whose FFmpeg was lost again and again."""

T = TypeVar("T")


HlsArgv = Callable[[int, Input, int], Sequence[str]]
"""As `Argv`, with the number of the first segment."""


@dataclass(frozen=True, slots=True)
class HlsOutput:
    """What is written: FFmpeg's command line and the shape of the playlist."""

    argv: HlsArgv
    segment_duration: float
    window: int
    keep_extra: int
    stall: float
    """Seconds without a finished segment, in spite of input, after which a FFmpeg is lost."""
    pace: Pace = field(default_factory=Pace)
    naming: Naming = Naming.NUMBERED
    linger: float = 0.0
    """Seconds for which dated segments are kept after they have left the playlist."""


class HlsWriter(Running):
    """Running thing behind a transcoded HLS stream: one FFmpeg after the other, each in its own directory.

    ``run()`` is its whole life, owned by the pool. When it returns the process is reaped, the directory
    emptied and every segment closed, also when ending FFmpeg failed.

    A FFmpeg that is lost is replaced while the source is there and ``pace`` allows it: the playlist is served
    on meanwhile, and continued with one discontinuity. A finite input is not begun again, as nobody would
    want to see its beginning where it was lost; when it ends, the playlist has its end, and the writer goes
    on serving without FFmpeg until it is cancelled.
    """

    kind = Kind.TRANSCODE_HLS
    word = "writer"

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
        super().__init__(key)
        self.files: dict[int, Segment] = {}
        """What may be fetched now, by media sequence number; initialization sections by theirs."""
        self.nonce = token_hex(4)
        """Tells the segments of this writer from those of an earlier one for the same stream."""
        self.timeline = Timeline(output.window, output.keep_extra, output.segment_duration)
        self.revision = 0
        """Changes whenever the playlist does."""
        self.bytes_out = 0
        self._media: Mapping[str, object] = {}
        self._output = output
        self._feed = feed
        self._kit = kit
        self._claim = claim
        self._admit = admit
        self._run: Run | None = None
        self._restarts = Restarts(output.pace)
        self._departures = Departures(output.linger)
        self._first = 0
        """What the FFmpeg at work calls its first segment."""
        self._loss: ProxyError | None = None
        """Why FFmpeg is being replaced; ``None`` when its successor has shown something."""
        self._bytes_in = 0
        self.on_restart: Callable[[ProxyError], None] = lambda _: None
        """Told why another FFmpeg takes the place of one that was lost."""
        self._ready = asyncio.Event()

    def __repr__(self) -> str:
        return f"<HlsWriter {self.key.digest} {self.state} next={self.timeline.next}>"

    @property
    def target(self) -> float:
        """Target duration in seconds."""
        return self.timeline.target

    @property
    def _is_dated(self) -> bool:
        return self._output.naming is Naming.DATED

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
        shelf = Shelf(self.timeline)
        try:
            if after is not None:
                await asyncio.wait([after])
            await self._write(shelf)
            await asyncio.get_running_loop().create_future()  # serves until it is cancelled
        except ProxyError as error:
            self._fail(error)
        finally:
            self._close()
            self.files.clear()
            shelf.close()
            self._ready.set()

    async def _write(self, shelf: Shelf) -> None:
        """One FFmpeg after the other, up to the end of a finite input; raises when the writer is lost."""
        while True:
            await self._feed.ready()
            self._admit()
            async with _held(self._claim) as claim:
                self._first = self.timeline.next if self._is_dated else 0
                shelf.begin(claim, self._first)
                delay = await self._live(shelf, claim)
                if delay is None:
                    return
                await self._look(shelf)  # what the lost one has finished is continued, not repeated
                self.timeline.restart()
            await asyncio.sleep(delay)

    async def _live(self, shelf: Shelf, claim: Claim) -> float | None:
        """The life of one FFmpeg: seconds until the next one, ``None`` if its input has come to its end."""
        run = Run(self._kit, self._feed, self.kind, self.key.digest)
        try:
            self._start(run, claim)
            await self._follow(shelf, run)
            await self._finish(shelf, run)
            return None
        except ProxyError as error:
            return self._next_start(error, run)  # viewers hear of it before FFmpeg has been ended
        finally:
            await uncut(run.stop())
            self._bytes_in += run.fed
            self._run = None

    def _start(self, run: Run, claim: Claim) -> None:
        self._restarts.started(monotonic())
        run.start(lambda fd, source: self._output.argv(fd, source, self._first), claim.path, stdout=False)
        self._run = run
        if self._loss is not None:
            self._kit.ledger.restarts[self.kind] += 1

    def _next_start(self, error: ProxyError, run: Run) -> float:
        """Seconds until the next FFmpeg; raises ``error`` where that would be useless or once too often."""
        if error.reason == SWITCHED:  # no fault of FFmpeg's
            self._loss = error
            return 0.0
        refused = error.reason == "spawn" and self.is_warm  # for the moment, by a system that is short of all
        if run.is_finite or not (refused or isinstance(error, Lost)):
            self._fail(error)
            raise error
        delay = self._restarts.lost(monotonic())
        if delay is None:
            error.retry_after = GIVEN_UP
            self._fail(error)
            raise error
        self._loss = error.again()  # this one keeps alive what it has passed
        self.on_restart(error)
        self._enter(State.RECONNECTING)
        log.warning("ffmpeg lost: %s; next start in %.0f s", error.detail, delay, extra=self.who)
        return delay

    def _fail(self, error: ProxyError) -> None:
        self.files.clear()
        super()._fail(error)
        self._ready.set()

    async def _follow(self, shelf: Shelf, run: Run) -> None:
        """Take in segments as FFmpeg finishes them, up to the end of a finite input.

        Raises when the run is lost or makes no progress.
        """
        health = Watchdog(self._output.stall, monotonic(), run.patience)
        while True:
            await asyncio.wait([run.failure], timeout=LOOK_INTERVAL)
            if run.failure.done():
                outcome = run.failure.result()
                if outcome.reason == COMPLETED:
                    return
                raise outcome
            delivered = await self._look(shelf)
            now = monotonic()
            if self._is_dated:
                await self._tidy(shelf, now)
            if delivered:
                self._restarts.rose(now)
                self._show()
            if health.is_hollow(now, hollow=shelf.hollow):
                raise self._hollow()
            if not health.look(now, fed=run.fed, unread=run.unread, delivered=delivered):
                raise run.lost("stall", "FFmpeg makes no progress")
            run.look_at_speed(now)

    async def _finish(self, shelf: Shelf, run: Run) -> None:
        """Take in what FFmpeg wrote last and end the playlist; raises when there is nothing to show."""
        await uncut(run.stop())
        await self._look(shelf)
        if shelf.hollow:
            raise self._hollow()
        if not self.timeline:
            raise Unavailable("FFmpeg found nothing to write", reason="ffmpeg_eof", retry_after=RETRY_AFTER)
        self.timeline.end()
        self.revision += 1
        self._show()
        log.info("writer completed", extra=self.who)

    def _hollow(self) -> Lost:
        self._kit.ledger.write_errors["empty_output"] += 1
        return Lost("FFmpeg writes empty files", reason="write_error", retry_after=RETRY_AFTER)

    async def _look(self, shelf: Shelf) -> bool:
        """Take in what FFmpeg has finished since the last look; whether that was anything."""
        delivery = await uncut(asyncio.to_thread(shelf.look))
        if delivery is not None:
            self._take(delivery)
        return delivery is not None

    def _take(self, delivery: Delivery) -> None:
        self.timeline.map_name = delivery.map_name
        self._media = delivery.media_info
        self.timeline.extend(delivery.entries)
        self.files |= delivery.files
        self.bytes_out += sum(segment.size for segment in delivery.files.values())
        self._close_old()
        self.revision += 1
        self._ready.set()

    def _close_old(self) -> None:
        for number in self.files.keys() - self.timeline.served():
            self.files.pop(number).close()

    async def _tidy(self, shelf: Shelf, now: float) -> None:
        """Remove what FFmpeg does not: segments that have been out of the playlist for long enough."""
        due = self._departures.due(self.timeline.unlisted, now)
        if due:
            self.timeline.drop(due)
            self._close_old()
            await uncut(asyncio.to_thread(shelf.trim))

    def _show(self) -> None:
        """The playlist goes on."""
        self._loss = None
        self._enter(State.LIVE)

    def _bitrate(self) -> float:
        """Bits per second of the segments in the playlist."""
        listed = [(entry.duration, self.files.get(entry.number)) for entry in self.timeline.listed()]
        seconds = sum(duration for duration, segment in listed if segment)
        size = sum(segment.size for _, segment in listed if segment)
        return size * 8 / seconds if seconds else 0.0

    def _media_info(self, run: Run | None) -> dict[str, object]:
        """Container and tracks, once there is a segment, and the figures of the FFmpeg at work."""
        container = {"container": "mp4" if self.timeline.map_name else "mpegts"} if self.timeline else {}
        return {**container, **self._media, **(run.media_info if run else {})}

    def snapshot(self) -> RunSnapshot:
        """The writer now; ``bytes_in`` is what FFmpeg was fed, ``media_info`` what it writes."""
        run, trouble = self._run, self.error or self._loss
        return RunSnapshot(
            key=self.key.digest,
            kind=self.kind,
            state=self.state,
            reason=trouble.reason if trouble else None,
            bytes_in=self._bytes_in + (run.fed if run else 0),
            bitrate=self._bitrate(),
            media_info=self._media_info(run),
            ffmpeg_pid=run.pid if run else None,
        )


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
