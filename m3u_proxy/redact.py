"""What must never be read in a log, an error or a diagnosis: the credentials in a text, masked.

Pure, and imported by every room that passes on somebody else's words. It would rather hide a harmless word
than show a secret one, so two path segments before a number are taken for an account wherever they stand.
"""

from __future__ import annotations

import re

MASK = "***"

_HEADERS = (
    r"(?:proxy-)?authorization|(?:set-)?cookie2?|"
    r"x-(?:[a-z]{1,20}-){0,4}[a-z]{0,20}(?:auth|key|secret|token)[a-z-]{0,20}"
)
_NAMES = r"(?:access|api|auth|bearer|refresh)?[_-]?token|api[_-]?key|passw(?:or)?d|pwd|secret|username"

# A list of pairs, as raw headers are printed, has a comma between a quoted name and its value.
_BETWEEN = r"""(\\?["']\s*[:=,]\s*|\s?[:=]\s*)"""
_QUOTED = r"""b?(["'])(?:\\.|(?!\3)[^\\])*\3"""
# A header block that was printed with repr() has its line ends spelt out.
_START = r"(?:(?<![a-z0-9-])|(?<=\\[nrt]))"
_HEADER = re.compile(rf"{_START}({_HEADERS}){_BETWEEN}(?:{_QUOTED}|[^\r\n]+)", re.IGNORECASE | re.ASCII)
_NAMED = re.compile(rf"(?<![a-z0-9])({_NAMES}){_BETWEEN}(?:{_QUOTED}|[^\s&]+)", re.IGNORECASE | re.ASCII)
_SCHEME = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE | re.ASCII)

_USERINFO = re.compile(r"(//|\\/\\/|%2f%2f)[^\s/?#]*(?:@|%40)", re.IGNORECASE)
_BARE_USERINFO = re.compile(r"""(?<![^\s"'=(<,])[^\s/?#"'=(<,:@]+:[^\s/?#@]+@""")

# A quote ends an address only where the text goes on behind it: passwords hold quotes too.
_QUERY = re.compile(r"""(\?|(?i:%3f))((?=[\w%&=\[~+.-])(?:[^\s"'<>]|["'<>](?![\s,;:)\]}>"']|$))+)""")

_NO_HOST = r"(?<!:/)(?<!:\\/)(?<!:\\/\\)(?<!:%2f)(?<!%3a%2f)"


def _paths(slash: str, segment: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of ``/live/USER/PASS`` and ``/USER/PASS/123.ts`` for one way to write a slash.

    What follows ``://`` is a host, which tells one source from another: it is no user.
    """
    kinds = "live|movies?|series|timeshifts?|hlsr"
    named = rf"({slash}(?:{kinds}){slash}){segment}({slash}){segment}"
    numbered = rf"{_NO_HOST}({slash}){segment}({slash}){segment}({slash}\d+(?:\.\w{{1,5}})?)(?!\.?[\w/\\%-])"
    return re.compile(named, re.IGNORECASE), re.compile(numbered, re.IGNORECASE)


_PLAIN_PATHS = _paths(r"\\?/", r"[^\s/\\?#]+")
_ENCODED_PATHS = _paths("%2f", r"(?:(?!%2f|%3f)[^\s/\\?#&])+")


def redact(text: str) -> str:
    """Return ``text`` with every credential replaced by ``***``.

    Masked are userinfo of URLs (RFC 3986 §3.2.1), the account in Xtream paths, the values of every query (the
    names stay), the values of headers that authenticate, and ``api_token=`` and its kind in running text.
    Text with none of these comes back as the same object. Redacting twice changes nothing more.
    """
    lowered = text.lower()
    if any(word in lowered for word in ("auth", "cookie", "x-", "bearer", "basic")):
        text = _SCHEME.sub(rf"\1 {MASK}", _HEADER.sub(rf"\1\2\3{MASK}\3", text))
    if "@" in text or "%40" in text:
        # Before the names: a user may be called one.
        text = _USERINFO.sub(rf"\1{MASK}@", text)
        text = _BARE_USERINFO.sub(f"{MASK}@", text)
    if any(word in lowered for word in ("token", "key", "passw", "pwd", "secret", "username")):
        text = _NAMED.sub(rf"\1\2\3{MASK}\3", text)
    if "/" in text:
        text = _mask_paths(text, _PLAIN_PATHS)
    if "%2f" in lowered:
        text = _mask_paths(text, _ENCODED_PATHS)
    if "?" in text or "%3f" in lowered:
        text = _QUERY.sub(_mask_query, text)
    return text


def _mask_paths(text: str, patterns: tuple[re.Pattern[str], re.Pattern[str]]) -> str:
    named, numbered = patterns
    text = named.sub(rf"\1{MASK}\2{MASK}", text)
    return numbered.sub(rf"\1{MASK}\2{MASK}\3", text)


def _mask_query(query: re.Match[str]) -> str:
    pairs = (pair.partition("=") for pair in query[2].split("&"))
    return query[1] + "&".join(f"{name}={MASK}" if equals else MASK for name, equals, _ in pairs)
