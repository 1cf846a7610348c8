"""The environment read into settings, and settings in force written down.

No file is read unless ``ENV_FILE``, ``API_TOKEN_FILE`` or ``REDIS_PASSWORD_FILE`` names it; directories are
looked at, never made.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from io import StringIO
from typing import Any, Final, get_type_hints

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError

from m3u_proxy.settings.effects import WITHOUT_EFFECT
from m3u_proxy.settings.fields import Settings, groups
from m3u_proxy.settings.types import (
    SECRETS,
    SettingsError,
    allowed,
    default_state_dir,
    printed,
    quoted,
)

FILE_CHARS: Final = 262_144
"""Characters that are read of a file which a variable names."""
HINTS: Final = get_type_hints(Settings, include_extras=True)


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings from ``environ``; names in any case, empty is unset, unknown ones are ignored.

    Raises SettingsError for the first value that is not allowed, or a named file that cannot be read.
    """
    values: dict[str, Any] = _known(environ)
    if path := values.get("env_file"):
        text = _text_of("env_file", path, "NAME=value lines")
        values = {**_known(dotenv_values(stream=StringIO(text), interpolate=False)), **values}
    for name in SECRETS:
        if path := values.get(f"{name}_file"):
            if name in values:
                raise SettingsError(
                    f"{name}_file", quoted(f"{name}_file", path), f"{name.upper()} to be unset"
                )
            values[name] = _text_of(f"{name}_file", path, "the secret").strip("\r\n")
    if "state_dir" not in values:
        values["state_dir"] = default_state_dir(environ)
    try:
        return Settings(**values)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False, include_context=False)[0]
    # Outside the handler: a chained ValidationError would show every value, secret or not.
    name = str(first["loc"][0])
    raise SettingsError(name, quoted(name, values.get(name, first["input"])), allowed(HINTS[name]))


def _known(given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables that exist and are set; of two spellings of a name upper case wins."""
    spelt = {name.lower(): value for name, value in sorted(given.items(), reverse=True) if value}
    return {name: value for name, value in spelt.items() if name in Settings.model_fields}


def _text_of(name: str, path: str, holding: str) -> str:
    """Return the text of the file that variable ``name`` points to."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(FILE_CHARS)
    except (OSError, ValueError):
        text = ""
    if not text.strip():
        raise SettingsError(name, quoted(name, path), f"a readable UTF-8 file that holds {holding}")
    return text


def print_env(settings: Settings) -> str:
    """Return the values in force as ``NAME=value`` lines that ``load`` reads, but for the masked secrets."""
    values = {**dict(settings), "root_path": settings.root_path or "/"}
    return "".join(f"{name.upper()}={printed(value)}\n" for name, value in values.items())


def env_example() -> str:
    """Return ``.env.example``: every variable under its group, with its meaning, type and default."""
    title = "# Settings of m3u-proxy. What is commented out is the default; an empty value is unset.\n"
    return title + "".join(map(_example, groups()))


def _example(group: type[BaseModel]) -> str:
    """Return the part on one group: each variable with its meaning and default."""
    lines = ["", f"## {group.__doc__}"]
    hints = get_type_hints(group, include_extras=True)
    for name, field in group.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        shown = f" Default: {extra['shown']}." if extra["shown"] else ""
        words = allowed(hints[name])
        idle = " No effect yet." if name in WITHOUT_EFFECT and "effect" not in str(field.description) else ""
        text = f"{field.description}.{idle} {words[:1].upper()}{words[1:]}.{shown}"
        lines += [
            "",
            textwrap.fill(text, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False),
        ]
        lines += [f"# {name.upper()}={'' if shown else printed(field.default)}"]
    return "\n".join(lines) + "\n"
