"""The Range and Content-Range header fields (RFC 9110 §14). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

_SINGLE = re.compile(r"bytes=([0-9]{0,19})-([0-9]{0,19})")
_CONTENT_RANGE = re.compile(
    r"bytes +(?:([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)|\*/([0-9]{1,19}))", re.IGNORECASE
)


class Unsatisfiable(ValueError):
    """The range lies beyond the end of the representation."""


class Slice(NamedTuple):
    """Bytes ``first`` to ``last``, both included."""

    first: int
    last: int


class Single(NamedTuple):
    """One range as it is asked for, before the size is known (§14.1.2)."""

    first: int | None
    """``None``: a suffix, the last ``last`` bytes."""
    last: int | None
    """Included; ``None`` is the end."""

    def __str__(self) -> str:
        """The value of a Range field."""
        ends = ("" if end is None else str(end) for end in self)
        return f"bytes={'-'.join(ends)}"

    def within(self, size: int) -> Slice:
        """What it selects of ``size`` bytes. Raises ``Unsatisfiable`` if that is nothing."""
        if self.first is None:
            if not self.last or size == 0:
                raise Unsatisfiable
            return Slice(max(0, size - self.last), size - 1)
        if self.first >= size:
            raise Unsatisfiable
        return Slice(self.first, size - 1 if self.last is None else min(self.last, size - 1))


class ContentRange(NamedTuple):
    """What a 206 holds, or the size that a 416 tells (§14.4)."""

    first: int | None
    """``None``, like ``last``, in the form for a range that could not be satisfied."""
    last: int | None
    size: int | None
    """Of the whole representation; ``None`` where the sender does not know it."""


def parse_single(header: str | None) -> Single | None:
    """The one range asked for; ``None`` for several ranges, another unit or a malformed field."""
    match = _SINGLE.fullmatch(header.replace(" ", "")) if header else None
    if match is None or match.group() == "bytes=-":
        return None
    first, last = (int(end) if end else None for end in match.groups())
    if first is not None and last is not None and last < first:
        return None
    return Single(first, last)


def parse_range(header: str | None, size: int) -> Slice | None:
    """The one range asked for, or ``None`` for the whole.

    Several ranges, another unit or a malformed header are answered with the whole, as §14.2 allows. Raises
    ``Unsatisfiable`` for a well-formed range that selects nothing.
    """
    single = parse_single(header)
    return None if single is None else single.within(size)


def parse_content_range(text: str) -> ContentRange | None:
    """A Content-Range field in bytes; ``None`` for another unit, or one that is invalid (§14.4)."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        return None
    first, last, size, unsatisfied = match.groups()
    if unsatisfied is not None:
        return ContentRange(None, None, int(unsatisfied))
    held = Slice(int(first), int(last))
    total = None if size == "*" else int(size)
    if held.last < held.first or (total is not None and held.last >= total):
        return None
    return ContentRange(held.first, held.last, total)
