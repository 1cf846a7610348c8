"""A rendered template read as an FFmpeg command line: every option on the allow-list, one stream in. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from m3u_proxy.errors import BadTemplate
from m3u_proxy.ffmpeg.command import filters, options
from m3u_proxy.ffmpeg.command.options import Rule
from m3u_proxy.ffmpeg.command.template import Argument

_SIDES: tuple[Mapping[str, Rule], ...] = (
    options.OUTPUT,
    options.GLOBAL,
    options.HLS,
    options.STREAM_INPUT,
    options.GENERATED_INPUT,
)
_SPECIFIER = re.compile(r"(:[A-Za-z]|:[0-9]{1,3}){1,3}")
_ADDRESS = re.compile(r"[\w+.\\-]*:[\\/]*/.*", re.DOTALL)
_SHOWN_CHARS = 64


@dataclass(frozen=True, slots=True)
class Setting:
    """One option: ``c``, ``:v``, ``libx264``. ``value`` is ``None`` for a switch."""

    name: str
    specifier: str = ""
    value: str | None = None

    @property
    def argv(self) -> tuple[str, ...]:
        """As FFmpeg reads it."""
        option = f"-{self.name}{self.specifier}"
        return (option,) if self.value is None else (option, self.value)


@dataclass(frozen=True, slots=True)
class TemplateInput:
    """One ``-i`` and what stands before it. ``graph`` is that of a generated source; the stream has none."""

    settings: tuple[Setting, ...]
    graph: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """What a template asks for. ``targets`` are the arguments that name an output."""

    preamble: tuple[Setting, ...]
    inputs: tuple[TemplateInput, ...]
    output: tuple[Setting, ...]
    targets: tuple[str, ...]


def shown(text: str) -> str:
    """``text`` for an error: short, and without the better part of an address."""
    plain = _ADDRESS.sub(lambda match: match[0].partition(":")[0] + ":…", text[: 4 * _SHOWN_CHARS])
    return repr(plain if len(plain) <= _SHOWN_CHARS else plain[:_SHOWN_CHARS] + "…")


def read(arguments: Sequence[Argument], urls: Container[str]) -> Command:
    """Read ``arguments``; ``urls`` are the texts that stand for the stream. Raises ``BadTemplate``."""
    return _Reader(arguments, urls).read()


@dataclass
class _Reader:
    arguments: Sequence[Argument]
    urls: Container[str]
    at: int = 0
    pending: list[tuple[int, Setting]] = field(default_factory=list)
    """Options, with their positions, whose input or output has not come yet."""
    preamble: list[Setting] = field(default_factory=list)
    inputs: list[TemplateInput] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    output: list[Setting] = field(default_factory=list)

    def read(self) -> Command:
        while self.at < len(self.arguments):
            argument = self._next()
            if argument.is_option:
                self._option(argument)
            else:
                self._target(argument)
        self._end_output()
        if sum(one.graph is None for one in self.inputs) != 1:
            raise BadTemplate("the template needs exactly one -i {input_url}")
        return Command(tuple(self.preamble), tuple(self.inputs), tuple(self.output), tuple(self.targets))

    def _next(self) -> Argument:
        self.at += 1
        return self.arguments[self.at - 1]

    def _value(self, option: str) -> Argument:
        if self.at == len(self.arguments):
            self._refuse(self.at, f"-{option} needs a value")
        return self._next()

    def _option(self, argument: Argument) -> None:
        if argument.names:
            self._refuse(self.at, f"the value of {{{argument.names[0]}}} must not become an option")
        written, position = argument.text[1:], self.at
        if written == "i":
            self._input(self._value("i"))
            return
        name, colon, specifier = written.partition(":")
        name, _, implied = options.ALIASES.get(name, name).partition(":")
        rule = next((side[name] for side in _SIDES if name in side), None)
        if rule is None:
            self._refuse(position, "this option is not allowed")
        tail = (f":{implied}" if implied else "") + colon + specifier
        if tail and not (rule.per_stream and _SPECIFIER.fullmatch(tail)):
            self._refuse(position, "no stream specifier is allowed here")
        value = self._value(written).text if rule.check else None
        self.pending.append((position, Setting(name, tail, value)))

    def _target(self, argument: Argument) -> None:
        self._end_output()
        self.targets.append(argument.text)

    def _end_output(self) -> None:
        for position, setting in self.pending:
            if self.targets and setting.name not in options.GLOBAL:
                self._refuse(position, "options after the output would make a second one")
        self.output += self._settle(options.OUTPUT, options.HLS)

    def _input(self, argument: Argument) -> None:
        position = self.at
        if self.targets:
            self._refuse(position, "an input after the output")
        if argument.text in self.urls:
            if any(one.graph is None for one in self.inputs):
                self._refuse(position, "the stream is an input already")
            self.inputs.append(TemplateInput(tuple(self._settle(options.STREAM_INPUT))))
            return
        if Setting("f", "", "lavfi") not in (setting for _, setting in self.pending):
            self._refuse(position, "inputs are {input_url} and, after -f lavfi, generated sources")
        reason = filters.refused(argument.text)
        if reason is None and not filters.is_generator(argument.text):
            reason = "not a generated source"
        if reason is not None:
            self._refuse(position, reason)
        self.inputs.append(TemplateInput(tuple(self._settle(options.GENERATED_INPUT)), argument.text))

    def _settle(self, *sides: Mapping[str, Rule]) -> Iterable[Setting]:
        """Check the pending options against ``sides``; returns those to keep."""
        kept = []
        for position, setting in self.pending:
            rule = next(
                (side[setting.name] for side in (*sides, options.GLOBAL) if setting.name in side), None
            )
            if rule is None:
                self._refuse(position, "this option is not allowed here")
            if rule.check is not None and not rule.check(setting.value or ""):
                self._refuse(position, f"value {shown(setting.value or '')} is not allowed")
            if not rule.keep:
                continue
            if any(setting.name in side for side in sides):
                kept.append(setting)
            else:
                self.preamble.append(setting)
        self.pending.clear()
        return kept

    def _refuse(self, position: int, reason: str) -> NoReturn:
        raise BadTemplate(f"argument {position} ({shown(self.arguments[position - 1].text)}): {reason}")
