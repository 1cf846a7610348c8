"""What is behind a plain stream: its source is opened once, judged by its first bytes, and then shared.

A live stream becomes a relay, a playlist a passthrough, a file one position for each viewer. Whoever asks
before that is known waits; nobody opens the source a second time to find out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from m3u_proxy.errors import Closed, FormChanged, ProxyError, Unavailable, UpstreamError
from m3u_proxy.ffmpeg.process.run import SWITCHED, Tap
from m3u_proxy.model import Kind, RunSnapshot, State, StreamKey
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.pool.loopback import InputSpec, input_spec_of
from m3u_proxy.pool.sources.attempts import Switched
from m3u_proxy.pool.sources.first_bytes import is_enough, kind_of
from m3u_proxy.pool.sources.history import Happening
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.pool.workshop import Workshop
from m3u_proxy.tasks import uncut
from m3u_proxy.upstream.begun import Begun, begin
from m3u_proxy.upstream.source import Source

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds from the head of an answer until it can be told what it is."""
PARKED = 2.0
"""Seconds for which an opened file waits for the first viewer to read it."""

Inner = Relay | Passthrough | Vod
T = TypeVar("T")
Found = tuple[Source, Begun, Kind]
"""A source, as it was opened to be judged, and what it yields."""


class Supply:
    """Running thing behind a plain stream; ``settled()`` tells what it turned out to be.

    ``guess`` is used where the answer leaves the kind open. A file of which only a later part is wanted
    (``is_seek``) is not asked for its beginning first, unless another source might have to take over.
    """

    def __init__(
        self, key: StreamKey, guess: Kind, workshop: Workshop, *, strict: bool, is_seek: bool
    ) -> None:
        self.key = key
        self.inner: Inner | None = None
        self._guess = guess
        self.workshop = workshop
        self._strict = strict
        self._is_seek = is_seek
        self._error: ProxyError | None = None
        self._begun: Begun | None = None
        self._input_spec: InputSpec | None = None
        self._opening = False
        self._other: Found | None = None
        """Of another form than what is here, and about to take its place."""
        self.is_watched: Callable[[], bool] = lambda: True
        """Whether anybody holds it; its owner knows."""
        self._state = State.STARTING
        self._settled = asyncio.Event()
        self._taken = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Supply {self.key.digest} {self.inner!r}>"

    @property
    def kind(self) -> Kind:
        """A guess until it is settled."""
        return self._guess if self.inner is None else self.inner.kind

    @property
    def error(self) -> ProxyError | None:
        """Why it has ended, or is about to."""
        inner = self.inner
        return self._error or (inner.error if isinstance(inner, Relay | Passthrough) else None)

    @property
    def state(self) -> State:
        """That of what it turned out to be."""
        if isinstance(self.inner, Relay | Passthrough) and self._state is not State.FAILED:
            return self.inner.state
        return self._state

    @property
    def is_warm(self) -> bool:
        """Whether a joiner is served at once."""
        return isinstance(self.inner, Vod) or (self.inner is not None and self.inner.is_warm)

    @property
    def is_settled(self) -> bool:
        """Whether it is known what it yields, or that it yields nothing."""
        return self._settled.is_set()

    async def settled(self) -> Inner:
        """Wait until it is known what this is; raises why the source could not be read."""
        while True:
            await self._settled.wait()
            if self.error is not None:
                raise self.error.again()
            if self.inner is not None:  # or it became another form between being told and being awake
                return self.inner

    async def through(self, wait: Callable[[Inner], Awaitable[T]]) -> T:
        """What ``wait`` gives of what this is; asked anew when it becomes another form meanwhile."""
        while True:
            inner = await self.settled()
            try:
                found = await wait(inner)
            except ProxyError:
                if inner is self.inner or self.error is not None:
                    raise
            else:
                if inner is self.inner:
                    return found

    async def run(self, after: asyncio.Task[None] | None = None) -> None:
        """Open, judge and be what was found, until cancelled or given up; nothing is left afterwards.

        Begins when ``after``, the closing of an earlier supply of the same key, has ended.
        """
        try:
            if after is not None:
                await asyncio.wait([after])
            if self._needs_no_look:
                await self._be_file(None)
            else:
                await self._begin()
        except ProxyError as error:
            self._error = error
            self._enter(State.FAILED)
        finally:
            if self._other is not None:
                await uncut(self._other[0].aclose())
            self._error = self.error or Closed("The stream was stopped", reason="closed")
            self._settled.set()
            if self._state is not State.FAILED:
                self._enter(State.CLOSED)
            self.workshop.history.note(Happening.END, reason=self._error.reason)

    @property
    def _needs_no_look(self) -> bool:
        """Whether the beginning of a file is of no use: only that tells whether a spare is needed."""
        is_part = self._is_seek and self._guess is Kind.VOD and not self._strict
        return is_part and not self.workshop.attempts.failover.has_others

    async def _begin(self) -> None:
        """Be what the first source shows, then what one in its place shows, if that is another form."""
        found: Found | None = await self._first()
        while found is not None:
            await self._be(*found)
            found, self._other = self._other, None

    async def _be(self, source: Source, begun: Begun, kind: Kind) -> None:
        try:
            if kind is Kind.VOD:
                await self._be_file(begun)
            elif kind is Kind.HLS:
                await self._be_playlist(begun)
            else:
                await self._be_live(begun)
        finally:
            await uncut(source.aclose())

    async def _look(self, source: Source) -> Begun:
        """A source that takes over, opened. If it yields another form, what was here ends: players of a body
        come again and are sent to the playlist, or the other way round, and FFmpeg begins anew."""
        begun = await begin(source, is_enough, patience=PATIENCE)
        kind = kind_of(begun, self._guess, strict=self._strict)
        if {kind, self.kind} == {Kind.LIVE, Kind.HLS}:
            self._other, self._guess = (source, begun, kind), kind
            self.workshop.attempts.connected(kind)
            inner, self.inner = self.inner, None
            self._settled.clear()
            if isinstance(inner, Passthrough):
                self.workshop.parts.grants.lose(inner, SWITCHED)
            raise FormChanged("The source has another form now: open the stream again")
        self.workshop.accept(self._look)
        return begun

    async def _first(self) -> Found:
        """The first source that gives something, and what that is; raises why none does."""
        attempts = self.workshop.attempts
        while True:
            source = await attempts.next()
            try:
                async with attempts.reading():
                    self._opening = True
                    begun = await self._start(source)
                    kind = kind_of(begun, self._guess, strict=self._strict)
                attempts.connected(kind)
                return source, begun, kind
            except BaseException as error:
                await uncut(source.aclose())
                if isinstance(error, UpstreamError):
                    attempts.lost(error)
                elif isinstance(error, Unavailable) and attempts.failover.has_others:
                    attempts.lost(UpstreamError(error.reason, error.detail))  # another provider may be free
                elif not isinstance(error, Switched):
                    raise
            finally:
                self._opening = False

    async def _start(self, source: Source) -> Begun:
        """A source, opened. It may not use up the patience of those who join if another might serve them."""
        limit = self.workshop.head_start()
        try:
            async with asyncio.timeout(limit):
                return await begin(source, is_enough, patience=PATIENCE)
        except TimeoutError:
            detail = f"Nothing came within {limit:g} s, and there is another source"
            raise UpstreamError("first_byte_timeout", detail) from None

    async def _be_live(self, begun: Begun) -> None:
        self.workshop.attempts.adopt(begun)
        relay = self.workshop.relay()
        self._settle(relay)
        async with self.workshop.inspection(relay, self).running():
            await relay.run()

    async def _be_playlist(self, begun: Begun) -> None:
        passthrough = self.workshop.passthrough()
        self._settle(passthrough)
        try:
            async with self.workshop.inspection(passthrough, self).running():
                await passthrough.run(begun)
        finally:
            self._lose(passthrough, passthrough.error)

    async def _be_file(self, begun: Begun | None) -> None:
        """Until cancelled: each viewer reads, and fails, for itself."""
        vod = self.workshop.vod()
        try:
            if begun is not None:
                vod.note(begun)
                self.workshop.keep(vod)
            self._begun = begun
            self._enter(State.LIVE)
            self._settle(vod)
            await self._park()
            await asyncio.get_running_loop().create_future()
        finally:
            self._begun = None
            self._lose(vod, None)
            self.workshop.keep(vod)
            await uncut(vod.aclose())

    async def _park(self) -> None:
        """Hold the opened file for its first reader, but not for long."""
        try:
            async with asyncio.timeout(PARKED):
                await self._taken.wait()
        except TimeoutError:
            begun = self.take_begun()
            if begun is not None:
                await begun.aclose()

    def take_begun(self) -> Begun | None:
        """The file as it was opened to be judged, for the first who reads it; synchronous."""
        begun, self._begun = self._begun, None
        self._taken.set()
        return begun

    # -- as FFmpeg's feed -------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait until FFmpeg may start; raises why it may not."""
        await self.through(self._prepare)

    async def _prepare(self, inner: Inner) -> None:
        if isinstance(inner, Relay):
            await inner.ready()
        else:
            self._input_spec = await input_spec_of(inner)

    @property
    def has_adts(self) -> bool:
        """Whether the audio is AAC in ADTS."""
        if isinstance(self.inner, Relay):
            return self.inner.has_adts
        return self._input_spec is not None and self._input_spec.has_adts

    def tap(self) -> Tap:
        """A place for one FFmpeg: at the relay, or an address of ours."""
        if isinstance(self.inner, Relay):
            return self.inner.tap()
        assert self.inner is not None
        assert self._input_spec is not None
        return self.workshop.parts.grants.issue(self.inner, self._input_spec, self.take_begun)

    def _lose(self, inner: Passthrough | Vod, error: ProxyError | None) -> None:
        self.workshop.parts.grants.lose(inner, error.reason if error else "closed")

    # -- state ------------------------------------------------------------------------------------------

    def _settle(self, inner: Inner) -> None:
        self.inner = inner
        self.workshop.accept(self._look)
        self._settled.set()

    def _enter(self, state: State) -> None:
        if state is self._state:
            return
        self._state = state
        if state is State.FAILED and self.error is not None:
            log.warning("source not opened: %s", self.error.detail, extra={"stream": self.key.digest})

    def snapshot(self) -> RunSnapshot:
        """What it turned out to be, now."""
        inner = self.inner
        if isinstance(inner, Relay | Passthrough):
            return inner.snapshot()
        return RunSnapshot(
            key=self.key.digest,
            kind=self.kind,
            state=self.state,
            reason=self.error.reason if self.error else None,
            bytes_in=inner.bytes_in if inner else 0,
            upstream_connections=int(self._opening or self._begun is not None)
            + (inner.connections if inner else 0),
        )
