"""Is an address reachable? One GET for an editor, who learns the status and nothing else."""

from __future__ import annotations

from collections import deque
from time import monotonic

from m3u_proxy.errors import Unavailable
from m3u_proxy.upstream.address import Judge
from m3u_proxy.upstream.post import answered
from m3u_proxy.upstream.url import parse

PATIENCE = 5.0
"""Seconds for the whole attempt."""
AT_MOST = 10
"""Attempts within ``WINDOW`` seconds: this is no port scanner."""
WINDOW = 60.0


class Reach:
    """Asks addresses that pass the judge. Redirects are not followed, bodies not read."""

    def __init__(self, judge: Judge, *, tls_verify: bool) -> None:
        self._judge = judge
        self._tls_verify = tls_verify
        self._asked: deque[float] = deque(maxlen=AT_MOST)

    async def status(self, url: str) -> int:
        """HTTP status that a GET of ``url`` ends in.

        Raises InvalidField for no http(s) URL, UpstreamError for what cannot be or may not be reached, and
        Unavailable after too many attempts.
        """
        parse(url)
        self._pay()
        async with answered(self._judge, "GET", url, tls_verify=self._tls_verify, patience=PATIENCE) as (
            response,
            _,
        ):
            return response.status

    def _pay(self) -> None:
        now = monotonic()
        if len(self._asked) == AT_MOST and now - self._asked[0] < WINDOW:
            wait = WINDOW - (now - self._asked[0])
            raise Unavailable("Too many connection tests", reason="too_often", retry_after=wait)
        self._asked.append(now)
