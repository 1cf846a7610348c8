"""The template language: placeholders, then shell-like words, then values inside single words. Pure.

The order is the point. Placeholders are recognised before the text is split, and values are put in after it,
so no blank, quote or dash in a value can make an argument of its own.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from m3u_proxy.errors import BadTemplate, InvalidField
from m3u_proxy.ffmpeg.command.containers import FORMATS

TEMPLATE_BYTES = 4096
VALUE_CHARS = 256
ARGUMENT_CHARS = 8192

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(?:\|([^{}]*))?\}")
_FIRST_MARK, _LAST_MARK = "\ue000", "\uf8ff"
_MARK = re.compile(f"[{_FIRST_MARK}-{_LAST_MARK}]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_UNPRINTABLE = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff{_FIRST_MARK}-{_LAST_MARK}]")

_BIT_RATE = re.compile(r"[0-9]{1,9}[kKmM]?")
_TYPED = {
    **dict.fromkeys(["video_bitrate", "audio_bitrate", "bitrate", "maxrate", "bufsize"], _BIT_RATE),
    "crf": re.compile(r"[0-9]{1,2}"),
}


@dataclass(frozen=True, slots=True)
class Argument:
    """One word of the rendered template. ``names`` are the variables whose values stand in it."""

    text: str
    names: tuple[str, ...] = ()

    @property
    def is_option(self) -> bool:
        """Whether it begins like an option; a lone dash is FFmpeg's name for standard output."""
        return self.text.startswith("-") and self.text != "-"


def check_format(field: str, value: str) -> None:
    """Raise ``InvalidField`` for ``field`` unless ``value`` is a container we can serve."""
    if value not in FORMATS:
        raise InvalidField(field, f"must be one of: {', '.join(sorted(FORMATS))}")


def check_variables(variables: Mapping[str, str]) -> None:
    """Check what callers give as ``profile_variables``.

    Raises ``InvalidField`` for ``profile_variables.<name>``. The address in ``input_url`` is
    judged elsewhere.
    """
    for name, value in variables.items():
        field = f"profile_variables.{name[:64]}"
        if _CONTROL.search(value):
            raise InvalidField(field, "must not hold control characters")
        if name == "format":
            check_format(field, value)
        elif name != "input_url" and len(value) > VALUE_CHARS:
            raise InvalidField(field, f"must have at most {VALUE_CHARS} characters")
        typed = _TYPED.get(name)
        if typed is not None and not typed.fullmatch(value):
            raise InvalidField(field, f"must match ^{typed.pattern}$")


def fill(template: str, values: Mapping[str, str]) -> tuple[Argument, ...]:
    """Split ``template`` into arguments and fill ``values`` in.

    ``{name}`` and ``{name|default}`` are placeholders; one without value and default stays as it is written.
    Quotes and backslashes group as in a POSIX shell and vanish. An argument that is nothing but a placeholder
    with an empty value is left out. Raises ``BadTemplate``.
    """
    if len(template.encode("utf-8", "replace")) > TEMPLATE_BYTES:
        raise BadTemplate(f"the template is longer than {TEMPLATE_BYTES} bytes")
    if _UNPRINTABLE.search(template):
        raise BadTemplate("the template holds control or private-use characters")
    found: list[tuple[str, str]] = []

    def mark(match: re.Match[str]) -> str:
        name, default = match.groups()
        value = values.get(name, default)
        if value is None:
            return match[0]
        found.append((name, value))
        return chr(ord(_FIRST_MARK) + len(found) - 1)

    marked = _PLACEHOLDER.sub(mark, template)
    try:
        words = shlex.split(marked)
    except ValueError as error:
        raise BadTemplate(f"the template cannot be split: {str(error).lower()}") from error
    arguments = [_unmark(word, found) for word in words]
    return tuple(one for one in arguments if one.text or not one.names)


def _unmark(word: str, found: list[tuple[str, str]]) -> Argument:
    marks = [found[ord(mark) - ord(_FIRST_MARK)] for mark in _MARK.findall(word)]
    text = _MARK.sub(lambda match: found[ord(match[0]) - ord(_FIRST_MARK)][1], word)
    if _CONTROL.search(text):
        raise BadTemplate("an argument holds control characters")
    if len(text) > ARGUMENT_CHARS:
        raise BadTemplate(f"an argument is longer than {ARGUMENT_CHARS} characters")
    return Argument(text, tuple(name for name, _ in marks))
