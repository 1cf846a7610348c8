"""A POST to somebody that an editor named: judged like every target, bounded, and never redirected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from m3u_proxy.errors import InvalidField, UpstreamError
from m3u_proxy.upstream.address import Judge, JudgingResolver
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.url import parse
from m3u_proxy.upstream.wire import error_of

LARGEST = 64 * 1024
"""Bytes of an answer; no more is read."""
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes | None
    """``None`` if it was longer than ``LARGEST``, broke off or came too late."""
    found: AddressClass
    """Where it came from."""


class Poster:
    """Sends bodies, each over a connection of its own. No lock of ours is held meanwhile."""

    def __init__(self, judge: Judge, *, tls_verify: bool) -> None:
        self._judge = judge
        self._tls_verify = tls_verify

    async def post(self, url: str, content: bytes, headers: Mapping[str, str], *, patience: float) -> Answer:
        """The answer, whatever its status; ``patience`` (seconds) bounds the whole exchange. Never retried.

        Raises UpstreamError: ``blocked`` for a target that may not be contacted, ``first_byte_timeout``
        without an answer in time, or why there was no connection or answer.
        """
        end = asyncio.get_running_loop().time() + patience
        asked = {"data": content, "headers": JSON | dict(headers)}
        try:
            async with answered(
                self._judge, "POST", url, tls_verify=self._tls_verify, patience=patience, **asked
            ) as (response, found):
                return Answer(response.status, await _body(response, end), found)
        except InvalidField as error:
            self._judge.refuse("url", error.detail)


@asynccontextmanager
async def answered(
    judge: Judge, method: str, url: str, *, tls_verify: bool, patience: float, **asked: Any
) -> AsyncIterator[tuple[aiohttp.ClientResponse, AddressClass]]:
    """The head of the answer, from an address that passed the judge, and the class of that address.

    One request over a connection of its own, without redirects; ``patience`` (seconds) bounds the time until
    the head is there. ``asked`` goes to aiohttp. Raises UpstreamError, or InvalidField for what is no URL.
    """
    target = parse(url)
    resolver = JudgingResolver(judge, "operator")
    found = None
    if target.is_literal:  # aiohttp asks no resolver for these
        found = judge.check(target.host, target.port, named_by="operator")
    connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True, ssl=tls_verify)
    try:
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
            async with asyncio.timeout(patience):
                response = await session.request(method, str(target), allow_redirects=False, **asked)
            async with response:
                found = found if found is not None else resolver.found
                assert found is not None
                yield response, found
    except TimeoutError:
        raise UpstreamError("first_byte_timeout", f"No answer within {patience:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise error_of(error) from None


async def _body(response: aiohttp.ClientResponse, end: float) -> bytes | None:
    """The body, unless it is too long, broken or late: the status has been said by then."""
    body = b""
    try:
        async with asyncio.timeout_at(end):
            while len(body) <= LARGEST and (more := await response.content.read(LARGEST + 1 - len(body))):
                body += more
    except (TimeoutError, aiohttp.ClientError, OSError):
        return None
    return body if len(body) <= LARGEST else None
