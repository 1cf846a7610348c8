"""Definitions of streams as rows of the registry, and back. Pure.

A field that is added to a definition needs a default, and is then read from older rows too.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import TypeAdapter, ValidationError

from m3u_proxy.model import Stream

_STREAM = TypeAdapter(Stream)


def row_of(stream: Stream) -> dict[str, object]:
    """Everything that makes up a definition, as JSON."""
    row: dict[str, object] = _STREAM.dump_python(
        stream, mode="json", exclude={"id": True, "key": True, "origin": {"key": True}}
    )
    return row


def stream_of(stream_id: str, row: Mapping[str, object]) -> Stream:
    """The definition that ``row`` holds; ValueError where it holds none."""
    try:
        stream = _STREAM.validate_python({**row, "id": stream_id})
    except ValidationError:  # its text would show what the row holds
        raise ValueError("the row is no definition") from None
    if stream.created_at.tzinfo is None:
        raise ValueError("the row's time has no offset")
    return stream
