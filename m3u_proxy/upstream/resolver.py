"""Asking an editor which source to take next (the failover resolver), and what its answer is worth."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from m3u_proxy.errors import InvalidField, UpstreamError
from m3u_proxy.upstream.address import AddressClass, Judge, JudgingResolver, parse
from m3u_proxy.upstream.failover import AskResolver
from m3u_proxy.upstream.wire import error_of

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds for the whole call."""
LARGEST = 64 * 1024
"""Bytes of an answer."""


@dataclass(frozen=True, slots=True)
class Named:
    """A source that a resolver named, trusted as far as the resolver itself is."""

    url: str
    named_by: AddressClass


class FailoverResolver:
    """Calls resolvers. No lock of ours is held meanwhile: an editor asks us back from inside the call."""

    def __init__(self, judge: Judge, *, tls_verify: bool, patience: float = PATIENCE) -> None:
        self._judge = judge
        self._tls_verify = tls_verify
        self._patience = patience

    async def ask(self, url: str, question: AskResolver, metadata: Mapping[str, str]) -> Named | None:
        """What to take next; ``None`` when nothing is viable, or when the answer is none. Never retried."""
        body = {
            "current_url": question.current_url,
            "metadata": dict(metadata),
            "current_failover_index": question.index,
            "status_code": question.status,
            "reason": question.reason,
        }
        try:
            async with asyncio.timeout(self._patience):
                return await self._call(url, body)
        except TimeoutError:
            log.warning("failover resolver: no answer within %g s", self._patience)
        except (aiohttp.ClientError, OSError) as error:
            log.warning("failover resolver: %s", error_of(error).detail)
        except (InvalidField, UpstreamError) as error:
            log.warning("failover resolver: %s", error.detail)
        except (ValueError, RecursionError):  # json.loads nests calls as deep as the text nests lists
            log.warning("failover resolver: the answer is not what was agreed")
        return None

    async def _call(self, url: str, body: Mapping[str, object]) -> Named | None:
        target = parse(url)
        resolver = JudgingResolver(self._judge, "operator")
        found = None
        if target.is_literal:  # aiohttp asks no resolver for these
            found = self._judge.check(target.host, target.port, origin="operator")
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, ssl=self._tls_verify
        )
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(str(target), json=body, allow_redirects=False) as response,
        ):
            text = await _bounded(response)
            if response.status != 200:
                raise UpstreamError("protocol", f"HTTP status {response.status}", status=response.status)
        answer = json.loads(text)
        if not isinstance(answer, dict):
            raise ValueError
        named = answer.get("next_url")
        if named is None:
            return None
        if not isinstance(named, str):
            raise ValueError
        named_by = found if found is not None else resolver.found
        assert named_by is not None
        return Named(self._checked(named, named_by), named_by)

    def _checked(self, url: str, named_by: AddressClass) -> str:
        target = parse(url)
        self._judge.check_name(target.host)
        self._judge.check_port(target.port)
        if target.is_literal:
            self._judge.check(target.host, target.port, origin=named_by)
        return url


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    body = await response.content.read(LARGEST + 1)
    while len(body) <= LARGEST and (more := await response.content.read(LARGEST + 1 - len(body))):
        body += more
    if len(body) > LARGEST:
        raise UpstreamError("too_large", f"The answer is larger than {LARGEST} bytes")
    return body
