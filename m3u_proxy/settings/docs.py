"""``docs/settings.md``: every variable in a table. ``python -m m3u_proxy.settings.docs`` prints it."""

from __future__ import annotations

import sys
from typing import get_type_hints

from pydantic import BaseModel

from m3u_proxy.settings.effects import WITHOUT_EFFECT
from m3u_proxy.settings.fields import groups
from m3u_proxy.settings.types import allowed, printed

_HEAD = """# Settings

Settings are environment variables; names count in any case, and an empty value is unset. A value that is
not allowed stops the start with one line that names the variable. `m3u-proxy --check-config` prints what
is in force, with secrets masked. A file of `NAME=value` lines is read only where `ENV_FILE` names it, and
the environment wins. A secret can come from a file: `API_TOKEN_FILE`. Times are seconds, sizes bytes.

Those marked *no effect* are accepted, because deployments set them, and change nothing in this version.
The log names at the start those that were set all the same.

This page is made from the program: `make docs`.
"""


def page() -> str:
    """The whole page."""
    return _HEAD + "".join(map(_table, groups()))


def _table(group: type[BaseModel]) -> str:
    hints = get_type_hints(group, include_extras=True)
    rows = []
    for name, field in group.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        default = str(extra["shown"]) or f"`{printed(field.default)}`"
        told = str(field.description).removesuffix(".")
        meaning = f"{told}. *No effect*" if name in WITHOUT_EFFECT else told
        meaning = meaning.removeprefix("Without effect. ")
        rows.append([f"`{name.upper()}`", allowed(hints[name]), default, meaning])
    head = ["| Variable | Value | Default | Meaning |", "| --- | --- | --- | --- |"]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"\n## {group.__doc__}\n", *head, *body]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
