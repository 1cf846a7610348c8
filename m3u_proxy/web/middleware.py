"""Around every handler: who may ask, and how a failure is said. The only place that knows status codes."""

from __future__ import annotations

import hmac
import logging
import math
from collections.abc import Awaitable, Callable
from secrets import token_hex

from aiohttp import HttpVersion10, web

from m3u_proxy.errors import (
    BadLineup,
    BadTemplate,
    Closed,
    Forged,
    InvalidField,
    NoSuchChannel,
    NotFound,
    NotPossible,
    ProxyError,
    Taken,
    Unavailable,
    Unusable,
    UpstreamError,
)
from m3u_proxy.pool.vod.about import RangeNotSatisfiable
from m3u_proxy.upstream.loops import LOOP_DETECTED, has_come_back
from m3u_proxy.web.body import BadBody, given
from m3u_proxy.web.context import CONTEXT

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MEDIA = web.RequestKey("media", bool)
"""Set by the route table: a route of players, which browsers on other pages may read."""

NO_STORE = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache", "Expires": "0"}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Expose-Headers": "*",
}
_SERVER = "m3u-proxy"
_STATUS: dict[type[ProxyError], int] = {
    BadLineup: 422,
    BadTemplate: 400,
    Forged: 403,
    NotFound: 404,
    NotPossible: 400,
    Taken: 409,
    Unusable: 500,
    InvalidField: 422,
    Unavailable: 503,
    Closed: 503,
    RangeNotSatisfiable: 416,
}
_UPSTREAM_STATUS = {
    "http_404": 404,
    "http_4xx": 502,
    "not_media": 502,
    "too_large": 502,
    "blocked": 502,
    "redirects": 502,
    "http_416": 502,
}


def status_of(error: ProxyError) -> int:
    """HTTP status of a failure before the first byte."""
    if isinstance(error, UpstreamError):
        return _UPSTREAM_STATUS.get(error.reason, 503)
    return next((status for family, status in _STATUS.items() if isinstance(error, family)), 500)


def describe(request: web.Request, error: ProxyError) -> web.Response:
    """The answer that tells a failure."""
    if isinstance(error, Refused):
        return failure(error.status, error.detail, error.headers)
    status = status_of(error)
    headers: dict[str, str] = {}
    if status == 503:
        headers["Retry-After"] = str(math.ceil(error.retry_after or 2.0))
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{'*' if error.size is None else error.size}"
    if isinstance(error, InvalidField):
        path = [int(part) if part.isdecimal() else part for part in error.field.split(".")]
        row = {
            "type": "value_error",
            "loc": [error.place, *path],
            "msg": f"Value error, {error.detail}",
            "input": given(request, error.place, path),
        }
        return failure(status, [row], headers)
    if isinstance(error, NoSuchChannel):
        return web.json_response({"detail": error.detail, "nearest": error.nearest}, status=status)
    return failure(status, error.detail, headers)


def failure(status: int, detail: object, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON error body."""
    return web.json_response({"detail": detail}, status=status, headers=headers)


@web.middleware
async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler raises into an answer, and put the common headers on it."""
    try:
        _check_form(request)
        response = await handler(request)
    except ProxyError as error:
        response = describe(request, error)
    except BadBody as error:
        response = failure(422, error.errors)
    except web.HTTPException as error:
        response = _http(error)
    except MemoryError:
        log.warning("no memory is left for a request")
        response = describe(request, Unavailable("No memory is left for this", reason="memory"))
    except Exception as error:
        if isinstance(error, ConnectionError) and (
            request.transport is None or request.transport.is_closing()
        ):
            raise  # the peer has gone, which is no fault of ours
        incident = token_hex(6)
        log.exception("request failed, incident %s", incident)
        response = web.json_response({"detail": "internal error", "id": incident}, status=500)
    if not response.prepared:
        if request.writer.output_size > 0:  # a body that broke off must not look complete
            raise ConnectionError("the answer has begun")
        finish(request, response)
    if (context := request.app.get(CONTEXT)) is not None:
        context.responses[str(response.status)] += 1
    return response


def _check_form(request: web.Request) -> None:
    """Refuse what is meant for a proxy, or for a server of another protocol."""
    if request.version < HttpVersion10:
        raise Refused(505, "HTTP Version Not Supported", {})
    if not request.raw_path.startswith("/"):
        raise Refused(400, "Only paths of this server are answered", {})
    if request.headers.get("Upgrade", "").lower() == "websocket":
        raise Refused(400, "WebSocket is not spoken here", {})


def _http(error: web.HTTPException) -> web.Response:
    """aiohttp's own refusals in our words; redirects go through as they are."""
    if error.status < 400:
        return web.Response(status=error.status, headers={"Location": error.headers["Location"]})
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    reasons = {
        404: "Not Found",
        405: "Method Not Allowed",
        413: "Request body too large",
        415: "The body must be application/json, without a Content-Encoding",
    }
    return failure(error.status, reasons.get(error.status, error.reason), headers)


def finish(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Headers that every answer has, and those of routes that players read."""
    headers = response.headers
    headers["Server"] = _SERVER
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "no-referrer"
    if request.get(MEDIA):
        for name, value in CORS.items():
            headers.setdefault(name, value)
        if response.status >= 400:
            headers.update(NO_STORE)
    if "Upgrade" in request.headers:  # declined, and after it the connection is not read as HTTP again
        response.force_close()


def authorize(request: web.Request) -> None:
    """Refuse a request without the right token, before its body is read.

    Raises ``Refused``: 401 without a token, 403 for a wrong one, 429 after too many of them. A right one is
    let in from wherever it comes.
    """
    expected = request.app[CONTEXT].config.api_token
    if not expected:
        return
    given = request.headers.get("X-API-Token") or request.query.get("api_token")
    if given is None:
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        given = rest.strip() if scheme.lower() == "bearer" else None
    challenge = {"WWW-Authenticate": "Bearer"}
    failures = request.app[CONTEXT].auth_failures
    if given is None:
        failures["missing"] += 1
        raise Refused(
            401,
            "API token required. Provide token via X-API-Token header or api_token query parameter.",
            challenge,
        )
    if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
        failures["wrong"] += 1
        wait = request.app[CONTEXT].tries.note(request.remote or "")
        if wait is not None:
            raise Refused(429, "Too many wrong API tokens", challenge | {"Retry-After": str(math.ceil(wait))})
        raise Refused(403, "Invalid API token", challenge)


def refuse_loop(request: web.Request) -> None:
    """Refuse a request that we ourselves have sent, which would wait for its own answer."""
    if "Via" in request.headers and has_come_back(
        request.headers.getall("Via"), request.app[CONTEXT].config.pseudonym
    ):
        raise Refused(LOOP_DETECTED, "The source of this stream leads back to it", {})


class Refused(ProxyError):
    """A request that is not answered: who sends it has no right to, or it is none for us."""

    def __init__(self, status: int, detail: str, headers: dict[str, str]) -> None:
        super().__init__(detail, reason="refused")
        self.status = status
        self.headers = headers
