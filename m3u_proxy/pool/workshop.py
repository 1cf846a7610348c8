"""Makes the running things of the pool, from what a source turned out to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from m3u_proxy.model import Kind, Origin, StreamKey
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.listing import Settled
from m3u_proxy.pool.loopback import Grants
from m3u_proxy.pool.memory import Memory
from m3u_proxy.pool.passthrough import Passthrough
from m3u_proxy.pool.relay import Relay, RelayLimits
from m3u_proxy.pool.tally import Tally
from m3u_proxy.pool.vod import Vod, VodLimits
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Source


@dataclass(frozen=True)
class Parts:
    """What all things of a pool have in common."""

    open_source: Callable[[Ask], Source]
    relay_limits: RelayLimits
    vod_limits: VodLimits
    budget: Budget
    tally: Tally
    memory: Memory
    grants: Grants
    prefetch: bool
    """Fetch the newest segment of an HLS source before anybody asks."""

    def make_relay(self, key: StreamKey, kind: Kind, open_source: Callable[[], Source]) -> Relay:
        """A relay of whatever ``open_source`` opens."""
        return Relay(key, kind, open_source, limits=self.relay_limits, tally=self.tally)


class Workshop:
    """For one source."""

    def __init__(self, parts: Parts, origin: Origin) -> None:
        self.parts = parts
        self._key = origin.key
        self._ask = Ask(origin.url, origin.headers)

    def open(self) -> Source:
        """The source itself, not yet asked."""
        return self.parts.open_source(self._ask)

    def relay(self, open_source: Callable[[], Source]) -> Relay:
        """For a live stream."""
        self._remember(Kind.LIVE)
        return self.parts.make_relay(self._key, Kind.LIVE, open_source)

    def passthrough(self) -> Passthrough:
        """For a playlist."""
        parts = self.parts
        self._remember(Kind.HLS)
        return Passthrough(
            self._key,
            self._ask.url,
            self._open_root,
            self._open_child,
            resources=parts.memory.resources(self._key),
            budget=parts.budget,
            tally=parts.tally,
            prefetch=parts.prefetch,
        )

    def vod(self) -> Vod:
        """For a file."""
        parts = self.parts
        self._remember(Kind.VOD)
        vod = Vod(
            lambda extra: parts.open_source(self._ask.with_headers(extra)),
            limits=parts.vod_limits,
            url=self._ask.url,
            on_bytes=self._count,
            on_error=self._fail,
        )
        vod.about = parts.memory.of(self._key).about
        return vod

    def keep(self, vod: Vod) -> None:
        """What was learnt of a file is there for the next who asks."""
        self.parts.memory.of(self._key).about = vod.about

    def _remember(self, kind: Kind) -> None:
        self.parts.memory.of(self._key).kind = kind

    def _open_root(self, settled: Settled | None) -> Source:
        return self.open() if settled is None else self._open_child(*settled)

    def _open_child(self, url: str, named_by: AddressClass, part: tuple[int, int] | None = None) -> Source:
        return self.parts.open_source(self._ask.child(url, named_by, part))

    def _count(self, size: int) -> None:
        self.parts.tally.bytes_in[Kind.VOD] += size

    def _fail(self, reason: str) -> None:
        self.parts.tally.upstream_errors[reason] += 1
