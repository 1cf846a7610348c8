"""Editors try out what a person has typed in: an address, a file of cookies. Neither answer shows content."""

from __future__ import annotations

import asyncio
from random import uniform

from aiohttp import web

from m3u_proxy.errors import InvalidField, Unavailable, UpstreamError
from m3u_proxy.storage import cookies
from m3u_proxy.web.body import read_model, read_query
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.schemas.answers import ConnectionTested, FileValidated
from m3u_proxy.web.schemas.queries import CookiesFileQuery
from m3u_proxy.web.schemas.streams import ConnectionTestRequest

JITTER = (0.02, 0.06)
"""Seconds that an answer is held back, so that its time says little about who refused."""


async def test_connection(request: web.Request) -> web.Response:
    """``POST /test-connection``: whether a GET ends in 200; always answered with 200 itself."""
    context = request.app[CONTEXT]
    body = await read_model(request, ConnectionTestRequest, context.config.body_timeout)
    answer = await _tried(context, body.url)
    await asyncio.sleep(uniform(*JITTER))  # noqa: S311  # no secret hangs on it
    return web.json_response(answer)


async def _tried(context: Context, url: str) -> ConnectionTested:
    """What may be told: coarse words for everything that is no answer."""
    tested = url.rstrip("/")
    try:
        status = await context.reach.status(url)
    except InvalidField as error:
        word, message = "invalid_url", error.detail
    except Unavailable:
        word, message = "too_often", "Too many connection tests, wait a minute"
    except UpstreamError:
        word, message = "unreachable", "The address cannot be reached from here"
    else:
        if status == 200:
            return _answer(tested, None, "Connection successful", status)
        word, message = "status", f"The server answered with status {status}"
        return _answer(tested, word, message, status)
    return _answer(tested, word, message, None)


def _answer(url: str, error: str | None, message: str, status: int | None) -> ConnectionTested:
    answer: ConnectionTested = {"success": error is None, "message": message, "url_tested": url}
    if status is not None:
        answer["status_code"] = status
    if error is not None:
        answer["error"] = error
    return answer


async def validate_cookies_file(request: web.Request) -> web.Response:
    """``GET /validate-cookies-file``: whether a local file is a cookie jar; nothing of what is in it."""
    query = read_query(request, CookiesFileQuery)
    valid, message = await asyncio.to_thread(cookies.inspect, query.path)
    answer: FileValidated = {"valid": valid, "message": message}
    return web.json_response(answer)
