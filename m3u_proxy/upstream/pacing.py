"""How often a provider may be asked again after something failed. Pure: it is told the time.

First openings are not slowed: whoever zaps through the channels of an account, or fetches the segments of a
playlist, never meets the pacer. It knows a URL only once that has failed.
"""

from __future__ import annotations

import re
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf
from typing import Literal
from urllib.parse import parse_qsl, unquote

from m3u_proxy.errors import InvalidField
from m3u_proxy.upstream.headers import RETRY_AFTER_CAP
from m3u_proxy.upstream.url import Target, parse

APART = 1.0
"""Seconds between two attempts, at least."""
LONGEST = 30.0
"""Seconds. The wait after a failure doubles up to this, give or take ``JITTER``."""
JITTER = 0.2
DOUBLINGS = 5
"""After so many the longest wait is reached."""
FORGIVEN = 10.0
"""So many seconds of bytes forgive one doubling."""
WINDOW = 60.0
MOST_IN_WINDOW = 6
"""Attempts after failures, for each account, at URLs that have failed."""
DENIED = 30.0
"""Seconds after a 401 or 403."""
CROWDED_TIMES = 3
"""Answers that there are too many connections, within ``WINDOW``, after which a URL is limited."""
LIMITED = 60.0
MEMORY = 600.0
"""Seconds after which a failure is forgotten."""
MOST_URLS = 4096
DIGEST = 16
"""Bytes. What is remembered of a URL or an account, so that no credential lies in memory or in a file."""

Denial = Literal["denied", "crowded", "retry_after", "circuit_breaker"]

_CLOSE = 1e-6
"""Seconds. Sums of times are not exact."""
_PATHS = (
    re.compile(r"/(?:live|movies?|series|timeshifts?)/([^/]+)/([^/]+)/", re.IGNORECASE),
    re.compile(r"/hlsr/[^/]+/([^/]+)/([^/]+)/", re.IGNORECASE),
    re.compile(r"/([^/]+)/([^/]+)/\d+(?:\.\w{1,5})?$"),
)
"""Where the paths of Xtream panels hold a user and a password, as far as the path goes."""
_NAMES = ("username", "user", "password", "pass")


class Account(str):
    """Who pays for a connection: a host and the credentials that a URL holds.

    As a key it holds the credentials. Formatted or printed it shows its ``label`` only.
    """

    host: str
    """As it stands in a URL."""
    port: int
    label: str
    """Host and port, as far as they count: safe for logs and metrics."""

    def __repr__(self) -> str:
        return f"<Account {self.label}>"

    def __str__(self) -> str:
        return self.label

    def __format__(self, spec: str) -> str:
        return format(self.label, spec)


def account_of(url: str, *, with_port: bool = True) -> Account:
    """The account that ``url`` belongs to; without ``with_port`` all ports of a host are one provider."""
    try:
        target = parse(url)
    except InvalidField:
        target = None
    host = "" if target is None else f"[{target.host}]" if ":" in target.host else target.host
    port = target.port if target is not None else 0
    label = f"{host}:{port}" if with_port else host
    account = Account(" ".join([label, *(_credentials(target) if target is not None else [url])]))
    account.host, account.port, account.label = host, port, label
    return account


def _credentials(target: Target) -> Iterable[str]:
    """User and password of a URL: in its authority, its query or its path."""
    if target.userinfo is not None:
        return unquote(target.userinfo).split(":", 1)
    query = {name.lower(): value for name, value in parse_qsl(target.url.raw_query_string)}
    if query.keys() & set(_NAMES):
        return [query[name] for name in _NAMES if name in query]
    found = next(filter(None, (pattern.match(target.url.raw_path) for pattern in _PATHS)), None)
    return map(unquote, found.groups()) if found else ()


@dataclass(slots=True)
class _Record:
    """What went wrong at one URL lately. Monotonic seconds."""

    failures: int = 0
    rested: float = -inf
    """When the wait after the last failure is over."""
    blocked: float = -inf
    """Until when the provider does not want to be asked."""
    marked: float = -inf
    """Until when it is marked bad for its silence."""
    crowded: list[float] = field(default_factory=list)
    touched: float = -inf


class Pacer:
    """Attempts after failures at all sources: one for the whole program. All times are monotonic seconds.

    Of one URL they are 1, 2, 4 … 30 s apart (±20 %), of one account 1, 1, 2, 4, 8 s and at most 6 a minute. A
    URL that has not failed itself need not keep that distance, nor do attempts at it use up any of the six:
    when a provider is down, every channel that is watched goes to its spare at once. As soon as the provider
    gives media for one of the account's URLs, the others are but a second apart again.

    ``random`` yields [0, 1).
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self.changes = 0
        """Rises when what `dump` gives has become another."""
        self._random = random
        self._urls: OrderedDict[str, _Record] = OrderedDict()
        self._attempts: OrderedDict[str, list[tuple[float, str]]] = OrderedDict()
        """Of each account, with the URL, in order of time; those to come are reserved."""

    def __repr__(self) -> str:
        return f"<Pacer urls={len(self._urls)} accounts={len(self._attempts)}>"

    def knows(self, url: str, now: float) -> bool:
        """Whether ``url`` failed lately, so that even its first opening is an attempt after a failure."""
        return self._record(url, now) is not None

    def earliest(self, url: str, now: float, *, as_failed: bool = False) -> float:
        """When the next attempt after a failure may start at ``url``, not before ``now``.

        ``as_failed``: it is to be treated as if it had failed, though it may not have been tried yet.
        """
        at, it = self.rested(url, now), _digest(url)
        is_known = as_failed or self.knows(url, now)
        attempts = self._recent(_digest(account_of(url)), now)
        apart = [time for time, who in attempts if is_known or who == it]
        window = [time for time, who in attempts if who == it or self._known(who, now)]
        return _room(at, apart, window, is_spread=is_known)

    def rested(self, url: str, now: float) -> float:
        """When it might start as far as that URL alone is concerned, not before ``now``."""
        record = self._record(url, now)
        return now if record is None else max(now, record.rested, record.blocked)

    def answered(self, url: str, now: float) -> None:
        """An attempt at ``url`` has given media: its account is not in trouble, whatever was tried before."""
        account = _digest(account_of(url))
        attempts = self._attempts.get(account)
        if attempts is not None:
            self.changes += 1
            self._attempts[account] = [one for one in attempts if one[0] > now - APART]

    def is_blocked(self, url: str, now: float) -> bool:
        """Whether the provider said in any way that it does not want to be asked for ``url`` now."""
        record = self._record(url, now)
        return record is not None and record.blocked > now

    def is_marked(self, url: str, now: float) -> bool:
        """Whether ``url`` is blocked because of its silence."""
        record = self._record(url, now)
        return record is not None and record.marked > now

    def note(self, url: str, at: float) -> None:
        """An attempt after a failure starts at ``at``, now or later."""
        self._note(_digest(account_of(url)), _digest(url), at)

    def _note(self, account: str, url: str, at: float) -> None:
        self.changes += 1
        insort(self._attempts.setdefault(account, []), (at, url))
        self._attempts.move_to_end(account)
        while len(self._attempts) > MOST_URLS:
            self._attempts.popitem(last=False)

    def failed(self, url: str, now: float, run: float = 0.0) -> None:
        """An attempt has failed after it had given bytes for ``run`` seconds."""
        record = self._touch(_digest(url), now)
        record.failures = max(0, record.failures - int(run / FORGIVEN))
        wait = min(APART * 2.0 ** min(record.failures, DOUBLINGS), LONGEST)
        record.rested = now + max(APART, wait * (1.0 - JITTER + 2.0 * JITTER * self._random()))
        record.failures = min(record.failures + 1, DOUBLINGS)

    def denied(self, url: str, now: float, kind: Denial, seconds: float = 0.0) -> None:
        """The provider does not want to be asked for ``url``; ``seconds`` are those of a Retry-After.

        Or, as ``circuit_breaker``, nobody wants to ask it for so many ``seconds``.
        """
        record = self._touch(_digest(url), now)
        if kind == "denied":
            wait = DENIED
        elif kind == "retry_after":
            wait = min(max(seconds, 0.0), RETRY_AFTER_CAP)
        elif kind == "circuit_breaker":
            wait = seconds
            record.marked = now + wait
        else:
            record.crowded = [time for time in record.crowded if time > now - WINDOW] + [now]
            wait = LIMITED if len(record.crowded) >= CROWDED_TIMES else 0.0
            record.crowded = record.crowded[-CROWDED_TIMES:]
        record.blocked = max(record.blocked, now + wait)

    def healthy(self, url: str, now: float) -> None:
        """``url`` has been giving bytes for minutes: what it did before is forgotten."""
        del now
        if self._urls.pop(_digest(url), None) is not None:
            self.changes += 1

    # -- memory -----------------------------------------------------------------------------------------

    def _record(self, url: str, now: float) -> _Record | None:
        return self._known(_digest(url), now)

    def _known(self, key: str, now: float) -> _Record | None:
        record = self._urls.get(key)
        if record is not None and max(record.touched + MEMORY, record.blocked) <= now:
            del self._urls[key]
            return None
        return record

    def _touch(self, key: str, now: float) -> _Record:
        self.changes += 1
        record = self._known(key, now) or self._urls.setdefault(key, _Record())
        record.touched = now
        self._urls.move_to_end(key)
        while len(self._urls) > MOST_URLS:
            self._urls.popitem(last=False)
        return record

    def _recent(self, account: str, now: float) -> list[tuple[float, str]]:
        """The attempts of an account that still count; older ones are forgotten."""
        attempts = [one for one in self._attempts.get(account, ()) if one[0] > now - WINDOW - _CLOSE]
        if attempts:
            self._attempts[account] = attempts
        else:
            self._attempts.pop(account, None)
        return attempts

    def dump(self, now: float) -> dict[str, object]:
        """All that counts still, as JSON values; times are relative to ``now``, names are digests."""
        known = [(key, one) for key in list(self._urls) if (one := self._known(key, now)) is not None]
        urls = [
            [
                key,
                one.failures,
                [max(time - now, -MEMORY) for time in (one.rested, one.blocked, one.touched)],
                [time - now for time in one.crowded],
            ]
            for key, one in known
        ]
        attempts = [
            [account, url, time - now]
            for account in list(self._attempts)
            for time, url in self._recent(account, now)
        ]
        return {"urls": urls, "attempts": attempts}

    def load(self, state: Mapping[str, object], now: float) -> None:
        """Take in what `dump` gave; ``now`` is the time on our clock at which that was, so lies in the past.

        Entries that make no sense are left out.
        """
        for row in _rows(state.get("urls")):
            match row:
                case [str(key), int(failures), [_, _, _] as times, list(crowded)] if _is_digest(key):
                    rested, blocked, touched = _times(times, RETRY_AFTER_CAP)
                    record = self._touch(key, now + min(touched, 0.0))
                    record.failures = min(max(failures, 0), DOUBLINGS)
                    record.rested, record.blocked = now + min(rested, 2 * LONGEST), now + blocked
                    record.crowded = [now + time for time in _times(crowded[-CROWDED_TIMES:], 0.0)]
        for row in _rows(state.get("attempts")):
            match row:
                case [str(account), str(url), time] if _is_digest(account) and _is_digest(url):
                    self._note(account, url, now + _times([time], WINDOW)[0])


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=DIGEST).hexdigest()


def _is_digest(text: str) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{2 * DIGEST}}}", text) is not None


def _rows(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _times(values: Sequence[object], latest: float) -> list[float]:
    """What was dumped as times, none later than ``latest``; anything else counts as long ago."""
    known = (value if isinstance(value, int | float) and abs(value) < inf else -MEMORY for value in values)
    return [float(min(max(value, -MEMORY), latest)) for value in known]


def _room(at: float, apart: list[float], window: list[float], *, is_spread: bool) -> float:
    """The first time from ``at`` on that is far from all of ``apart`` and makes no crowd in ``window``.

    ``is_spread``: ever further behind the one before, the more of ``window`` there are, so that the few that
    are allowed last for an outage of half a minute.
    """
    while True:
        after = [time + APART for time in apart if abs(time - at) < APART - _CLOSE]
        groups = zip(window, window[MOST_IN_WINDOW - 1 :], strict=False)
        after += [
            first + WINDOW for first, last in groups if max(last, at) - min(first, at) < WINDOW - _CLOSE
        ]
        if after:
            at = max(after)
            continue
        before = [time for time in window if at - WINDOW + _CLOSE < time <= at] if is_spread else []
        distance = APART * 2.0 ** max(0, len(before) - 2)
        if not before or at - before[-1] >= distance - _CLOSE:
            return at
        at = min(before[-1] + distance, before[0] + WINDOW)
