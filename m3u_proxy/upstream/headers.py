"""Header fields towards a provider, and the ones of its answers that steer us. Pure."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

from multidict import CIMultiDict

from m3u_proxy.errors import InvalidField
from m3u_proxy.upstream.url import Target, parse

RETRY_AFTER_CAP = 300.0
"""Seconds; the longest ``Retry-After`` that is obeyed."""

SECRETS_OF_A_HOST = frozenset({"authorization", "cookie", "host"})
"""Fields that are meant for one host; names in lower case."""
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_NOT_CUSTOM = _HOP_BY_HOP | {  # RFC 9110 §7.6.1; then those for a proxy, and those of a request body
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "content-length",
    "expect",
}
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 §5.6.2
_LINE_BREAK = re.compile(r"[\r\n\0]")


def request_headers(url: str, user_agent: str, custom: Mapping[str, str]) -> dict[str, str]:
    """Header fields for a request to ``url``: the defaults, then ``custom`` over them.

    Hop-by-hop names are dropped; ``Accept-Encoding`` stays ``identity`` so that lengths are true. Raises
    InvalidField for what is not exactly one header line.
    """
    origin = str(parse(url).url.origin())
    headers = CIMultiDict(
        {"User-Agent": user_agent, "Referer": f"{origin}/", "Origin": origin, "Accept": "*/*"}
    )
    headers.update(custom_fields(custom))
    headers["Accept-Encoding"] = "identity"
    _check_values(headers)
    return dict(headers)


def custom_fields(custom: Mapping[str, str]) -> dict[str, str]:
    """Header fields that somebody may add to a request of ours: ``custom`` without hop-by-hop names.

    Raises InvalidField for what is not exactly one header line.
    """
    if not all(_TOKEN.fullmatch(name) for name in custom):
        raise InvalidField("headers", "A header name is not valid")
    kept = {name: value for name, value in custom.items() if name.lower() not in _NOT_CUSTOM}
    _check_values(kept)
    return kept


def _check_values(headers: Mapping[str, str]) -> None:
    if any(_LINE_BREAK.search(value) for value in headers.values()):
        raise InvalidField("headers", "A header value must not contain line breaks")


def may_share_secrets(told: Target, other: Target) -> bool:
    """Whether ``other`` may be sent what was meant for ``told``: the same host, and TLS if that had it."""
    return told.host == other.host and (told.url.scheme, other.url.scheme) != ("https", "http")


def basic_credentials(userinfo: str) -> str:
    """``Authorization`` value for the percent-encoded userinfo of a URL (RFC 7617)."""
    user, _, password = userinfo.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` field asks for (RFC 9110 §10.2.3), capped; ``None`` if none."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
    return None if math.isnan(seconds) else min(max(seconds, 0.0), RETRY_AFTER_CAP)
