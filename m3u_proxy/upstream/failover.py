"""What follows a failed attempt: which URL and when, a question to the resolver, or the end. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

from m3u_proxy.upstream.decision import AskResolver, Decision, GiveUp, Try, Wait
from m3u_proxy.upstream.outcome import Outcome, word_of
from m3u_proxy.upstream.pacing import APART, Pacer

MOST_ANSWERS = 20
"""Answers of a resolver that are followed in one failure where ``MAX_FAILOVER_ATTEMPTS`` sets no limit."""
TRICKLE = 20.0
"""Seconds of bytes that count for nothing where they were too few: so long it takes to be sure of that."""
PROMPT = 2.0
"""Seconds. Whoever joins is not kept waiting any longer, and a spare that asks for more is no spare now."""
RETRY_FACTOR = 1.5
AT_ONCE = 4
"""Sources, with the one that broke, after which the others of one failure are paced as if they had failed
themselves: so many dead ones say more of their provider than of the channel."""
_UNAUTHORISED = frozenset({401, 403})


@dataclass(frozen=True)
class FailoverLimits:
    """Counts and seconds, from the settings."""

    max_attempts: int = 0
    """Switches in one failure; 0: one for each other URL, then round again while ``budget`` lasts."""
    retries: int | None = None
    """Further attempts at a URL before a spare; ``None``: a spare at once, a single source as paced."""
    retry_delay: float = 1.0
    exponential: bool = False
    """Each retry waits 1.5 times longer than the one before."""
    budget: float = 30.0
    """Longest time from a failure to the start of an attempt that follows from it."""
    healthy: float = 600.0
    """Of bytes, after which nothing is held against a URL any more."""
    settled: float = 10.0
    """Of bytes, after which a failure is a new one."""
    cooldown: float = 60.0
    """For which a source is marked bad that a circuit breaker has left."""


@dataclass
class _Failure:
    """From the first attempt that failed until bytes have come for a while."""

    since: float
    outcome: Outcome
    tried: set[str] = field(default_factory=set)
    spent: set[str] = field(default_factory=set)
    """URLs that would only fail again."""
    again: int = 0
    """Attempts at the current URL that repeated the one before."""
    switches: int = 0
    waited: float = 0.0
    is_unresolved: bool = False
    """The resolver had nothing: it is not asked again."""
    is_wish: bool = False
    """Nothing has failed, so nothing is lost without another source."""


class Failover:
    """The sources of one stream, and which is tried when. All times are monotonic seconds.

    ``urls`` are the primary and its failovers. ``index`` is 0 for the primary and n for the n-th failover as
    they were given; it counts the accepted answers where a resolver chooses.

    While no byte ever came, every other URL is tried once and that is all: somebody waits for the answer.
    Later there are viewers to keep, and attempts go on while the budget of the failure lasts. A URL that the
    pacer would keep waiting is passed over where another one is free.
    """

    def __init__(
        self, urls: Sequence[str], limits: FailoverLimits, pacer: Pacer, *, has_resolver: bool
    ) -> None:
        self.url = urls[0]
        self.index = 0
        self.attempts = 0
        """Failovers so far."""
        self._limits = limits
        self._pacer = pacer
        self._has_resolver = has_resolver
        self._urls = _numbered(urls)
        self._place = 0
        """Number of the entry of the list that was tried last."""
        self._failure: _Failure | None = None
        self._wish: _Failure | None = None
        """Somebody's, while the resolver is asked."""
        self._began: float | None = None
        self._first_byte: float | None = None
        self._last_byte = 0.0
        self._had_bytes = False
        self._is_healthy = False

    def __repr__(self) -> str:
        return f"<Failover index={self.index} of {len(self._urls)} attempts={self.attempts}>"

    @property
    def has_others(self) -> bool:
        """Whether there is, or may be, another source."""
        return self._has_resolver or bool(self._others())

    def has_spare(self, now: float) -> bool:
        """Whether there is another source of which nothing bad is known."""
        if self._has_resolver and not self._pacer.knows(self.url, now):
            return True
        return any(not self._pacer.knows(url, now) for url in self._others())

    def is_refused(self, now: float) -> bool:
        """Whether the primary is not asked because it is marked bad for its silence."""
        return self._pacer.is_marked(next(iter(self._urls)), now)

    def renew(self, urls: Sequence[str], *, has_resolver: bool) -> None:
        """Other sources from the next attempt on."""
        self._urls = _numbered(urls)
        self._has_resolver = has_resolver
        self._place = self._urls.get(self.url, min(self._place, len(urls) - 1))
        if not has_resolver:
            self.index = self._place

    def first(self, now: float) -> Try:
        """The first attempt: the primary, or the first that is free if the primary failed lately.

        Nothing is reserved if it has a delay: ask again when that is over.
        """
        self._began = now
        self._failure = None
        due = {url: self._due(url, now) for url in self._urls}
        url = min(due, key=due.__getitem__)
        if due[url] <= now and self._pacer.knows(url, now):
            self._pacer.note(url, now)
        self._be_at(url)
        return Try(url, self.index, due[url] - now, is_switch=False)

    def _due(self, url: str, now: float) -> float:
        return self._pacer.earliest(url, now) if self._pacer.knows(url, now) else now

    def alive(self, now: float) -> None:
        """Bytes came."""
        if self._first_byte is None:
            self._first_byte = now
            self._had_bytes = True
            self._pacer.answered(self.url, now)
        self._last_byte = now
        if not self._is_healthy and now - self._first_byte >= self._limits.healthy:
            self._is_healthy = True
            self._pacer.healthy(self.url, now)

    def failed(self, outcome: Outcome, now: float) -> Decision:
        """The attempt at ``url`` has ended, or what it gives is no good."""
        gave_bytes = self._first_byte is not None
        run = self._last_byte - self._first_byte if self._first_byte is not None else 0.0
        if outcome.reason == "low_bitrate":
            run -= TRICKLE
        failure = self._failure
        if failure is None or run >= self._limits.settled:
            began = now if self._had_bytes or self._began is None else self._began
            failure = self._failure = _Failure(began, outcome)
        elif gave_bytes:
            failure.since = now
        self._wish = None
        failure.is_wish = False
        failure.outcome = outcome
        failure.tried.add(self.url)
        if outcome.is_final:
            failure.spent.add(self.url)
        self._pace(outcome, now, run)
        self._end_attempt()
        repeat = self._repeat(failure, now)
        if repeat is not None:
            return repeat
        return self._ask(outcome) if self._may_ask(failure) else self._from_list(failure, now)

    def again(self, now: float) -> Try | Wait | GiveUp:
        """After a `Wait`: whether there is something to ask for now."""
        assert self._failure is not None
        return self._repeat(self._failure, now) or self._from_list(self._failure, now)

    def resolved(self, url: str | None, now: float) -> Try | Wait | GiveUp:
        """What the resolver said; ``None`` also for an error. The list serves if that is of no use now."""
        failure = self._wish or self._failure or _wish(now, "manual")
        self._wish = None
        useless = {self.url} | (failure.spent if self._had_bytes else failure.tried)
        if url is not None and url not in useless:
            at = self._pacer.earliest(url, now)
            if at - now <= PROMPT and self._is_in_time(failure, at, now):
                index = self.index + 1
                step = self._start(failure, url, at, now)
                self.index = index
                return replace(step, index=index)
        failure.is_unresolved = True
        return self._from_list(failure, now)

    def manual(self, now: float, reason: str = "manual") -> Decision:
        """Somebody asks for another source, now; ``reason`` says why."""
        if not self._has_resolver and not self._others():
            return GiveUp("no_failover")
        wish = _wish(now, reason)
        if not self._has_resolver:
            return self._from_list(wish, now)
        self._wish = wish
        return self._ask(wish.outcome)

    # -- the rules --------------------------------------------------------------------------------------

    def _pace(self, outcome: Outcome, now: float, run: float) -> None:
        self._pacer.failed(self.url, now, run)
        if outcome.status in _UNAUTHORISED:
            self._pacer.denied(self.url, now, "denied")
        if outcome.is_crowded:
            self._pacer.denied(self.url, now, "crowded")
        if outcome.retry_after is not None:
            self._pacer.denied(self.url, now, "retry_after", outcome.retry_after)
        if outcome.reason == "circuit_breaker" and self._has_another(now):
            self._pacer.denied(self.url, now, "circuit_breaker", self._limits.cooldown)

    def _has_another(self, now: float) -> bool:
        """Whether a source is left to ask instead: the last one is never marked, or viewers would lose it."""
        return self._has_resolver or any(not self._pacer.is_blocked(url, now) for url in self._others())

    def _repeat(self, failure: _Failure, now: float) -> Try | None:
        """The same URL again, if that is wanted before any other."""
        is_wanted = self._had_bytes and failure.again < (self._limits.retries or 0)
        if not is_wanted or self.url in failure.spent or self._pacer.is_blocked(self.url, now):
            return None
        delay = self._limits.retry_delay
        if self._limits.exponential:
            delay *= RETRY_FACTOR**failure.again
        at = self._pacer.earliest(self.url, now + delay)
        return self._start(failure, self.url, at, now) if self._is_in_time(failure, at, now) else None

    def _may_switch(self, failure: _Failure) -> bool:
        return not self._limits.max_attempts or failure.switches < self._limits.max_attempts

    def _may_ask(self, failure: _Failure) -> bool:
        is_bounded = failure.switches < (self._limits.max_attempts or MOST_ANSWERS)
        return self._has_resolver and not failure.is_unresolved and is_bounded

    def _ask(self, outcome: Outcome) -> AskResolver:
        return AskResolver(self.url, self.index, outcome.status, word_of(outcome.reason))

    def _from_list(self, failure: _Failure, now: float) -> Try | Wait | GiveUp:
        """The other URLs, each once; then, for viewers to keep, whichever may be tried first."""
        others = [url for url in self._others() if url not in failure.spent and self._may_switch(failure)]
        keeps = self._had_bytes and not failure.is_wish
        is_many = keeps and len(failure.tried) >= AT_ONCE
        at, url = self._soonest([one for one in others if one not in failure.tried], now, is_many=is_many)
        if at - now > PROMPT and keeps:
            others += self._itself(failure)
            at, url = self._soonest(others, now, is_many=is_many)
            if at - now > PROMPT and self._is_held_up(failure, others, at, now):
                return Wait(APART)
        elif at - now > PROMPT:
            at = inf
        if url is None or not self._is_in_time(failure, at, now):
            return GiveUp("nothing_viable" if failure.is_wish else failure.outcome.reason)
        return self._start(failure, url, at, now)

    def _is_held_up(self, failure: _Failure, urls: Sequence[str], at: float, now: float) -> bool:
        """Whether one could be tried in time, and before ``at``, but for attempts at others."""
        own = min((self._pacer.rested(url, now) for url in urls), default=inf)
        return own < at and self._is_in_time(failure, max(own, now + APART), now)

    def _others(self) -> list[str]:
        """The URLs of the list after the current one, and round to those before it."""
        urls = [url for url in self._urls if url != self.url]
        return sorted(urls, key=lambda url: self._urls[url] <= self._place)

    def _itself(self, failure: _Failure) -> list[str]:
        retries = self._limits.retries
        is_left = retries is None or failure.again < retries or bool(self._others())
        return [self.url] if is_left and self.url not in failure.spent else []

    def _soonest(self, urls: Iterable[str], now: float, *, is_many: bool) -> tuple[float, str | None]:
        return min(
            ((self._pacer.earliest(url, now, as_failed=is_many), url) for url in urls),
            key=lambda pair: pair[0],
            default=(inf, None),
        )

    def _is_in_time(self, failure: _Failure, at: float, now: float) -> bool:
        if not self._had_bytes and failure.waited + at - now > PROMPT:
            return False
        return at - failure.since <= self._limits.budget

    # -- attempts ---------------------------------------------------------------------------------------

    def _start(self, failure: _Failure, url: str, at: float, now: float) -> Try:
        self._failure, self._wish = failure, None
        self._pacer.note(url, at)
        failure.waited += at - now
        self._end_attempt()
        is_switch = url != self.url
        if is_switch:
            self.attempts += 1
            failure.switches += 1
            failure.again = 0
            self._be_at(url)
        else:
            failure.again += 1
        return Try(url, self.index, at - now, is_switch)

    def _be_at(self, url: str) -> None:
        self.url = url
        self._place = self.index = self._urls.get(url, self._place)

    def _end_attempt(self) -> None:
        self._first_byte = None
        self._is_healthy = False


def _wish(now: float, reason: str) -> _Failure:
    return _Failure(now, Outcome(reason), is_wish=True)


def _numbered(urls: Sequence[str]) -> dict[str, int]:
    """The number of each URL, its first one if it comes twice."""
    numbers: dict[str, int] = {}
    for number, url in enumerate(urls):
        numbers.setdefault(url, number)
    return numbers
