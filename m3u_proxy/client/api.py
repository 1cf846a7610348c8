"""The daemon's HTTP API as subcommands see it: JSON in, JSON out, and errors that a person can act on."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT = 30.0
"""Seconds for an answer; a check of a source may take most of it."""
LARGEST = 64 * 2**20
"""Bytes of an answer."""
DEFAULT_PORT = "8085"
REDIRECTS = (301, 302, 303, 307, 308)


class ClientError(Exception):
    """What went wrong, as one sentence for the terminal."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The token is for the daemon alone, and a POST that is sent on would become a GET."""

    def redirect_request(self, *_: object) -> None:
        return None


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
"""Without the proxy that HTTP_PROXY names: it is for what is far away, and it would read the token."""


class Api:
    """A running daemon. Every method raises `ClientError`."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ClientError(f"{url!r} is no address of a daemon; it looks like http://127.0.0.1:8085")
        self.url = url.rstrip("/")
        self._token = token

    def get(self, path: str, **query: str) -> Any:
        """The JSON at ``path``."""
        return self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))

    def post(self, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Send JSON, get JSON."""
        return self._ask("POST", path, body or {})

    def delete(self, path: str) -> Any:
        """Take something away."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        headers = {"Accept": "application/json", "User-Agent": "m3u-proxy-cli"}
        if self._token:
            headers["X-API-Token"] = self._token
        data = None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data, headers, method=method)  # noqa: S310 - judged above
        try:
            with _DIRECT.open(request, timeout=TIMEOUT) as answer:
                return _parsed(answer.read(LARGEST))
        except urllib.error.HTTPError as error:
            raise ClientError(_refusal(error)) from None
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            said = getattr(why, "strerror", None) or str(why)
            raise ClientError(
                f"no daemon answers at {self.url}: {said}. Is it running? Another one: --url, M3U_PROXY_URL"
            ) from None
        except HTTPException:
            raise ClientError(f"what answers at {self.url} is no m3u-proxy: it speaks no HTTP") from None


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise ClientError("what answers there is no m3u-proxy: it sent no JSON") from None


def _refusal(error: urllib.error.HTTPError) -> str:
    """The daemon's own words, and what to do about the usual ones."""
    try:
        detail = json.loads(error.read(2**16)).get("detail")
    except (ValueError, AttributeError, OSError):
        detail = None
    if isinstance(detail, list):
        detail = "; ".join(_problem(row) for row in detail if isinstance(row, Mapping))
    if error.code in REDIRECTS:
        return f"the daemon is not at this address but at {error.headers.get('Location', 'another')}"
    if error.code in (401, 403):
        return f"{detail or 'not allowed'} (here: --token or API_TOKEN)"
    return str(detail or f"the daemon answers {error.code} {error.reason}")


def _problem(row: Mapping[str, Any]) -> str:
    where = ".".join(str(part) for part in row.get("loc", [])[1:])
    said = str(row.get("msg", "is not valid")).removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def segment(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")


def find_daemon(environ: Mapping[str, str]) -> str:
    """Where the daemon is when nobody says: M3U_PROXY_URL, else this machine at PORT."""
    port = environ.get("PORT", "").strip() or DEFAULT_PORT
    return environ.get("M3U_PROXY_URL", "").strip() or f"http://127.0.0.1:{port}"
