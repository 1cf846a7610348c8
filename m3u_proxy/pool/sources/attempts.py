"""A running thing's sources, one after the other: what failover decides is carried out here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from m3u_proxy.errors import ProxyError, Unavailable, Unusable, UpstreamError
from m3u_proxy.pool.sources.history import Happening, History
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.decision import AskResolver, Decision, GiveUp, Try, Wait
from m3u_proxy.upstream.failover import PROMPT, Failover
from m3u_proxy.upstream.outcome import Outcome, word_of
from m3u_proxy.upstream.source import Source


class Switched(Exception):
    """Somebody has decided that another source is to be taken: no failure of this one."""


class Succession(Protocol):
    """Where a relay's sources come from."""

    @property
    def url(self) -> str:
        """Of the source in use, or about to be."""

    async def next(self) -> Source:
        """The next source, not yet asked, when its time has come. Raises why there is none any more."""

    def alive(self, now: float) -> None:
        """Media came at ``now`` (monotonic seconds)."""

    def connected(self, detail: str) -> None:
        """The source in use gives what it should; ``detail`` names that."""

    def lost(self, error: UpstreamError) -> float:
        """The source has failed: seconds until the next one is asked. Raises ProxyError when given up."""

    def media_info(self) -> dict[str, object]:
        """What is known of the source's media beside its tables."""

    def reading(self) -> AbstractAsyncContextManager[None]:
        """Context in which a source is opened and read; raises ``Switched`` to have the next one taken."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Another source has taken over."""

    old_url: str
    new_url: str
    index: int
    attempts: int
    reason: str


Resolver = Callable[[AskResolver], Awaitable[str | None]]


class Attempts:
    """The sources of one stream: the primary, its failovers, and what a resolver names.

    ``on_switch`` is told when another one takes over. Nothing here runs by itself.
    """

    def __init__(
        self,
        failover: Failover,
        open_url: Callable[[str], Source],
        *,
        resolver: Resolver | None,
        history: History,
        tally: Tally,
        on_switch: Callable[[Switch], None],
    ) -> None:
        self.failover = failover
        self._open_url = open_url
        self._resolver = resolver
        self._history = history
        self._tally = tally
        self._on_switch = on_switch
        self._adopted: Source | None = None
        self._media_at: float | None = None
        self._is_switching = False
        """Whether the one that took over has not given media yet."""
        self._error: ProxyError | None = None
        first = failover.first(monotonic())
        self._decision: Decision = first
        self._taken: Try | None = None
        """The decision that `next` has carried out."""
        self._at = monotonic() + first.delay
        """When the attempt decided upon may be made."""
        self._changed = asyncio.Event()
        self._scope: asyncio.Timeout | None = None
        if first.index and failover.is_refused(monotonic()):
            self._tally.failovers["circuit_open"] += 1
            self._history.note(
                Happening.SWITCH,
                reason=word_of("circuit_open"),
                detail=first.url,
                source=first.index,
            )

    @property
    def url(self) -> str:
        """The source in use, or about to be."""
        return self.failover.url

    @property
    def is_pending(self) -> bool:
        """Whether an attempt is decided upon that `next` has not made yet."""
        return self._decision is not self._taken and not isinstance(self._decision, GiveUp)

    def wait(self, now: float) -> float:
        """Seconds until the attempt decided upon may be made; 0 without one."""
        return max(0.0, self._at - now) if self.is_pending else 0.0

    def is_due(self, now: float) -> bool:
        """Whether an attempt is to be made now."""
        return self.is_pending and now >= self._at

    def adopt(self, source: Source) -> None:
        """A source that is open already is the next one."""
        self._adopted = source

    async def next(self) -> Source:
        """See `Succession.next`."""
        if self._adopted is not None:
            source, self._adopted = self._adopted, None
            return source
        while True:
            decision = self._decision
            if isinstance(decision, GiveUp):
                raise self._end(decision)
            if isinstance(decision, AskResolver):
                await self._resolve(decision)
            elif isinstance(decision, Wait):
                await self._pass(self._at)
                self._look_again()
            elif self._is_too_soon():
                is_refused = self.failover.is_refused(monotonic())
                raise Unavailable(
                    "The source failed a short while ago and is not to be asked yet",
                    reason="circuit_open" if is_refused else "paced",
                    retry_after=self.wait(monotonic()),
                )
            elif await self._due(decision):
                self._taken = decision
                is_again = self._error is not None and not decision.is_switch
                what = Happening.RETRY if is_again else Happening.START
                self._history.note(what, detail=decision.url, source=decision.index)
                return self._open_url(decision.url)

    def _is_too_soon(self) -> bool:
        """Whether nobody who joins now should wait for the first attempt."""
        return self._taken is None and self._error is None and self.wait(monotonic()) > PROMPT

    async def _due(self, decision: Try) -> bool:
        """Wait until the attempt may be made; whether it still is to be made then."""
        if self._at > monotonic():
            await self._pass(self._at)
            if self._taken is None and self._error is None:  # that wait had reserved nothing
                again = self.failover.first(monotonic())
                self._decision, self._at = again, monotonic() + again.delay
                return again.delay <= 0
        return self._decision is decision

    async def _pass(self, until: float) -> None:
        """Wait for that time, or for another decision."""
        self._changed.clear()
        try:
            async with asyncio.timeout(until - monotonic()):
                await self._changed.wait()
        except TimeoutError:
            pass

    def check(self) -> None:
        """Raises Unavailable (``paced``) instead of the wait in `next` while the account has no attempt to
        spare."""
        self._look_again()
        if isinstance(self._decision, Wait):
            detail = "The source has failed, and its provider is not to be asked more often"
            raise Unavailable(detail, reason="paced", retry_after=self.wait(monotonic()))

    def _look_again(self) -> None:
        """Whether there is something to ask for, if it is time to look."""
        now = monotonic()
        if isinstance(self._decision, Wait) and now >= self._at:
            assert self._error is not None  # nothing but a failure leads here
            self._decide(self.failover.again(now), self.failover.url, self._error.reason)

    async def _resolve(self, question: AskResolver) -> None:
        url = await self._resolver(question) if self._resolver is not None else None
        if self._decision is question:
            said = url if url is not None else "nothing"
            self._history.note(Happening.RESOLVER, reason=question.reason, detail=said, source=question.index)
            assert self._error is not None  # nothing but a failure leads here
            decision = self.failover.resolved(url, monotonic())
            self._decide(decision, question.current_url, self._error.reason)

    def media_info(self) -> dict[str, object]:
        """See `Succession.media_info`: a provider says nothing."""
        return {}

    def alive(self, now: float) -> None:
        """See `Succession.alive`."""
        if self._is_switching and not self.is_pending:
            self._is_switching = False
            if self._media_at is not None:
                self._tally.failover_gaps.add(now - self._media_at)
        self._media_at = now
        self.failover.alive(now)

    def lost(self, error: UpstreamError) -> float:
        """See `Succession.lost`."""
        old = self.failover.url
        self._error = error
        self.stumbled(error)
        decision = self.failover.failed(Outcome.of(error), monotonic())
        self._decide(decision, old, error.reason)
        if isinstance(decision, GiveUp):
            raise self._end(decision)
        return decision.delay if isinstance(decision, Try | Wait) else 0.0

    def stumbled(self, error: UpstreamError) -> None:
        """The source has failed, and goes on as it was."""
        self._tally.upstream_errors[error.reason] += 1
        what = Happening.STALL if error.reason == "stall" else Happening.LOST
        index = self.failover.index
        self._history.note(what, reason=error.reason, detail=error.detail, source=index)

    def connected(self, detail: str) -> None:
        """See `Succession.connected`."""
        self._history.note(Happening.CONNECTED, detail=detail, source=self.failover.index)

    def ended(self, error: ProxyError) -> None:
        """It was given up by whoever reads it."""
        self._history.note(Happening.FAILED, reason=error.reason, detail=error.detail)

    def warned(self, error: UpstreamError) -> None:
        """What the source in use gives is poor; it goes on."""
        index = self.failover.index
        self._history.note(Happening.WARNING, reason=error.reason, detail=error.detail, source=index)

    async def switch(self, reason: str = "manual") -> None:
        """Take another source now, although this one has not failed. It goes on until there is another.

        Raises ``Unusable`` when there is none.
        """
        old, before = self.failover.url, self._decision
        decision = self.failover.manual(monotonic(), reason)
        if isinstance(decision, AskResolver):
            url = await self._resolver(decision) if self._resolver is not None else None
            if self._decision is not before:
                return  # it has failed meanwhile, and what follows is decided
            decision = self.failover.resolved(url, monotonic())
        if isinstance(decision, GiveUp):
            raise Unusable("No other source can be used now")
        self._decide(decision, old, reason)
        if self._scope is not None:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _decide(self, decision: Decision, old: str, reason: str) -> None:
        self._decision = decision
        self._at = monotonic() + (decision.delay if isinstance(decision, Try | Wait) else 0.0)
        self._changed.set()
        if isinstance(decision, Try) and decision.is_switch:
            self._tally.failovers[reason] += 1
            self._is_switching = True
            self._history.note(
                Happening.SWITCH, reason=word_of(reason), detail=decision.url, source=decision.index
            )
            self._on_switch(
                Switch(old, decision.url, decision.index, self.failover.attempts, word_of(reason))
            )
        elif isinstance(decision, Try):
            self._tally.reconnects += 1

    def _end(self, decision: GiveUp) -> ProxyError:
        error = self._error or UpstreamError(decision.reason, "No source can be used")
        self._history.note(Happening.FAILED, reason=error.reason, detail=error.detail)
        return error.again()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """See `Succession.reading`."""
        try:
            async with asyncio.timeout(None) as self._scope:
                yield
        except TimeoutError:
            raise Switched from None
        finally:
            self._scope = None
