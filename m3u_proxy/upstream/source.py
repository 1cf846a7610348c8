"""One attempt to read bytes from a provider.

A source raises; it never retries and never sleeps. What an ending means is decided by whoever opened it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from aiohttp import ClientError, ClientResponse, StreamReader
from multidict import CIMultiDict
from yarl import URL

from m3u_proxy.errors import InvalidField, UpstreamError
from m3u_proxy.upstream.address import Judge, JudgingResolver, NamedBy
from m3u_proxy.upstream.headers import SECRETS_OF_A_HOST, basic_credentials, may_share_secrets, retry_after
from m3u_proxy.upstream.loops import LOOP_DETECTED, may_lead_back
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.ranges import ContentRange, parse_content_range
from m3u_proxy.upstream.url import Target, join, parse
from m3u_proxy.upstream.wire import Wire

LOOP_GAP = 5.0
"""Seconds. A deadline noticed this late was missed by our loop, not by the provider."""

_TICK = 0.001  # uvloop's timers count whole milliseconds and may come a little early
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Limits:
    """Times in seconds; 0 is no limit."""

    connect: float = 5.0
    """Name resolution, TCP and TLS together, for each hop."""
    first_byte: float = 10.0
    """From the first request sent, through all redirects, to the first byte of the body."""
    stall: float = 10.0
    """Without a byte while somebody waits for one."""
    silence: str = "stall"
    """The reason word for that: ``stall`` or ``circuit_breaker``."""
    redirects: int = 5


@dataclass(frozen=True)
class Head:
    """What a source said before its first byte."""

    status: int
    content_type: str
    """Lower case, without parameters; ``application/octet-stream`` where none was sent."""
    url: str
    """After redirects, with the credentials that still hold there: a base for references, not for a log."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Header fields of the final response; looking one up ignores case."""
    address_class: AddressClass = AddressClass.PUBLIC
    """The ``named_by`` of all that this content names: the least trusted address on the way to it."""

    @property
    def length(self) -> int | None:
        """Bytes of the body, as announced."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


class RangeRefused(UpstreamError):
    """The byte range that was asked for lies outside the file (RFC 9110 §15.5.17)."""

    def __init__(self, content_range: ContentRange | None) -> None:
        super().__init__("http_416", "The provider has no such byte range", status=416)
        self.content_range = content_range
        """Tells the size of the file, if the provider did."""


class Source(Protocol):
    """One attempt. ``aclose()`` follows every ``open()``, whatever that did."""

    async def open(self) -> Head:
        """Ask for the body and wait for its head. Raises UpstreamError."""

    async def read(self) -> bytes:
        """The next bytes as they came, never ``b""``. Raises UpstreamError, at an orderly end too: eof."""

    async def aclose(self) -> None:
        """Idempotent. The socket is closed when this returns."""


class HttpSource:
    """The body of one GET. Redirects are followed here, each hop judged; no cookie is kept."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        judge: Judge,
        limits: Limits = Limits(),
        tls_verify: bool = True,
        named_by: NamedBy = "operator",
        pseudonym: str = "",
    ) -> None:
        """``headers`` as `request_headers` makes them; ``named_by`` is who named ``url``; ``pseudonym`` is
        ours in ``Via``, where a request may come back to us."""
        self._url = url
        self._headers = headers
        self._judge = judge
        self._limits = limits
        self._tls_verify = tls_verify
        self._resolver = JudgingResolver(judge, named_by)
        self._pseudonym = pseudonym
        self._is_marked = False
        """Whether the last request held our pseudonym."""
        self._wire: Wire | None = None
        self._deadline = asyncio.timeout(None)
        self._body: StreamReader | None = None
        self._due = math.inf
        """Loop time at which the read that is waiting now has failed."""
        self._first_due = math.inf
        self._stall = limits.stall or math.inf
        self._begun = False
        self._watch: asyncio.TimerHandle | None = None
        self._wake = math.inf

    async def open(self) -> Head:
        """See `Source.open`. Reasons: blocked, dns, refused, addr_in_use, tls, connect_timeout,
        first_byte_timeout, eof, reset, protocol, redirects, http_404, http_4xx, http_429, http_5xx;
        RangeRefused (http_416) only where a Range was sent."""
        self._wire = Wire(
            self._resolver,
            connect_timeout=self._limits.connect,
            tls_verify=self._tls_verify,
            on_connected=self._start_clock,
        )
        try:
            async with self._deadline:
                target, response = await self._follow(self._wire)
        except TimeoutError:
            raise self._overdue() from None
        if response.status == 416 and "Range" in CIMultiDict(self._headers):
            raise RangeRefused(parse_content_range(response.headers.get("Content-Range", "")))
        if response.status == LOOP_DETECTED and self._is_marked:
            self._judge.refuse("self", "The source leads back to this proxy")
        if response.status >= 400:
            raise _refusal(response)
        if not 200 <= response.status < 300:
            raise UpstreamError(
                "protocol", f"Unexpected HTTP status {response.status}", status=response.status
            )
        self._body = response.content
        self._first_due = self._deadline.when() or math.inf
        named_by = self._resolver.named_by
        assert named_by != "operator"
        return Head(response.status, response.content_type, str(target), response.headers, named_by)

    def _start_clock(self) -> None:
        if self._deadline.when() is None and self._limits.first_byte:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._limits.first_byte)

    async def _follow(self, wire: Wire) -> tuple[Target, ClientResponse]:
        """Go from hop to hop until something else than a redirect is answered."""
        target = self._parsed(self._url)
        headers = CIMultiDict(self._headers)
        seen: set[URL] = set()
        while len(seen) <= self._limits.redirects and target.url not in seen:
            seen.add(target.url)
            response = await self._hop(wire, target, headers)
            if response.status not in _REDIRECTS:
                return target, response
            await wire.disconnect()  # an account may allow no more than one connection
            following = self._redirected(target, response.headers.get("Location", ""))
            if not may_share_secrets(target, following):
                for name in SECRETS_OF_A_HOST:
                    headers.popall(name, None)
            elif following.userinfo is None:
                following = replace(following, userinfo=target.userinfo)
            target = following
        raise UpstreamError("redirects", "The provider redirects in a circle or too often")

    def _parsed(self, url: str) -> Target:
        try:
            return parse(url)
        except InvalidField as exc:
            self._judge.refuse("url", exc.detail)

    def _redirected(self, target: Target, location: str) -> Target:
        """Where ``location`` leads from ``target`` (RFC 9110 §10.2.2)."""
        if not location:
            raise UpstreamError("protocol", "The provider redirects to nowhere")
        try:
            return join(target, location)
        except InvalidField as exc:
            self._judge.refuse(
                "url", f"The provider redirects to a place that is no usable URL: {exc.detail}"
            )

    async def _hop(self, wire: Wire, target: Target, headers: CIMultiDict[str]) -> ClientResponse:
        """One request; afterwards the resolver's ``named_by`` is that of whatever the answer names."""
        headers = headers.copy()
        if target.userinfo is not None:
            headers.setdefault("Authorization", basic_credentials(target.userinfo))
        resolver = self._resolver
        resolver.found = None
        if target.is_literal:  # aiohttp asks no resolver for these
            resolver.found = self._judge.check(target.host, target.port, named_by=resolver.named_by)
        self._is_marked = bool(self._pseudonym) and may_lead_back(target, resolver.found)
        if self._is_marked:
            headers["Via"] = f"1.1 {self._pseudonym}"
        response = await wire.get(target.url, headers)
        assert resolver.found is not None
        before = AddressClass.NEVER if resolver.named_by == "operator" else resolver.named_by
        resolver.named_by = min(before, resolver.found)
        return response

    async def read(self) -> bytes:
        """See `Source.read`. Reasons: eof, short, reset, stall, circuit_breaker, first_byte_timeout,
        protocol."""
        assert self._body is not None
        assert self._wire is not None
        now = asyncio.get_running_loop().time()
        self._due = now + self._stall if self._begun else self._first_due
        if self._watch is None and self._due < math.inf:
            self._watch_until(self._due)
        try:
            data = await self._body.readany()
        except (ClientError, OSError) as exc:
            raise self._wire.lost(exc) from exc
        finally:
            self._due = math.inf
        if not data:
            raise self._wire.lost()
        if not self._begun:
            self._begun = True
            self._unwatch()
        return data

    def _watch_until(self, when: float) -> None:
        self._wake = when
        self._watch = asyncio.get_running_loop().call_at(when, self._look)

    def _look(self) -> None:
        """Fail the read that waits, if it is overdue. The timer outlives reads: they move ``_due``."""
        self._watch = None
        now = asyncio.get_running_loop().time()
        if self._due == math.inf:
            return  # nobody waits: the next read starts a timer
        if now - self._wake > LOOP_GAP:
            self._due = now + (self._stall if self._begun else self._limits.first_byte)
        if self._due > now + _TICK:
            self._watch_until(self._due)
        elif self._body is not None:
            self._body.set_exception(self._overdue())

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _overdue(self) -> UpstreamError:
        if self._begun:
            return UpstreamError(self._limits.silence, f"No byte for {self._limits.stall:g} s")
        return UpstreamError("first_byte_timeout", f"No first byte within {self._limits.first_byte:g} s")

    async def aclose(self) -> None:
        """See `Source.aclose`."""
        self._unwatch()
        if self._wire is not None:
            await self._wire.aclose()


def _refusal(response: ClientResponse) -> UpstreamError:
    """The reason behind a status from 400 up."""
    status = response.status
    reason = "http_4xx" if status < 500 else "http_5xx"
    if status in (404, 410):
        reason = "http_404"
    elif status == 429:
        reason = "http_429"
    wait = retry_after(response.headers.get("Retry-After", ""), datetime.now(UTC))
    return UpstreamError(
        reason, f"The provider answered with HTTP status {status}", status=status, retry_after=wait
    )
