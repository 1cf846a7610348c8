"""What was measured, as a table and as JSON."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One measured number. ``at_most`` is its target, if it has one."""

    scenario: str
    name: str
    value: float
    unit: str
    at_most: float | None = None

    @property
    def verdict(self) -> str:
        """Whether the target is met; empty without one."""
        if self.at_most is None:
            return ""
        return "met" if self.value <= self.at_most else "MISSED"


@dataclass(frozen=True)
class Skipped:
    """A scenario, or a part of one, that could not be run here, and why."""

    scenario: str
    why: str


def machine() -> str:
    """One line: when, and on what."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_cpu_model()}, {len(os.sched_getaffinity(0))} cores, "
        f"load before {load}; Linux {platform.release()}; Python {platform.python_version()}; "
        f"{_version('ffmpeg', '-version')}; {_version('/usr/sbin/nginx', '-v')}"
    )


def _cpu_model() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _version(program: str, option: str) -> str:
    name = Path(program).name
    try:
        said = subprocess.run([program, option], capture_output=True, text=True, check=False)
    except OSError:
        return f"no {name}"
    found = re.search(r"version:?\s+(?:nginx/)?(\d[\w.]*)", said.stdout + said.stderr)
    return f"{name} {found[1] if found else '?'}"


def table(rows: list[Figure | Skipped]) -> str:
    """The rows as a Markdown table, which is legible as plain text as well."""
    cells = [("scenario", "figure", "measured", "target", "verdict"), ("---",) * 5]
    for row in rows:
        if isinstance(row, Skipped):
            cells.append((row.scenario, f"skipped: {row.why}", "", "", ""))
        else:
            target = "" if row.at_most is None else f"<= {row.at_most:g}"
            cells.append((row.scenario, row.name, f"{_number(row.value)} {row.unit}", target, row.verdict))
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def as_json(rows: list[Figure | Skipped], where: str) -> dict[str, object]:
    """The same for programs."""
    return {
        "machine": where,
        "figures": [asdict(row) | {"verdict": row.verdict} for row in rows if isinstance(row, Figure)],
        "skipped": [asdict(row) for row in rows if isinstance(row, Skipped)],
    }
