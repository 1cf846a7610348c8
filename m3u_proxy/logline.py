"""One record of the log as one line, in text or JSON: redacted, escaped and short.

Both formats and every exception pass ``clean``; there is no other way for a text into the log.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import logging
import re
import traceback
from datetime import UTC, datetime
from typing import Final

from m3u_proxy.redact import MASK, redact

MESSAGE_CHARS: Final = 4_096
TRACE_CHARS: Final = 16_384

# Controls, surrogates, invisible and bidirectional format characters: they forge lines or turn text around.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)

_ADDRESS = re.compile(r"[0-9a-fA-F:.]{3,}")


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """What is kept of one record: plain text, free of the frames and objects that it was made from."""

    at: float
    """Seconds since the epoch."""
    level: str
    logger: str
    message: str
    context: tuple[tuple[str, str], ...] = ()
    """Whom it is about: names and values of stream, viewer, peer."""
    trace: traceback.TracebackException | None = None


def line_of(record: logging.LogRecord, *, anonymize: bool) -> Line:
    """Return what is worth keeping of a record, cut to size; ``anonymize`` hides addresses of viewers.

    Reads no file: the lines of source in a traceback are fetched by the thread that renders it.
    """
    message = cut(record.getMessage())
    if anonymize and record.name.startswith("aiohttp"):
        message = _ADDRESS.sub(lambda found: network_of(found[0]) or found[0], message)
    given = {name: record.__dict__.get(name) for name in ("stream", "viewer", "peer")}
    if anonymize and given["peer"] is not None:
        given["peer"] = network_of(str(given["peer"])) or MASK
    context = tuple((name, cut(str(value), 200)) for name, value in given.items() if value is not None)
    error = record.exc_info[1] if record.exc_info else None
    trace = traceback.TracebackException.from_exception(error, lookup_lines=False) if error else None
    return Line(record.created, record.levelname, record.name, message, context, trace)


def text_line(line: Line) -> str:
    """Return ``2026-05-01T10:00:00.123+00:00 INFO logger: message stream=1e50`` without a line end."""
    context = "".join(f" {name}={clean(value)}" for name, value in line.context)
    trace = f" | {clean(rendered(line.trace))}" if line.trace else ""
    return f"{stamp(line.at)} {line.level} {clean(line.logger)}: {clean(line.message)}{context}{trace}"


def json_line(line: Line) -> str:
    """Return one JSON object: at, level, logger, message; stream, viewer, peer and exception where given."""
    fields = {"at": stamp(line.at), "level": line.level, "logger": line.logger, "message": line.message}
    fields |= dict(line.context)
    if line.trace:
        fields["exception"] = rendered(line.trace)
    return json.dumps({name: clean(value) for name, value in fields.items()})


def clean(text: str) -> str:
    """Mask credentials, and spell out every character that could forge a line or hide one."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], redact(text))


def rendered(trace: traceback.TracebackException) -> str:
    """Return the end of a traceback, which says most, in at most ``TRACE_CHARS`` and whole lines."""
    text = "".join(trace.format()).rstrip()
    return text if len(text) <= TRACE_CHARS else "…\n" + text[-TRACE_CHARS:].partition("\n")[2]


def cut(text: str, limit: int = MESSAGE_CHARS) -> str:
    """Shorten ``text`` at a blank, so that no half of a URL is left that ``redact`` would not know."""
    if len(text) <= limit:
        return text
    words = text[:limit].rsplit(None, 1)
    kept = words[0] if len(words) == 2 else ""
    return f"{kept}… ({len(text) - len(kept)} more characters)"


def network_of(address: str) -> str | None:
    """Return the network of an IP address (IPv4 /24, IPv6 /48), ``None`` when it is not an address."""
    try:
        bits = 24 if ipaddress.ip_address(address).version == 4 else 48
    except ValueError:
        return None
    return str(ipaddress.ip_network((address.partition("%")[0], bits), strict=False))


def stamp(at: float) -> str:
    """Return ISO 8601 in UTC with its offset, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
