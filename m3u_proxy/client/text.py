"""Tables, amounts and durations for a terminal. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

LONGEST_CELL = 60
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def clean(text: object) -> str:
    """One line without anything that a terminal would obey; it may come from a stranger."""
    line = "".join("\N{REPLACEMENT CHARACTER}" if _is_command(char) else char for char in str(text))
    return line if len(line) <= LONGEST_CELL else line[: LONGEST_CELL - 1] + "…"


def _is_command(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] == "C" or category in ("Zl", "Zp")  # the last two begin new lines


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], right: str = "") -> str:
    """Aligned columns, two blanks apart; ``right`` has an ``r`` for each column of numbers, else a blank."""
    texts = [list(headers), *([clean(cell) for cell in row] for row in rows)]
    widths = [max(width(row[at]) for row in texts) for at in range(len(headers))]
    sides = right.ljust(len(headers))
    lines = []
    for row in texts:
        cells = [
            " " * (widths[at] - width(cell)) + cell
            if sides[at] == "r"
            else cell + " " * (widths[at] - width(cell))
            for at, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"


def width(text: str) -> int:
    """Columns on a terminal: two for wide characters, none for combining ones."""
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(unicodedata.combining(char) > 0 for char in text)


def size(count: float) -> str:
    """Bytes as ``1.2 GB``, in powers of 1000."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def rate(bits: float) -> str:
    """Bits per second as ``4.2 Mbit/s``; a dash for none."""
    if bits <= 0:
        return "-"
    return f"{bits / 1e6:.1f} Mbit/s" if bits >= 1e6 else f"{bits / 1e3:.0f} kbit/s"


def period(seconds: float) -> str:
    """``3 d 4 h``, ``2 h 5 min``, ``1 min 20 s``: the two largest units."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        number, rest = divmod(rest, length)
        if number or (unit == "s" and not parts):
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])
