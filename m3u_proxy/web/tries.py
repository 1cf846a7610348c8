"""Wrong tokens by the address that sent them, so that guessing is slow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from time import monotonic

WINDOW = 60.0
"""Seconds over which tries are counted, from the first one on."""
ADDRESSES = 4096
"""Addresses that are remembered; of more, those whose window began first are forgotten."""


@dataclass(slots=True)
class _Window:
    ends: float
    tries: int = 0


class Tries:
    """How often each address was wrong. Who is right is never asked here, and so never slowed.

    Addresses are those of sockets: what a header says of them anybody may forge. One of IPv6 counts as its
    /64 prefix, of which whoever has one address has them all (RFC 4291 §2.5.1).
    """

    def __init__(self, at_most: int, *, clock: Callable[[], float] = monotonic) -> None:
        """``at_most`` within ``WINDOW``; 0 is no limit."""
        self._at_most = at_most
        self._clock = clock
        self._windows: dict[str, _Window] = {}

    def note(self, address: str) -> float | None:
        """One more wrong token; the seconds until the next will be looked at if it was one too many."""
        address, now = _subnet(address), self._clock()
        window = self._windows.get(address)
        if window is None or window.ends <= now:
            self._windows.pop(address, None)  # a new window is the youngest
            if len(self._windows) >= ADDRESSES:
                del self._windows[next(iter(self._windows))]
            window = self._windows[address] = _Window(now + WINDOW)
        window.tries += 1
        return window.ends - now if 0 < self._at_most < window.tries else None

    def __len__(self) -> int:
        return len(self._windows)


def _subnet(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(IPv6Address(int(parsed) >> 64 << 64)) if isinstance(parsed, IPv6Address) else address
