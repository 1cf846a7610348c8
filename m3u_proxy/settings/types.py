"""The types of settings: what each accepts, how it is normalised, and the words for it.

Validators raise ValueError without detail: ``settings.load`` says what is allowed, in words of ``Allowed``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.config import JsonDict

from m3u_proxy.redact import MASK, redact

_FLAGS = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
SECRETS: Final = ("api_token", "redis_password")


class SettingsError(ValueError):
    """A setting that is not allowed. Its text is one line that names the variable and holds no secret."""

    def __init__(self, name: str, value: str, expected: str) -> None:
        self.name = name.upper()
        super().__init__(f"{self.name}: {value} is not allowed; expected {expected}")


@dataclass(frozen=True)
class Allowed:
    """What a type accepts, in words; for errors and for ``.env.example``."""

    text: str


def allowed(hint: Any) -> str:
    """Return the words for a type, found in its annotation or in those of its alternatives."""
    metadata = getattr(hint, "__metadata__", ())
    texts = [item.text for item in metadata if isinstance(item, Allowed)]
    return texts[0] if texts else next(filter(None, map(allowed, get_args(hint))), "")


def env(default: Any, text: str, shown: str = "") -> Any:
    """Declare a variable: its default or how to derive it, its meaning, its default in words.

    ``shown`` is for a default that depends on the machine, on another variable, or is no value at all.
    """
    extra: JsonDict = {"shown": shown}
    if callable(default):
        return Field(default_factory=default, description=text, json_schema_extra=extra)
    return Field(default, description=text, json_schema_extra=extra)


def same_as(name: str) -> Callable[[dict[str, Any]], Any]:
    """Return the rule that a default is the value of an earlier variable."""
    return lambda earlier: earlier[name]


def under(name: str) -> Callable[[dict[str, Any]], Path]:
    """Return the rule that a directory is by default one in ``STATE_DIR``."""
    return lambda earlier: Path(earlier["state_dir"]) / name


def _flag(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lower() not in _FLAGS:
        raise ValueError("no word for yes or no")
    return _FLAGS[value.lower()]


def _lowered(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _secret(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text or text != text.strip() or not text.isprintable():
        raise ValueError("blank at an end, or a control character")
    return value


def _redis_url(value: SecretStr) -> SecretStr:
    if urlsplit(value.get_secret_value()).scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("scheme")
    return _secret(value)


def _root_path(value: object) -> str:
    path = "/" + str(value).strip("/")
    if not re.fullmatch(r"/|(/(?!\.\.?(/|\Z))[A-Za-z0-9._~-]+)+", path):
        raise ValueError("not a plain path")
    return path.rstrip("/")


def _base_url(value: str) -> str:
    url = urlsplit(value)
    more = url.username is not None or url.query or url.fragment or not value.isprintable() or " " in value
    if url.scheme not in {"http", "https"} or not url.hostname or url.port == 0 or more:
        raise ValueError("not the base of a URL")
    return value.rstrip("/")


def _directory(value: object) -> Path:
    path = found = "/" + os.path.abspath(os.path.expanduser(str(value))).lstrip("/")
    while not os.path.lexists(found):
        found = os.path.dirname(found)
    if os.path.realpath(path) == "/" or not os.path.isdir(found):
        raise ValueError("the root, or no directory")
    return Path(path)


def _limits(value: object) -> object:
    if not isinstance(value, str):
        return value
    pairs = [part.strip().lower().rpartition("=") for part in value.split(",") if part.strip()]
    hosts = [host.strip() for host, _, _ in pairs]
    if len(set(hosts)) < len(hosts) or not all(re.fullmatch(r"[a-z0-9_.:\[\]-]+", host) for host in hosts):
        raise ValueError("no host, or one twice")
    return {host: number for host, (_, _, number) in zip(hosts, pairs, strict=True)}


Port = Annotated[int, Field(ge=0, le=65_535), Allowed("a whole number from 0 to 65535")]
Count = Annotated[int, Field(ge=0, le=10**9), Allowed("a whole number from 0 to 1000000000")]
Number = Annotated[int, Field(ge=1, le=10**6), Allowed("a whole number from 1 to 1000000")]
Workers = Annotated[int, Field(ge=1, le=256), Allowed("a whole number from 1 to 256")]
Bytes = Annotated[int, Field(ge=0, le=10**15), Allowed("bytes, a whole number up to 10^15")]
Seconds = Annotated[float, Field(ge=0, le=315_360_000), Allowed("seconds, 0 or more, at most ten years")]
Period = Annotated[float, Field(gt=0, le=315_360_000), Allowed("seconds, more than 0, at most ten years")]
Real = Annotated[float, Field(ge=-3_600, le=3_600), Allowed("a number from -3600 to 3600")]
Flag = Annotated[bool, BeforeValidator(_flag), Allowed("one of 1 0 true false yes no on off")]
Text = Annotated[
    str, Field(max_length=4_096, pattern=r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$"), Allowed("text on one line")
]
Host = Annotated[str, Field(pattern=r"^[^\s/\p{C}]+$"), Allowed("a host name or an address")]
PagePath = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$"), Allowed("a path such as /docs")]
RootPath = Annotated[str, BeforeValidator(_root_path), Allowed("a path of letters, digits and . _ ~ -")]
BaseUrl = Annotated[str, AfterValidator(_base_url), Allowed("a URL such as https://tv.example/m3u-proxy")]
Directory = Annotated[Path, BeforeValidator(_directory), Allowed("a directory, present or not, other than /")]
Secret = Annotated[SecretStr, AfterValidator(_secret), Allowed("text without a blank at either end")]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url), Allowed("a URL such as redis://host:6379/0")]
HostLimits = Annotated[
    Mapping[str, Annotated[int, Field(ge=1, le=10_000)]],
    BeforeValidator(_limits),
    AfterValidator(MappingProxyType),
    Allowed("host=number pairs separated by commas, no host twice"),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "warn", "error", "critical"],
    BeforeValidator(_lowered),
    Allowed("one of debug, info, warning, error, critical"),
]
LogFormat = Annotated[Literal["text", "json"], BeforeValidator(_lowered), Allowed("text or json")]
Fold = Annotated[
    Literal["off", "name", "tvg_id"],
    BeforeValidator(_lowered),
    Allowed("off, name (those of one name) or tvg_id (those of one tvg-id)"),
]
Sendfile = Annotated[Literal["off", "nginx"], BeforeValidator(_lowered), Allowed("off or nginx")]


def default_state_dir(environ: Mapping[str, str]) -> str:
    """Return the default of STATE_DIR by the XDG base directory rule: ``XDG_STATE_HOME`` must be absolute."""
    base = environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(base):
        return f"{base}/m3u-proxy"
    if os.geteuid() == 0:
        return "/var/lib/m3u-proxy"
    home = environ.get("HOME") or os.path.expanduser("~")
    if not os.path.isabs(home):
        raise SettingsError("state_dir", "no value", "a directory, as there is no home directory")
    return f"{home}/.local/state/m3u-proxy"


def quoted(name: str, value: object) -> str:
    """Return a value as an error may show it: on one line, short, its secrets masked."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if name in SECRETS or (name == "redis_url" and "://" not in text):
        return repr(MASK)
    if name == "redis_url" and "@" in text:
        text = f"{MASK}@{text.rpartition('@')[2]}"
    text = redact(text)
    return repr(text if len(text) <= 80 else f"{text[:80]}…")


def printed(value: object) -> str:
    """Return a value in the form that ``load`` reads; a secret is masked."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{host}={number}" for host, number in value.items())
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return redact(value) if isinstance(value, str) else "" if value is None else str(value)
