"""``python -m benchmarks [--json] [NAME ...]``: run the scenarios, all by default, and print the figures."""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from pathlib import Path

from benchmarks.clip import Missing, clip
from benchmarks.origin import Origin
from benchmarks.report import Figure, Skipped, as_json, machine, table
from benchmarks.scenarios import ALL
from benchmarks.viewers import raise_file_limit


def main() -> int:
    """Exit code 0 whatever was measured, 1 when a scenario broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast the proxy is.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of: " + ", ".join(ALL))
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in ALL]:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(ALL)}")
    raise_file_limit()
    where = machine()
    rows: list[Figure | Skipped] = []
    try:
        material = clip()
    except Missing as missing:
        parser.exit(1, f"{missing}\n")
    broken = [name for name in given.names or ALL if not _run(name, material, rows)]
    print(json.dumps(as_json(rows, where), indent=2) if given.json else f"{where}\n\n{table(rows)}")
    return 1 if broken else 0


def _run(name: str, material: Path, rows: list[Figure | Skipped]) -> bool:
    """Add what the scenario found; whether it came to its end."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    try:
        with Origin(material) as origin:
            rows.extend(ALL[name](origin, material))
    except Missing as missing:
        rows.append(Skipped(name, str(missing)))
    except Exception:  # noqa: BLE001  # one broken scenario must not cost the figures of the others
        traceback.print_exc()
        rows.append(Skipped(name, "broken"))
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
