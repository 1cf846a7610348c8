"""Asking an editor which source to take next (the failover resolver), and what its answer is worth."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from m3u_proxy.errors import InvalidField, UpstreamError
from m3u_proxy.upstream.address import Judge
from m3u_proxy.upstream.decision import AskResolver
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.post import Poster
from m3u_proxy.upstream.url import parse

log = logging.getLogger(__name__)

PATIENCE = 10.0
"""Seconds for the whole call."""


@dataclass(frozen=True, slots=True)
class Named:
    """A source that a resolver named, trusted as far as the resolver itself is."""

    url: str
    named_by: AddressClass


class FailoverResolver:
    """Calls resolvers. No lock of ours is held meanwhile: an editor asks us back from inside the call."""

    def __init__(self, judge: Judge, poster: Poster, *, patience: float = PATIENCE) -> None:
        self._judge = judge
        self._poster = poster
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
            return await self._call(url, body)
        except (InvalidField, UpstreamError) as error:
            log.warning("failover resolver: %s", error.detail)
        except (ValueError, RecursionError):  # json.loads nests calls as deep as the text nests lists
            log.warning("failover resolver: the answer is not what was agreed")
        return None

    async def _call(self, url: str, body: Mapping[str, object]) -> Named | None:
        said = await self._poster.post(url, json.dumps(body).encode(), {}, patience=self._patience)
        if said.status != 200:
            raise UpstreamError("protocol", f"HTTP status {said.status}", status=said.status)
        if said.body is None:
            raise ValueError
        answer = json.loads(said.body)
        if not isinstance(answer, dict):
            raise ValueError
        named = answer.get("next_url")
        if named is None:
            return None
        if not isinstance(named, str):
            raise ValueError
        return Named(self._checked(named, said.found), said.found)

    def _checked(self, url: str, named_by: AddressClass) -> str:
        target = parse(url)
        self._judge.check_name(target.host)
        self._judge.check_port(target.port)
        if target.is_literal:
            self._judge.check(target.host, target.port, named_by=named_by)
        return url
