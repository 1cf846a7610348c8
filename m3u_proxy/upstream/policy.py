"""Which addresses, names and ports may be contacted, as data.

Data, so that a test can call one part of 127/8 public and another private.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

PORT_DENY = frozenset({22, 25, 110, 143, 465, 587, 993, 995, 3306, 5432, 6379, 11211})
METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1

IPAddress = IPv4Address | IPv6Address


class AddressClass(IntEnum):
    """Where an address lies, in rising order of what it takes to be allowed there."""

    PUBLIC = 0
    PRIVATE = 1
    LOOPBACK = 2
    NEVER = 3


# The longest matching prefix decides. From the IANA special-purpose address registries (RFC 6890).
_NEVER = (
    "0.0.0.0/8",
    "169.254.0.0/16",
    "192.0.0.0/24",
    "224.0.0.0/3",
    "::/0",  # all of IPv6 that the other rows do not name is unassigned or reserved
    "2001::/23",
    # metadata services outside of these
    "100.100.100.200/32",
    "168.63.129.16/32",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
)
_PRIVATE = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    # benchmarks and examples: routed in laboratories, if anywhere
    "198.18.0.0/15",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "2001:db8::/32",
)
CLASSES: Mapping[str, AddressClass] = {
    **dict.fromkeys(("0.0.0.0/0", "2000::/3"), AddressClass.PUBLIC),
    **dict.fromkeys(("127.0.0.0/8", "::1/128"), AddressClass.LOOPBACK),
    **dict.fromkeys(_PRIVATE, AddressClass.PRIVATE),
    **dict.fromkeys(_NEVER, AddressClass.NEVER),
}


def unwrap(ip: IPAddress) -> tuple[IPAddress, ...]:
    """The addresses a packet to ``ip`` ends up at, where ``ip`` carries others inside."""
    if isinstance(ip, IPv4Address):
        return (ip,)
    if ip.ipv4_mapped:
        return (ip.ipv4_mapped,)
    if ip.sixtofour:
        return (ip.sixtofour,)
    if ip.teredo:
        return ip.teredo
    if ip in _NAT64 or 1 < int(ip) < 2**32:  # the latter: IPv4-compatible, RFC 4291 §2.5.5.1
        return (IPv4Address(int(ip) & 0xFFFFFFFF),)
    return (ip,)


@dataclass(frozen=True)
class Policy:
    """What is allowed, as data."""

    classes: Mapping[str, AddressClass]
    names: frozenset[str] = METADATA_NAMES
    denied_ports: frozenset[int] = PORT_DENY

    @cached_property
    def _rows(self) -> list[tuple[int, int, int, AddressClass]]:
        networks = [(ip_network(text), found) for text, found in self.classes.items()]
        networks.sort(key=lambda row: row[0].prefixlen, reverse=True)
        return [(net.version, int(net.netmask), int(net.network_address), found) for net, found in networks]

    def overridden(self, classes: Mapping[str, AddressClass]) -> Policy:
        """The same policy with further rows, e.g. a part of 127/8 that a test calls public."""
        return replace(self, classes={**self.classes, **classes})

    def classify(self, ip: IPAddress) -> AddressClass:
        """Class of ``ip``; the strictest one where it carries others inside."""
        return max(self._row(each) for each in unwrap(ip))

    def _row(self, ip: IPAddress) -> AddressClass:
        value = int(ip)
        for version, mask, network, found in self._rows:
            if version == ip.version and value & mask == network:
                return found
        return AddressClass.NEVER


DEFAULT_POLICY = Policy(CLASSES)
