"""Failures that are remembered, so that a dead source is not asked again by every joiner.

Pure: it is told the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from m3u_proxy.errors import ProxyError, UpstreamError
from m3u_proxy.ffmpeg.process.run import Lost
from m3u_proxy.model import StreamKey

FIRST = 2.0
LONGEST = 30.0
"""Seconds for which a failed thing is answered from memory; doubled with every failure in a row."""
HEALTHY = 30.0
"""Seconds of life after which a failure counts as the first."""
PASSING = frozenset({"disk", "disk_full", "account_limit", "paced", "circuit_open"})
"""Reasons that are not the stream's own: the time in which it is refused does not grow."""
TIMED = frozenset({"paced", "circuit_open"})
"""Of these, the ones that say how long no source may be asked: until then nothing is begun, nor told."""
DOUBLINGS = 5
"""After so many the longest is reached."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: ProxyError
    failures: int
    """In a row."""
    until: float


class Refusals:
    """How things ended lately, by key. All times are monotonic seconds."""

    def __init__(self) -> None:
        self._refusals: dict[StreamKey, _Refusal] = {}

    def get(self, key: StreamKey) -> ProxyError | None:
        """Why it failed a short while ago, if it did and has not run well since."""
        refusal = self._refusals.get(key)
        return refusal.error if refusal is not None else None

    def check(self, key: StreamKey, now: float, *, may_ask: Callable[[], bool]) -> None:
        """Raise the failure that is still the answer, if there is one.

        ``may_ask`` tells whether a source may be asked earlier than was said.
        """
        refusal = self._refusals.get(key)
        if refusal is None or now >= refusal.until:
            return
        error = refusal.error.again()
        if error.reason in TIMED and may_ask():
            return
        is_own = error.reason in PASSING - TIMED  # it said that it will be over by then
        error.retry_after = max(1.0, refusal.until - now, error.retry_after or 0.0 if is_own else 0.0)
        raise error

    def note(self, key: StreamKey, error: ProxyError, *, began: float, now: float) -> None:
        """It has failed after a life that began then."""
        known = self._refusals.get(key)
        is_first = known is None or now - began >= HEALTHY or error.reason in PASSING
        failures = 1 if known is None or is_first else known.failures + 1
        pause = min(FIRST * 2 ** min(failures - 1, DOUBLINGS), LONGEST)
        is_told = isinstance(error, UpstreamError) and error.status
        if isinstance(error, Lost) or is_told or error.reason in TIMED:
            pause = max(pause, error.retry_after or 0.0)
        self._refusals[key] = _Refusal(error.again(), failures, now + pause)

    def forget(self, key: StreamKey) -> None:
        """As if it had never failed. Idempotent."""
        self._refusals.pop(key, None)

    def expire(self, now: float) -> None:
        """Let go of failures that are long over."""
        self._refusals = {key: one for key, one in self._refusals.items() if now <= one.until + LONGEST}
