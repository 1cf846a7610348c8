"""The description of the API: for programs as OpenAPI, for people as a page."""

from __future__ import annotations

from aiohttp import web

from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.ops import ASSETS

DOCUMENT = web.AppKey("document", bytes)
PAGE = "docs.html"
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


async def openapi(request: web.Request) -> web.Response:
    """``GET /openapi.json``: this description."""
    return web.Response(body=request.app[DOCUMENT], content_type="application/json")


async def docs(request: web.Request) -> web.Response:
    """``GET /docs``: this description as a page."""
    config = request.app[CONTEXT].config
    page = request.app[ASSETS][PAGE].replace(b"{root}", config.root_path.encode())
    headers = {"Content-Security-Policy": _CSP, "Cache-Control": "no-cache"}
    return web.Response(
        body=page.replace(b"{openapi}", config.openapi_url.encode()),
        headers={"Content-Type": "text/html; charset=utf-8", **headers},
    )
