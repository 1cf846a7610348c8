"""The Range header (RFC 9110 §14.1.2, §14.2). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_SINGLE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})$")


class Unsatisfiable(ValueError):
    """The range lies beyond the end of the representation."""


class Slice(NamedTuple):
    """Bytes ``first`` to ``last``, both included."""

    first: int
    last: int


def parse_range(header: str | None, size: int) -> Slice | None:
    """The one range asked for, or ``None`` for the whole.

    Several ranges, another unit or a malformed header are answered with the whole, as §14.2 allows. Raises
    ``Unsatisfiable`` for a well-formed range that selects nothing.
    """
    match = _SINGLE.match(header.replace(" ", "")) if header else None
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise Unsatisfiable
        return Slice(max(0, size - int(last)), size - 1)
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        raise Unsatisfiable
    return Slice(int(first), min(int(last), size - 1) if last else size - 1)
