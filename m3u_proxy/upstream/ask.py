"""What a provider is asked for, with which header fields, and on whose word. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from m3u_proxy.errors import InvalidField
from m3u_proxy.upstream.address import NamedBy
from m3u_proxy.upstream.headers import SECRETS_OF_A_HOST, may_share_secrets
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.url import parse


@dataclass(frozen=True, slots=True)
class Ask:
    """One GET."""

    url: str
    headers: Mapping[str, str]
    named_by: NamedBy = "operator"
    is_file: bool = False
    """A file is read at a viewer's own pace, and its silence judged by that."""
    is_lasting: bool = False
    """A live stream or a file holds its connection; playlists and segments end by themselves."""
    is_strict: bool = False
    """Its silence is told soon, and marks it as bad."""
    payer: str = ""
    """URL of the account that pays for the connection; empty: its own."""

    def child(self, url: str, named_by: AddressClass, part: tuple[int, int] | None = None) -> Ask:
        """For something that the content names; what was meant for one host is told to no other."""
        headers = dict(self.headers)
        is_akin = _may_share_secrets(self.url, url)
        if not is_akin:
            headers = {
                name: value for name, value in headers.items() if name.lower() not in SECRETS_OF_A_HOST
            }
        if part is not None:
            headers = _over(headers, {"Range": f"bytes={part[0]}-{part[1]}"})
        payer = self.payer or self.url if is_akin else url
        kept = replace(self, is_lasting=False, is_strict=False)
        return replace(kept, url=url, headers=headers, named_by=named_by, payer=payer)

    def moved(self, url: str, named_by: AddressClass) -> Ask:
        """For the same body where redirects led: the account pays that would have paid for it here."""
        asked = self.child(url, named_by)
        payer = self.payer or self.url
        return replace(asked, is_lasting=self.is_lasting, is_strict=self.is_strict, payer=payer)

    def with_headers(self, extra: Mapping[str, str]) -> Ask:
        """For another part of the same file."""
        return replace(self, headers=_over(self.headers, extra), is_file=True, is_lasting=True)


def _over(headers: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """``headers`` with those of ``extra`` in the place of their own; names ignore case (RFC 9110 §5.1)."""
    names = {name.lower() for name in extra}
    return {name: value for name, value in headers.items() if name.lower() not in names} | dict(extra)


def _may_share_secrets(own: str, other: str) -> bool:
    try:
        return may_share_secrets(parse(own), parse(other))
    except InvalidField:
        return False
