"""One live source, read once, for any number of viewers.

The relay owns the upstream: it opens it, reads it, cuts it into chunks of whole units that begin where a
picture can start, and opens it again when it breaks. Viewers come and go without touching any of that.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from time import monotonic

from m3u_proxy.errors import Closed, FormChanged, ProxyError, Unavailable, UpstreamError
from m3u_proxy.ffmpeg.process.run import SWITCHED
from m3u_proxy.lifecycle import Running
from m3u_proxy.media.mpegts import ADTS, Batch, NotMedia, Point, programme_of
from m3u_proxy.model import Kind, RunSnapshot, State, StreamKey
from m3u_proxy.pool.live.body import WayIn
from m3u_proxy.pool.live.fanout import Fanout
from m3u_proxy.pool.live.filler import Filler
from m3u_proxy.pool.live.intake import Intake
from m3u_proxy.pool.live.outlet import Outlet
from m3u_proxy.pool.live.overlap import OverlapLimits
from m3u_proxy.pool.live.prebuffer import Prebuffer, PrebufferLimits
from m3u_proxy.pool.live.ring import Ring
from m3u_proxy.pool.live.tap import Tap
from m3u_proxy.pool.rate import Floor, Rate
from m3u_proxy.pool.sources.attempts import Succession, Switched
from m3u_proxy.pool.tally import Tally
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.outcome import judged
from m3u_proxy.upstream.source import Source

log = logging.getLogger(__name__)

CHUNK = 256 * 1024
"""Bytes after which a chunk is closed whatever its age."""
SHORTEST_PULSE = 0.04
LONGEST_PULSE = 0.2
PULSE_PER_VIEWER = 0.0005
"""Seconds. The age at which a chunk is closed grows with the audience: few viewers get low latency, many get
few and large writes."""


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """Bytes and seconds, from the settings."""

    ring: int = 16 * 1024 * 1024
    queue: int = 1024 * 1024
    filler: float = 30.0
    """How long viewers are kept while no source gives anything."""
    overlap: OverlapLimits | None = None
    """How far what a source repeats after a reconnect is looked for; ``None``: it is played again."""
    prebuffer: PrebufferLimits | None = None
    """``None``: whoever joins is served from the first picture on."""


class Relay(Running):
    """Running thing behind a live stream, or behind FFmpeg's standard output.

    ``run()`` is its whole life, owned by the pool; it ends by cancellation or when the source is given up.
    Everyone who waits in ``ready()`` succeeds or fails together. Without ``intake`` it is MPEG-TS.
    """

    word = "relay"

    def __init__(
        self,
        key: StreamKey,
        kind: Kind,
        succession: Succession,
        *,
        limits: RelayLimits,
        tally: Tally,
        intake: WayIn | None = None,
    ) -> None:
        super().__init__(key)
        self.kind = kind
        self.bytes_in = 0
        self.connected = False
        self.connections = 0
        """Opened so far."""
        self._succession = succession
        self._tally = tally
        self._intake: WayIn = intake if intake is not None else Intake(limits.overlap)
        self._ring = Ring(limits.ring, has_counters=self._intake.has_counters)
        self._edge = self._intake.tables()
        self._fanout = Fanout(self._ring, lambda: self._edge, queue=limits.queue, tally=tally)
        self._taps: set[Tap] = set()
        self._url = ""
        """Of the source whose media came last."""
        self._tracks: tuple[tuple[int, int], ...] = ()
        """PIDs and stream types of its first video and its first audio."""
        self._filler = Filler(self._fill, limits.filler)
        self._rate = Rate()
        self._floor = Floor()
        self._parts: list[bytes] = []
        self._points: list[Point] = []
        self._size = 0
        self._flush_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._begun = asyncio.Event()
        self._prebuffer = Prebuffer(limits.prebuffer)

    def __repr__(self) -> str:
        return f"<Relay {self.key.digest} {self.kind} {self.state} viewers={len(self._fanout)}>"

    @property
    def is_warm(self) -> bool:
        """Whether a joiner finds a picture waiting."""
        return self._ring.size > 0 and self._prebuffer.is_open

    async def ready(self) -> None:
        """Wait for the tables: FFmpeg may start now. Raises the error of a relay that failed."""
        await self._ready.wait()
        if self.error is not None:
            raise self.error.again()

    async def begun(self, deadline: float | None = None) -> None:
        """Wait until there is a picture to send; raises the error of a relay that failed.

        What is to be in the ring besides is not waited for beyond ``deadline``, in loop time.
        """
        await self._begun.wait()
        await self._prebuffer.wait(deadline)
        if self.error is not None:
            raise self.error.again()

    def attach(self, outlet: Outlet) -> None:
        """Add a viewer, starting at the newest random-access point."""
        if self.error is not None:
            outlet.end(self.error.reason)
        else:
            self._fanout.attach(outlet)

    def detach(self, outlet: Outlet) -> None:
        """The viewer has left. Idempotent."""
        self._fanout.detach(outlet)

    @property
    def has_adts(self) -> bool:
        """Whether the first audio of its programme is AAC in ADTS (ISO/IEC 13818-1 table 2-34)."""
        programme = self._intake.programme
        audio = programme.first("audio") if programme else None
        return audio is not None and audio.stream_type == ADTS

    @property
    def has_audio(self) -> bool | None:
        """Whether the tables name any; ``None`` until they have come."""
        programme = self._intake.programme
        return None if programme is None else programme.first("audio") is not None

    @property
    def playing(self) -> str:
        """URL of the source whose media came last; empty before."""
        return self._url

    @property
    def is_live(self) -> bool:
        """Whether media comes."""
        return self.connected and self.state is State.LIVE

    def tap(self) -> Tap:
        """A place for FFmpeg, which is fed through its standard input like any other viewer."""
        tap = Tap(self.attach, self.detach, self._taps.discard)
        self._taps.add(tap)
        return tap

    async def run(self, after: asyncio.Task[None] | None = None) -> None:
        """Read until cancelled or given up; afterwards no socket, timer or viewer of this relay is left.

        Begins when ``after``, the closing of an earlier relay of the same key, has ended.
        """
        try:
            if after is not None:
                await asyncio.wait([after])
            while True:
                await self._attempt(await self._succession.next())
        except Closed as error:
            self.error = error
            if isinstance(error, FormChanged):
                self._begin_ffmpeg_anew()
        except ProxyError as error:
            self._fail(error)
        finally:
            self._filler.stop()
            if self._flush_timer is not None:
                self._flush_timer.cancel()
            self._prebuffer.close()
            self._flush()
            self._close()
            self._fanout.close(self.error.reason if self.error else "closed")
            self._ready.set()
            self._begun.set()

    async def _attempt(self, source: Source) -> None:
        """One connection from open to its end; raises when there will be no other."""
        try:
            async with self._succession.reading():
                head = await source.open()
                self.connected = True
                self.connections += 1
                await self._read(source, head.length)
        except Switched:
            self._pause(SWITCHED)
        except Unavailable as error:  # the account has no connection to spare
            self._succession.lost(UpstreamError(error.reason, error.detail))
            self._pause(error.reason)
        except UpstreamError as error:
            if error.reason == "completed":
                raise Closed(error.detail, reason=error.reason) from None
            delay = self._succession.lost(error)
            log.warning(
                "source lost: %s; next attempt in %.1f s at the earliest", error.detail, delay, extra=self.who
            )
            self._pause(error.reason)
        finally:
            self.connected = False
            await uncut(source.aclose())  # whoever comes next may open only what this has let go of

    def _pause(self, reason: str) -> None:
        """Until the next source gives something, players are kept with packets that say nothing.

        Where a body cannot go on with what another source gives, they are let go.
        """
        self._floor.restart()
        self._enter(State.RECONNECTING)
        if not self._intake.goes_on:
            self._flush()
            self._fanout.cut(reason)
            self._ring.clear()
            self._begun.clear()
        elif self._intake.filler and self._ring.size:
            self._filler.start()

    def _fill(self) -> None:
        if not self._parts:
            self._ring.append(self._intake.filler, [])
            self._fanout.pulse()

    async def _read(self, source: Source, announced: int | None) -> None:
        self._intake.connect(monotonic(), self._succession.url)
        before = self.bytes_in
        while True:
            try:
                piece = await source.read()
            except UpstreamError as error:
                raise judged(error, self.bytes_in - before) from None
            self.bytes_in += len(piece)
            self._tally.bytes_in[self.kind] += len(piece)
            now = monotonic()
            try:
                batch = self._intake.feed(piece, now)
            except NotMedia as error:
                size = max(announced or 0, self.bytes_in - before)
                detail = f"The source sent no {self._intake.name}: {error}"
                raise UpstreamError("not_media", detail, size=size) from error
            self._take(batch, now)

    def _take(self, batch: Batch, now: float) -> None:
        self._rate.mark(now, self.bytes_in)
        # What FFmpeg makes of a still picture is rightly little.
        if not self.kind.is_transcoded and self._floor.is_below(now, self.bytes_in):
            raise UpstreamError("low_bitrate", "The source gives far less than it used to")
        if batch.data:
            self._succession.alive(now)
            self._filler.stop()
            if self.state is State.RECONNECTING:
                self._succession.connected(self.kind)
            self._enter(State.LIVE)
            self._points.extend(Point(point.offset + self._size, point.psi) for point in batch.points)
            self._parts.append(batch.data)
            self._size += len(batch.data)
            self._schedule()
        if self._intake.programme is not None or self._ring.size:
            self._ready.set()

    def _schedule(self) -> None:
        if self._size >= CHUNK or not self._ring.size:
            self._flush()
        elif self._flush_timer is None:
            age = min(SHORTEST_PULSE + PULSE_PER_VIEWER * len(self._fanout), LONGEST_PULSE)
            self._flush_timer = self._loop.call_later(age, self._flush)

    def _flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._parts:
            return
        points = list(self._points)
        self._ring.append(b"".join(self._parts), points)
        self._edge = self._intake.tables()  # those of a chunk still to come would be ahead of the ring
        self._parts.clear()
        self._points.clear()
        self._size = 0
        self._ready.set()
        self._begun.set()
        self._prebuffer.fill(self._ring.size)
        self._fanout.pulse()
        if points:
            self._compare(points[-1])

    def _compare(self, point: Point) -> None:
        """Each FFmpeg has to begin anew at the first point of another source, or of other tracks: it has
        prepared for those that it began with."""
        programme = programme_of(point.psi) if self._intake.has_counters else None
        firsts = [programme.first(kind) for kind in ("video", "audio")] if programme else []
        tracks = tuple((one.pid, one.stream_type) for one in firsts if one is not None) or self._tracks
        is_other = (self._url, self._tracks) != (self._succession.url, tracks)
        is_switch = is_other and bool(self._url)
        self._url, self._tracks = self._succession.url, tracks
        if is_switch:
            self._begin_ffmpeg_anew()

    def _begin_ffmpeg_anew(self) -> None:
        """End the input of each FFmpeg, whose owner starts another one at once."""
        for tap in list(self._taps):
            tap.end(SWITCHED)

    def snapshot(self) -> RunSnapshot:
        """The relay now."""
        return RunSnapshot(
            key=self.key.digest,
            kind=self.kind,
            state=self.state,
            reason=self.error.reason if self.error else None,
            bytes_in=self.bytes_in,
            bitrate=self._rate.read(monotonic(), self.bytes_in),
            skips=self._fanout.skips,
            media_info=self._intake.media_info() | self._succession.media_info(),
            upstream_connections=int(self.connected),
        )
