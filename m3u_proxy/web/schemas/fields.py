"""What the models of requests are made of: their bases, and types of fields that several of them have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

METADATA_KEYS = 64
METADATA_VALUE = 1024
"""Characters."""
HEADER_COUNT = 32
HEADER_VALUE = 4096
"""Characters."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _empty_list_is_object(value: object) -> object:
    """PHP cannot tell an empty object from an empty list, so an editor sends ``[]`` for both."""
    return {} if value == [] or value is None else value


def _metadata(value: object) -> object:
    value = _empty_list_is_object(value)
    if not isinstance(value, Mapping):
        raise ValueError("metadata must be an object")
    if len(value) > METADATA_KEYS:
        raise ValueError(f"metadata must have at most {METADATA_KEYS} keys")
    for key, item in value.items():
        if not isinstance(item, str | int | float | bool):
            raise ValueError(f"metadata value for '{key}' must be string, int, float, or bool")
        if len(str(item)) > METADATA_VALUE:
            raise ValueError(f"metadata value for '{key}' must be at most {METADATA_VALUE} characters")
    return {str(key): str(item) for key, item in value.items()}


def _headers(value: object) -> object:
    """Values as text, ``null`` ones dropped; names are judged where the request's headers are made."""
    value = _empty_list_is_object(value)
    if not isinstance(value, Mapping):
        raise ValueError("headers must be an object")
    if len(value) > HEADER_COUNT:
        raise ValueError(f"at most {HEADER_COUNT} headers are allowed")
    kept: dict[str, str] = {}
    for name, item in value.items():
        if item is None:
            continue
        if isinstance(item, bool) or not isinstance(item, str | int | float):
            raise ValueError(f"value of header '{name}' must be a string")
        kept[str(name)] = _header_value(str(item))
    return kept


def _header_value(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("control characters are not allowed")
    if len(value) > HEADER_VALUE:
        raise ValueError(f"must be at most {HEADER_VALUE} characters")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("must be ISO 8859-1 text") from None
    return value


def _clean(value: str) -> str:
    if _SURROGATE.search(value):
        raise ValueError("must be valid Unicode")
    return value


def _strings(value: object) -> object:
    value = _empty_list_is_object(value)
    if not isinstance(value, Mapping):
        raise ValueError("must be an object")
    for key, item in value.items():
        if not isinstance(item, str | int | float | bool):
            raise ValueError(f"value for '{key}' must be a string or a number")
    return {str(key): str(item) for key, item in value.items()}


def null_is(default: object, kind: object) -> BeforeValidator:
    """``null`` means ``default``; ``kind`` is what the description of the API tells of the field."""
    return BeforeValidator(lambda value: default if value is None else value, json_schema_input_type=kind)


_Scalar = str | int | float | bool
_Empty = Annotated[list[str], Field(max_length=0)]

Text = Annotated[str, AfterValidator(_clean)]
HeaderText = Annotated[str, AfterValidator(_header_value)]
Headers = Annotated[
    dict[str, str],
    BeforeValidator(_headers, json_schema_input_type=dict[str, str | int | float | None] | _Empty | None),
]
Metadata = Annotated[
    dict[Text, Text], BeforeValidator(_metadata, json_schema_input_type=dict[str, _Scalar] | _Empty)
]
Variables = Annotated[
    dict[Text, Text], BeforeValidator(_strings, json_schema_input_type=dict[str, _Scalar] | _Empty | None)
]
Flag = Annotated[bool, null_is(False, bool | None)]


class Body(BaseModel):
    """The body of a request. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Query(BaseModel):
    """The query of a request. Unknown parameters are ignored; booleans are ``1 0 true false yes no on off``
    in any case."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)
