"""Reading a JSON body or a query that anybody may have sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from m3u_proxy.redact import MASK, redact

DEPTH = 16
"""Levels of lists and objects in a body."""
_SECRET = frozenset({"headers", "cookies"})
_FORM_TYPES = ("text/", "application/x-www-form-urlencoded", "multipart/")
_SHOWN = 200
"""Characters of a value that an error repeats."""

_PARSED = web.RequestKey("parsed", object)

Model = TypeVar("Model", bound=BaseModel)


class BadBody(Exception):
    """A body or query that does not say what was asked for; ``errors`` is the ``detail`` of the answer."""

    def __init__(self, errors: list[dict[str, object]]) -> None:
        super().__init__("bad body or query")
        self.errors = errors


def _refuse(message: str) -> BadBody:
    return BadBody([{"type": "json_invalid", "loc": ["body"], "msg": message, "input": {}}])


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):  # which of the two is meant, nobody can say
        raise ValueError("a name is given twice")
    return found


def _depth(value: object) -> int:
    """Nesting of a parsed value; the parser itself has bounded the recursion."""
    deepest, rest = 0, [(value, 1)]
    while rest:
        item, level = rest.pop()
        if isinstance(item, dict | list):
            deepest = max(deepest, level)
            children = item.values() if isinstance(item, dict) else item
            rest.extend((child, level + 1) for child in children)
    return deepest


async def read_model(request: web.Request, model: type[Model], within: float | None = None) -> Model:
    """The body as ``model``; raises ``BadBody``, or aiohttp's 413 and 415; 408 after ``within`` seconds."""
    raw = await _read(request, within)
    try:
        value = json.loads(raw.decode(), parse_constant=_constant, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise _refuse("The body is not valid JSON") from None
    if _depth(value) > DEPTH:
        raise _refuse(f"The body is nested more than {DEPTH} levels deep")
    if value == []:
        value = {}
    request[_PARSED] = value
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise BadBody(_explain(error, "body")) from None


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The query as ``model``; of a parameter given twice the first counts. Raises ``BadBody``."""
    query = request.query
    try:
        return model.model_validate({name: query[name] for name in query})
    except ValidationError as error:
        raise BadBody(_explain(error, "query")) from None


async def _read(request: web.Request, within: float | None) -> bytes:
    """The bytes of a body whose head promises JSON of an allowed size; no other is waited for."""
    headers = request.headers
    # A page of another site can send these, and a body without a type, where a browser asks us nothing first.
    kind = headers.get("Content-Type", "text/plain" if "Origin" in headers else "application/json").lower()
    if kind.startswith(_FORM_TYPES) or headers.get("Content-Encoding", "identity") != "identity":
        raise web.HTTPUnsupportedMediaType
    size = request.content_length or 0
    if size > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, size)
    await ask_for_body(request)
    try:
        async with asyncio.timeout(within):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


async def ask_for_body(request: web.Request) -> None:
    """Tell a client that waits for it to go on (RFC 9110 §10.1.1): the head of its request is in order."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def given(request: web.Request, place: str, path: list[str | int]) -> str:
    """What a request holds at ``path`` of its body or query, as far as it may be shown."""
    if any(part in _SECRET for part in path):
        return MASK
    value: Any = request.query if place == "query" else request.get(_PARSED)
    for part in path:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return ""
    return _shown(value)


def _explain(error: ValidationError, place: str) -> list[dict[str, object]]:
    """pydantic's errors in the shape that editors know, with secrets masked."""
    rows: list[dict[str, object]] = []
    for item in error.errors(include_url=False, include_context=False):
        where = [place, *item["loc"]]
        row: dict[str, object] = {"type": item["type"], "loc": where, "msg": item["msg"]}
        row["input"] = MASK if any(part in _SECRET for part in where) else _shown(item["input"])
        rows.append(row)
    return rows


def _shown(value: object) -> str:
    """What may be said of a value; only that it is one of a list or an object, which may hold anything."""
    if isinstance(value, Mapping):
        return "{…}"
    return "[…]" if isinstance(value, list) else redact(repr(value))[:_SHOWN]
