"""Who may be contacted: one policy, one judge, and a resolver that hands out judged addresses only.

Every target passes here, wherever its URL came from: a field, a failover list, a redirect, a playlist.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import Literal, NoReturn

from aiohttp.abc import AbstractResolver, ResolveResult

from m3u_proxy.errors import InvalidField, UpstreamError
from m3u_proxy.upstream.policy import DEFAULT_POLICY, AddressClass, IPAddress, Policy, unwrap
from m3u_proxy.upstream.url import Target, parse

NamedBy = Literal["operator"] | AddressClass
"""Who named a target: an operator, or content that was itself read from an address of that class."""


class Blocked(UpstreamError):
    """The policy forbids this target. ``category`` is a closed word fit for a metric label."""

    def __init__(self, category: str, detail: str) -> None:
        super().__init__("blocked", detail)
        self.category = category
        """One of: self, never, loopback, private, port, url."""


_WHY = {
    "self": "The target is this proxy itself",
    "never": "The target's address is reserved and is never contacted",
    "port": "The target's port is not allowed",
    "private": "A public source points at a private address",
    "forbidden": "Targets on private addresses are forbidden here; see ALLOW_PRIVATE_TARGETS",
    "loopback": "A source that is not on this machine points at a loopback address",
    "token": "Loopback targets need an API token or a proxy on loopback only; see ALLOW_LOOPBACK_TARGETS",
}


class Judge:
    """Applies a policy to targets. Stateless but for the listeners it asks for, exceptions and counts."""

    def __init__(
        self,
        policy: Policy = DEFAULT_POLICY,
        *,
        allow_loopback: bool,
        allow_private: bool | None = None,
        own: Callable[[], Collection[tuple[str, int]]] = tuple,
        allowed: Collection[tuple[str, int]] = (),
    ) -> None:
        """``allow_private``: nobody may name private addresses (false), public content may too (true), or
        the usual: an operator, and what is itself private.

        ``own`` gives the (address, port) pairs of our listeners, as their sockets name them.

        ``allowed`` are exact pairs which an operator may name although they are ours or on loopback.
        """
        self.blocked: Counter[str] = Counter()
        """Refusals by `Blocked.category`."""
        self._policy = policy
        self._allow_loopback = allow_loopback
        self._allow_private = allow_private
        self._own = own
        self._allowed = {(ip_address(host), port) for host, port in allowed}

    def allow(self, address: str, port: int) -> None:
        """Make an exception for one exact target that an operator names: the demo's source."""
        self._allowed.add((ip_address(address), port))

    def check(self, address: str, port: int, *, named_by: NamedBy) -> AddressClass:
        """Class of ``address`` if whoever ``named_by`` is may send us there, else raise Blocked."""
        try:
            ip = ip_address(address)
        except ValueError:
            self._refuse("never")
        found = self._policy.classify(ip)
        self.check_port(port)
        if found is AddressClass.NEVER:
            self._refuse("never")
        excepted = named_by == "operator" and (ip, port) in self._allowed
        if not excepted and self.is_own(address, port):
            self._refuse("self")
        if found is AddressClass.PRIVATE and self._allow_private is not None:
            if not self._allow_private and not excepted:
                self._refuse("private", "forbidden")
        elif named_by != "operator":
            if found > named_by:
                self._refuse(found.name.lower())
        elif found is AddressClass.LOOPBACK and not (self._allow_loopback or excepted):
            self._refuse("loopback", "token")
        return found

    def check_name(self, host: str) -> None:
        """Raise Blocked for the name of a metadata service."""
        if host.lower().removesuffix(".") in self._policy.names:
            self._refuse("never")

    def check_port(self, port: int) -> None:
        """Raise Blocked for a port that speaks something else than HTTP."""
        if port in self._policy.denied_ports:
            self._refuse("port")

    def is_own(self, address: str, port: int) -> bool:
        """Whether one of our listeners answers at this address and port."""
        ours = [ip_address(own) for own, own_port in self._own() if own_port == port]
        if not ours:
            return False
        reached = unwrap(ip_address(address))
        return any(
            ip == mine or (mine.is_unspecified and _is_local(ip))
            for own in ours
            for mine in unwrap(own)
            for ip in reached
        )

    def is_ours(self, target: Target) -> bool:
        """Whether ``target`` is one of our listeners, as far as that is known without resolving a name."""
        if target.is_literal:
            return self.is_own(target.host, target.port)
        return _is_localhost(target.host) and self.is_own("127.0.0.1", target.port)

    def precheck(self, url: str, field: str = "url") -> Target:
        """Parse ``url`` and judge what can be judged without resolving a name; raise InvalidField."""
        target = parse(url, field)
        try:
            self.check_name(target.host)
            self.check_port(target.port)
            if target.is_literal:
                self.check(target.host, target.port, named_by="operator")
            elif _is_localhost(target.host):
                self.check("127.0.0.1", target.port, named_by="operator")
        except Blocked as exc:
            raise InvalidField(field, exc.detail) from None
        return target

    def refuse(self, category: str, detail: str) -> NoReturn:
        """Count a target and raise Blocked: also for who finds out later that it is none."""
        self.blocked[category] += 1
        raise Blocked(category, detail)

    def _refuse(self, category: str, why: str = "") -> NoReturn:
        self.refuse(category, _WHY[why or category])


def _is_localhost(host: str) -> bool:
    """RFC 6761 §6.3."""
    name = host.removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def _is_local(ip: IPAddress) -> bool:
    """Whether ``ip`` is an address of this machine: only then is it its own best source address."""
    if ip.is_loopback:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect((str(ip), 9))  # sends nothing: it only looks up the route
        except OSError:
            return False
        return ip_address(probe.getsockname()[0]) == ip


class JudgingResolver(AbstractResolver):
    """Resolves in a thread and returns only addresses that passed the judge; the connector dials those.

    aiohttp asks no resolver for an address literal: judge these before the request.
    """

    def __init__(self, judge: Judge, named_by: NamedBy) -> None:
        self._judge = judge
        self.named_by = named_by
        self.found: AddressClass | None = None
        """The least trusted class among the addresses returned last."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Judged addresses of ``host``. Raises Blocked if none passed, OSError if there are none."""
        self._judge.check_name(host)
        infos = await asyncio.to_thread(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        classes: list[AddressClass] = []
        blocked: Blocked | None = None
        for found_family, _, proto, _, sockaddr in infos:
            address = str(sockaddr[0])
            try:
                classes.append(self._judge.check(address, port, named_by=self.named_by))
            except Blocked as exc:
                blocked = exc
                continue
            results.append(
                ResolveResult(
                    hostname=host,
                    host=address,
                    port=port,
                    family=found_family,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        if not results:
            raise blocked or OSError("the name has no address")
        self.found = min(classes)
        return results

    async def close(self) -> None:
        """Nothing to release."""
