"""One unambiguous reading of a URL: the object that is judged is the object that is dialled.

No second parser may read another host out of the same text: what two parsers could disagree about is refused.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from ipaddress import IPv6Address
from urllib.parse import quote, urljoin

from yarl import URL

from m3u_proxy.errors import InvalidField

MAX_URL = 32 * 1024
"""Characters; signed redirects are long."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCHEME = re.compile(r"(https?):", re.IGNORECASE)
_AFTER_SCHEME = re.compile(r"//(?:([^/?#@\\]*)@)?([^/?#@\\]*?)(?::([0-9]{0,5}))?(?=[/?#]|$)(.*)")
_NAME = re.compile(r"(?=.{1,254}$)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_ENDS_IN_NUMBER = re.compile(r"(?:^|\.)(?:[0-9]+|0x[0-9a-f]*)$")
_SCHEME_OR_HOST = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|//")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


@dataclass(frozen=True)
class Target:
    """One parsed URL. ``url`` is what goes on the wire: no credentials, no fragment, one plain host."""

    url: URL
    userinfo: str | None = None
    """Percent-encoded ``user:password`` of the authority, if it had any."""

    @property
    def host(self) -> str:
        """Lower-case ASCII name, or an address in its canonical text without brackets."""
        return self.url.raw_host or ""

    @property
    def port(self) -> int:
        return self.url.port or 0

    @property
    def is_literal(self) -> bool:
        """Whether the host is an address, so that no resolver will be asked."""
        return ":" in self.host or _ENDS_IN_NUMBER.search(self.host) is not None

    def __str__(self) -> str:
        """The whole URL with its credentials: for resolving references, never for a log."""
        text = str(self.url)
        return text.replace("://", f"://{self.userinfo}@", 1) if self.userinfo is not None else text


def parse(url: str, field: str = "url") -> Target:
    """Read ``url`` in the one way it may be read (RFC 3986 §3); raise InvalidField where there are two.

    Blanks and non-ASCII text after the authority are percent-encoded, everything else there is kept byte for
    byte: providers sign their paths.
    """
    text = url.strip(" ")
    if not text or text.isspace():
        raise InvalidField(field, "URL cannot be empty")
    if _CONTROL.search(text):
        raise InvalidField(field, "URL must not contain control characters")
    if len(text) > MAX_URL:
        raise InvalidField(field, f"URL must not be longer than {MAX_URL} characters")
    scheme = _SCHEME.match(text)
    if scheme is None:
        raise InvalidField(field, "URL must use HTTP or HTTPS protocol")
    parts = _AFTER_SCHEME.fullmatch(text, scheme.end())
    host = _host(parts[2]) if parts else None
    # `http://a#@b/` and `http://a?@b/` read as b where a parser takes the authority to end at a slash only.
    if parts is None or host is None or (parts[4][:1] in ("?", "#") and "@" in parts[4]):
        raise InvalidField(field, "URL must have a valid domain")
    default = _DEFAULT_PORTS[scheme[1].lower()]
    port = int(parts[3] or default)
    if not 0 < port < 65536:
        raise InvalidField(field, "URL must have a port between 1 and 65535")
    path = parts[4].partition("#")[0]
    suffix = "" if port == default else f":{port}"
    slash = "" if path.startswith("/") else "/"
    try:  # bytes of a header that are no UTF-8 arrive as lone surrogates
        userinfo, path = (
            quote(each or "", _PRINTABLE, errors="surrogateescape") for each in (parts[1], path)
        )
    except UnicodeEncodeError:
        raise InvalidField(field, "URL must be valid Unicode text") from None
    wire = URL(f"{scheme[1].lower()}://{host}{suffix}{slash}{path}", encoded=True)
    return Target(wire, None if parts[1] is None else userinfo)


def join(base: Target, reference: str, field: str = "url") -> Target:
    """Resolve ``reference`` against ``base`` (RFC 3986 §5); raises InvalidField as `parse` does.

    Credentials of ``base`` go along unless the reference names a host itself.
    """
    reference = reference.strip(" ")  # as urljoin does, which would then find a host that is not seen here
    if _SCHEME_OR_HOST.match(reference):
        whole = reference if reference[0] != "/" else f"{base.url.scheme}:{reference}"
        return parse(whole, field)
    if _CONTROL.search(reference):  # urljoin would silently take some of them out
        raise InvalidField(field, "URL must not contain control characters")
    return replace(parse(urljoin(str(base.url), reference), field), userinfo=base.userinfo)


_LEAF = re.compile(r"[A-Za-z0-9_~%=&+,@-][A-Za-z0-9_~%=&+,@.-]*(?:\?[A-Za-z0-9._~%=&+,@;/?:-]+)?")
"""What can be put behind a folder as it stands: no dots to resolve, no scheme, nothing to be quoted."""


class Base:
    """Where a document was read, for the references in it; quick, because playlists hold thousands.

    Most references of a playlist lead to a few folders: each of them is resolved once (RFC 3986 §5.2).
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._folders: dict[str, str] = {}

    def resolve(self, reference: str) -> str | None:
        """The absolute URL, with the credentials that go along; ``None`` if there is no usable one."""
        reference = reference.strip(" ")
        end = reference.find("?")
        cut = reference.rfind("/", 0, end if end >= 0 else len(reference)) + 1
        if _LEAF.fullmatch(reference, cut):
            name = reference[:cut]
            folder = self._folders.get(name)
            if folder is None:
                folder = self._folders[name] = self._folder(name)
            if folder and len(folder) + len(reference) - cut <= MAX_URL:
                return folder + reference[cut:]
        return self._joined(reference)

    def _folder(self, name: str) -> str:
        """URL of a folder; ``""`` where what follows in a reference may be no name in it."""
        url = None if "#" in name else self._joined(name or ".")
        return url if url is not None and url.endswith("/") else ""

    def _joined(self, reference: str) -> str | None:
        try:
            return str(join(self.target, reference))
        except InvalidField:
            return None


def _host(text: str) -> str | None:
    """Canonical host as it stands in a URL, ``None`` if it is no plain name or address."""
    if text.startswith("["):
        try:  # a zone index (RFC 6874) only makes sense for link-local addresses, which are never contacted
            return f"[{IPv6Address(text[1:-1])}]" if text.endswith("]") and "%" not in text else None
        except ValueError:
            return None
    if not text.isascii():
        try:  # before anything is judged: IDNA turns circled digits into plain ones
            text = URL.build(scheme="http", host=text).raw_host or ""
        except ValueError:
            return None
    text = text.lower()
    if _ENDS_IN_NUMBER.search(text.removesuffix(".")):
        try:  # `127.1`, `0x7f.1` and `2130706433` are addresses to getaddrinfo, hence to us
            return socket.inet_ntoa(socket.inet_aton(text.removesuffix(".")))
        except OSError:
            return None
    return text if _NAME.fullmatch(text) else None
