"""The description of the API for programs, OpenAPI 3.1: made from the table of routes and the models that
validate requests, so that neither can say what the other does not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any, Protocol

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

Schema = dict[str, Any]

REF = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_IN_NAMES = str.maketrans("/.-", "___")
"""What names of operations may not hold, and what stands there instead."""
_WHAT = re.compile(r"^(?:``[^`]+``(?:,| and)?\s*)+:?\s*")
_SECURITY: list[dict[str, list[str]]] = [{"header": []}, {"query": []}, {"bearer": []}]
_SCHEMES = {
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Token"},
    "query": {"type": "apiKey", "in": "query", "name": "api_token"},
    "bearer": {"type": "http", "scheme": "bearer"},
}
_GROUPS = (
    (r"/(stream|hls)/\{id\}(/[\w.]+)?", "Playing"),
    (r"/(streams|transcode|check|hls|clients)\b.*", "Streams and clients"),
    (r"/webhooks\b.*", "Webhooks"),
    (r"/(api/v1/channels|playlist\.m3u|hls_streams|xmltv)\b.*", "Channels"),
    (r".*", "Operation"),
)
_ERROR: Schema = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string", "description": "What is wrong, for a person."}},
}
_PROBLEM: Schema = {
    "type": "object",
    "required": ["detail"],
    "properties": {
        "detail": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "loc", "msg", "input"],
                "properties": {
                    "type": {"type": "string"},
                    "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                    "msg": {"type": "string"},
                    "input": {},
                },
            },
        }
    },
}


class Described(Protocol):
    """What is told about a route."""

    @property
    def method(self) -> str:
        """Of HTTP."""

    @property
    def path(self) -> str:
        """With its parameters in braces."""

    @property
    def handler(self) -> Any:
        """Whose docstring says what it does."""

    @property
    def open(self) -> bool:
        """Whether it needs no token."""

    @property
    def body(self) -> type[BaseModel] | None:
        """What the JSON it is sent is validated by."""

    @property
    def query(self) -> type[BaseModel] | None:
        """What its query is validated by."""

    @property
    def answer(self) -> Any:
        """A ``TypedDict`` of what it answers; ``None`` if that is no JSON or is written nowhere."""


def document(routes: Iterable[Described], *, root_path: str, version: str) -> Schema:
    """The whole description."""
    known = list(routes)
    bodies = {route.body for route in known if route.body is not None}
    ordered = sorted(bodies, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=REF)
    components: Schema = {"Error": _ERROR, "Problem": _PROBLEM, **schemas.get("$defs", {})}
    paths: dict[str, Schema] = {}
    for route in known:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "m3u_proxy",
            "version": version,
            "description": "Stream-pooling proxy for IPTV. Every path answers with and without the prefix.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {"schemas": dict(sorted(components.items())), "securitySchemes": _SCHEMES},
    }


def _operation(route: Described, components: Schema) -> Schema:
    summary, description = said_of(route.handler)
    operation: Schema = {
        "operationId": route.method.lower() + _PARAMETER.sub(r"_\1", route.path).translate(_IN_NAMES),
        "tags": [next(group for pattern, group in _GROUPS if re.fullmatch(pattern, route.path))],
        "summary": summary,
    }
    if description:
        operation["description"] = description
    if parameters := [*_in_path(route.path), *_in_query(route.query, components)]:
        operation["parameters"] = parameters
    if route.body is not None:
        reference = {"$ref": REF.format(model=route.body.__name__)}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": reference}}}
    operation["responses"] = _responses(route, components)
    if not route.open:
        operation["security"] = _SECURITY
    return operation


def said_of(handler: Any) -> tuple[str, str]:
    """First sentence and rest of a handler's docstring, without the route that it begins with."""
    text = inspect.getdoc(handler) or ""
    head, _, rest = text.partition("\n\n")
    sentence = _WHAT.sub("", " ".join(head.split())).replace("``", "`")
    return sentence[:1].upper() + sentence[1:], " ".join(rest.split()).replace("``", "`")


def _in_path(path: str) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _in_query(model: type[BaseModel] | None, components: Schema) -> list[Schema]:
    if model is None:
        return []
    schema = model.model_json_schema(ref_template=REF)
    components.update(schema.get("$defs", {}))
    required = schema.get("required", [])
    found = []
    for name, rule in schema.get("properties", {}).items():
        parameter: Schema = {"name": name, "in": "query", "required": name in required}
        if "description" in rule:
            parameter["description"] = rule["description"]
        parameter["schema"] = {key: value for key, value in rule.items() if key != "description"}
        found.append(parameter)
    return found


def _responses(route: Described, components: Schema) -> Schema:
    responses: Schema = {"200": {"description": "Done"}}
    if route.answer is not None:
        schema = TypeAdapter(route.answer).json_schema(ref_template=REF)
        components.update(schema.pop("$defs", {}))
        responses["200"]["content"] = {"application/json": {"schema": schema}}
    if not route.open:
        responses["401"] = _refusal("No token")
        responses["403"] = _refusal("A wrong token")
    if "{id}" in route.path:
        responses["404"] = _refusal("No such stream")
    if "{key}" in route.path:
        responses["404"] = _refusal("No such channel")
    if route.body is not None or route.query is not None:
        responses["422"] = _refusal("What was sent is not valid", "Problem")
    return responses


def _refusal(what: str, schema: str = "Error") -> Schema:
    reference = {"$ref": REF.format(model=schema)}
    return {"description": what, "content": {"application/json": {"schema": reference}}}
