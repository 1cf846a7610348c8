"""Requests of ours that come back to us through another proxy (RFC 9110 §7.6.3). Pure.

Providers must not see ``Via``: many refuse whoever looks like a proxy. So it goes only where a way back can
begin: to what is not on the public Internet, and to addresses that look like our own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.url import Target

LOOP_DETECTED = 508
"""What a request that has come back is answered with (RFC 5842 §7.2)."""
_LIKE_OURS = re.compile(r"/(?:stream|hls)/[0-9a-f]{32}(?:/|$)")
_LOCAL_NAME = re.compile(r"[^.]+|.*\.(?:home\.arpa|internal|lan|local|localhost)")
"""Names that the public DNS does not know (RFC 6761, 6762, 8375), and those of containers."""


def may_lead_back(target: Target, found: AddressClass | None) -> bool:
    """Whether a request to ``target`` is to be marked; ``found`` is the class of an address literal."""
    if _LIKE_OURS.search(target.url.path):
        return True
    if found is not None:
        return found is not AddressClass.PUBLIC
    return _LOCAL_NAME.fullmatch(target.host.removesuffix(".").lower()) is not None


def has_come_back(via: Iterable[str], pseudonym: str) -> bool:
    """Whether the values of ``Via`` name us."""
    return any(pseudonym in entry.split() for value in via for entry in value.split(","))
