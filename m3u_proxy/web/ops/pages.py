"""Pages: what is on, and the description of the API, which programs get as OpenAPI."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from m3u_proxy.errors import NotFound
from m3u_proxy.web.context import CONTEXT

DOCUMENT = web.AppKey("document", bytes)
PAGE = "ui.html"
DOCS = "docs.html"
ICON = "favicon.ico"
ASSETS = web.AppKey("assets", dict[str, bytes])
_TYPES = {
    PAGE: "text/html; charset=utf-8",
    "ui.css": "text/css; charset=utf-8",
    DOCS: "text/html; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "ui.js": "text/javascript; charset=utf-8",
    "hls.light.min.js": "text/javascript; charset=utf-8",
    ICON: "image/vnd.microsoft.icon",
}
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " media-src 'self' blob:; worker-src blob:; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
_DOCS_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)


async def page(request: web.Request) -> web.Response:
    """``GET /ui``: the page; its data needs the token."""
    return _asset(request, PAGE, {"Content-Security-Policy": _CSP, "Cache-Control": "no-cache"})


async def favicon(request: web.Request) -> web.Response:
    """``GET /favicon.ico``: what browsers ask for by themselves."""
    return _asset(request, ICON, {"Cache-Control": "public, max-age=86400"})


async def static(request: web.Request) -> web.Response:
    """``GET /static/{name}``: one of a fixed table of files."""
    return _asset(request, request.match_info["name"], {"Cache-Control": "public, max-age=3600"})


async def openapi(request: web.Request) -> web.Response:
    """``GET /openapi.json``: this description."""
    return web.Response(body=request.app[DOCUMENT], content_type="application/json")


async def docs(request: web.Request) -> web.Response:
    """``GET /docs``: this description as a page."""
    config = request.app[CONTEXT].config
    page = request.app[ASSETS][DOCS].replace(b"{root}", config.root_path.encode())
    headers = {"Content-Security-Policy": _DOCS_CSP, "Cache-Control": "no-cache"}
    return web.Response(
        body=page.replace(b"{openapi}", config.openapi_url.encode()),
        headers={"Content-Type": "text/html; charset=utf-8", **headers},
    )


def load_assets() -> dict[str, bytes]:
    """The page and what it needs, read once."""
    folder = files("m3u_proxy.web").joinpath("static")
    return {name: folder.joinpath(name).read_bytes() for name in _TYPES}


def _asset(request: web.Request, name: str, headers: dict[str, str]) -> web.Response:
    body = request.app[ASSETS].get(name)
    if body is None:
        raise NotFound("Not Found")
    return web.Response(body=body, headers={"Content-Type": _TYPES[name], **headers})
