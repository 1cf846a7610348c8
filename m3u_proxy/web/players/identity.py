"""Who a player says it is. Used for display and for telling players apart, never for access."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256

from aiohttp import web

from m3u_proxy.errors import InvalidField
from m3u_proxy.model import Client
from m3u_proxy.web.schemas.queries import CLIENT_ID_LIMIT

TEXT_LIMIT = 256


def _text(value: str) -> str:
    """One printable line of bounded length."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value[:TEXT_LIMIT])


def identify(request: web.Request, stream_id: str, *, by_query: bool = True) -> Client:
    """The client behind a media request; raises ``InvalidField`` for a bad ``client_id``.

    Without an id of its own it gets one that is the same whenever it comes back. Where addresses of segments
    carry no query, that of a playlist says nothing: ``by_query``.
    """
    query: Mapping[str, str] = request.query if by_query else {}
    client_id = query.get("client_id", "")
    if len(client_id) > CLIENT_ID_LIMIT or not client_id.isprintable():
        raise InvalidField(
            "client_id", f"must be at most {CLIENT_ID_LIMIT} printable characters", place="query"
        )
    forwarded = request.headers.get("X-Forwarded-For", "").partition(",")[0].strip()
    address = _text(forwarded or request.remote or "unknown")
    agent = _text(request.headers.get("User-Agent") or "unknown")
    username = request.headers.get("X-Username") or next(
        (query[name] for name in ("username", "user", "u") if query.get(name)), None
    )
    if username is not None:
        username = _text(username)
    if not client_id:
        digest = sha256("\x00".join([address, agent, stream_id, username or ""]).encode()).hexdigest()
        client_id = f"client_{digest[:16]}"
    return Client(client_id, stream_id, address, agent, username, datetime.now(UTC))
