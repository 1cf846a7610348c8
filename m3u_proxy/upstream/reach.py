"""Is an address reachable? One GET for an editor, who learns the status and nothing else."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic

import aiohttp

from m3u_proxy.errors import Unavailable, UpstreamError
from m3u_proxy.upstream.address import Judge, JudgingResolver, parse
from m3u_proxy.upstream.wire import error_of

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
        target = parse(url)
        self._pay()
        resolver = JudgingResolver(self._judge, "operator")
        if target.is_literal:  # aiohttp asks no resolver for these
            self._judge.check(target.host, target.port, origin="operator")
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, ssl=self._tls_verify
        )
        try:
            async with (
                asyncio.timeout(PATIENCE),
                aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.get(str(target), allow_redirects=False) as response,
            ):
                return response.status
        except TimeoutError:
            raise UpstreamError("first_byte_timeout", f"No answer within {PATIENCE:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise error_of(error) from None

    def _pay(self) -> None:
        now = monotonic()
        if len(self._asked) == AT_MOST and now - self._asked[0] < WINDOW:
            wait = WINDOW - (now - self._asked[0])
            raise Unavailable("Too many connection tests", reason="too_often", retry_after=wait)
        self._asked.append(now)
