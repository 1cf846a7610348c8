"""Makes the running things of the pool, from what a source turned out to be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from m3u_proxy.ffmpeg.process.run import SWITCHED
from m3u_proxy.model import Kind, Stream, StreamKey, guess_kind
from m3u_proxy.pool.accounts import Accounts
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.live.body import BodyIntake
from m3u_proxy.pool.live.relay import Relay, RelayLimits
from m3u_proxy.pool.loopback import Grants
from m3u_proxy.pool.memory import Memory
from m3u_proxy.pool.quality.inspection import Inspection, Inspections, Subject
from m3u_proxy.pool.sources.attempts import Attempts, Succession, Switch
from m3u_proxy.pool.sources.looked import Look, Looked
from m3u_proxy.pool.sources.sticky import Session, Settled
from m3u_proxy.pool.tally import Tally
from m3u_proxy.pool.vod.position import VodLimits
from m3u_proxy.pool.vod.vod import Vod
from m3u_proxy.upstream.address import NamedBy
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.decision import AskResolver
from m3u_proxy.upstream.failover import Failover, FailoverLimits
from m3u_proxy.upstream.pacing import Pacer
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.resolver import Named
from m3u_proxy.upstream.source import Source
from m3u_proxy.upstream.url import parse as parse_url

HOSTS = 16
"""Hosts of sources that are remembered; those read longest ago are forgotten first."""


@dataclass(frozen=True)
class Parts:
    """What all things of a pool have in common."""

    open_source: Callable[[Ask], Source]
    accounts: Accounts
    relay_limits: RelayLimits
    """Of what FFmpeg writes."""
    live_limits: RelayLimits
    strict_limits: RelayLimits
    """Of live streams with ``strict_live_ts``."""
    vod_limits: VodLimits
    budget: Budget
    tally: Tally
    memory: Memory
    grants: Grants
    prefetch: bool
    """Fetch the newest segment of an HLS source before anybody asks."""
    failover_limits: FailoverLimits
    pacer: Pacer
    request_headers: Callable[[str, str, Mapping[str, str]], Mapping[str, str]]
    """Header fields for a URL: with which user agent, and the caller's own."""
    ask_resolver: Callable[[str, AskResolver, Mapping[str, str]], Awaitable[Named | None]]
    """Ask a failover resolver: its URL, the question, the stream's metadata."""
    inspections: Inspections = field(default_factory=Inspections)
    head_start: float = 6.0
    """Seconds in which a source is to begin where another one might: less than a joiner waits."""

    def make_relay(
        self,
        key: StreamKey,
        kind: Kind,
        succession: Succession,
        *,
        limits: RelayLimits | None = None,
        container: str = "mpegts",
    ) -> Relay:
        """A relay of whatever ``succession`` opens, which is of that container."""
        return Relay(
            key,
            kind,
            succession,
            limits=limits or self.relay_limits,
            tally=self.tally,
            intake=None if container == "mpegts" else BodyIntake(container),
        )


class Workshop:
    """For one source and the others that may take its place. ``on_switch`` is told when one does."""

    def __init__(self, parts: Parts, stream: Stream, on_switch: Callable[[Switch], None]) -> None:
        self.parts = parts
        self._key = stream.origin.key
        self._stream = stream
        self._named: dict[str, NamedBy] = {}
        """Who named a URL that no editor did."""
        self._used: dict[str, str] = {}
        """The source that was read last at each host: what it has named is asked for in its way."""
        self._session = Session()
        self._accepted = ""
        """URL of the source whose kind is known."""
        self._look: Look | None = None
        self.history = parts.memory.of(self._key).history
        self.attempts = Attempts(
            Failover(
                [stream.origin.url, *stream.failover_urls],
                parts.failover_limits,
                parts.pacer,
                has_resolver=stream.failover_resolver_url is not None,
            ),
            self._open_next,
            resolver=self._resolve,
            history=self.history,
            tally=parts.tally,
            on_switch=on_switch,
        )

    def renew(self, stream: Stream) -> None:
        """A newer definition: it applies from the next connection on."""
        self._stream = stream
        urls = [stream.origin.url, *stream.failover_urls]
        self.attempts.failover.renew(urls, has_resolver=stream.failover_resolver_url is not None)

    @property
    def _ask(self) -> Ask:
        return self._ask_for(self.attempts.url)

    def _ask_for(self, url: str) -> Ask:
        stream = self._stream
        headers = stream.origin.headers
        if url != stream.origin.url:
            headers = self.parts.request_headers(url, stream.user_agent, stream.headers)
        is_lasting = self.guess is not Kind.HLS
        return Ask(
            url,
            headers,
            self._named.get(url, "operator"),
            is_lasting=is_lasting,
            is_strict=is_lasting and stream.strict_live_ts,
        )

    @property
    def guess(self) -> Kind:
        """What its source yielded the last time, or what its URL looks like."""
        return self.parts.memory.of(self._key).kind or guess_kind(self._stream.origin.url)

    @property
    def account(self) -> str:
        """Who pays for the source in use."""
        return self.parts.accounts.account(self.attempts.url)

    async def _resolve(self, question: AskResolver) -> str | None:
        stream = self._stream
        assert stream.failover_resolver_url is not None
        named = await self.parts.ask_resolver(stream.failover_resolver_url, question, stream.metadata)
        if named is None:
            return None
        kept = {self.attempts.url, *self._used.values()}
        self._named = {url: origin for url, origin in self._named.items() if url in kept}
        self._named[named.url] = named.named_by
        return named.url

    def open(self) -> Source:
        """The source in use, not yet asked."""
        return self.parts.open_source(self._ask)

    def head_start(self) -> float | None:
        """Seconds in which the source in use is to begin; ``None`` where no other could take its place."""
        return self.parts.head_start if self.attempts.failover.has_spare(monotonic()) else None

    def relay(self) -> Relay:
        """For a live stream."""
        self._remember(Kind.LIVE)
        parts = self.parts
        limits = parts.strict_limits if self._stream.strict_live_ts else parts.live_limits
        return parts.make_relay(self._key, Kind.LIVE, self.attempts, limits=limits)

    def inspection(self, source: Relay | Passthrough, subject: Subject) -> Inspection:
        """Of what a live source gives; ``subject`` is that source as FFmpeg's feed."""
        return Inspection(
            source, subject, self.attempts, self.parts.inspections, lambda: self._stream.silence
        )

    def passthrough(self) -> Passthrough:
        """For a playlist. An FFmpeg that reads it begins anew behind another source: it would lose tracks."""
        parts = self.parts
        self._remember(Kind.HLS)
        passthrough = Passthrough(
            self._key,
            self._open_root,
            self._open_child,
            attempts=self.attempts,
            resources=parts.memory.resources(self._key),
            budget=parts.budget,
            tally=parts.tally,
            prefetch=parts.prefetch,
        )
        passthrough.on_switch = lambda: parts.grants.lose(passthrough, SWITCHED)
        return passthrough

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

    def accept(self, look: Look) -> None:
        """What the source in use yields is known. ``look`` judges those at other URLs that follow it."""
        self._accepted, self._look = self.attempts.url, look

    def _open_next(self, url: str) -> Source:
        source = self._open(url)
        if self._look is None or url == self._accepted:
            return source
        return Looked(source, self._look)

    def _open(self, url: str) -> Source:
        host = _host(url)
        self._used.pop(host, None)
        self._used[host] = url
        if len(self._used) > HOSTS:
            del self._used[next(iter(self._used))]
        ask = self._ask_for(url)
        if not self._stream.use_sticky_session:
            return self.parts.open_source(ask)
        return self._session.open(
            url,
            lambda: self.parts.open_source(ask),
            lambda place: self.parts.open_source(ask.moved(*place)),
        )

    def _open_root(self, settled: Settled | None) -> Source:
        return self.open() if settled is None else self._open_child(*settled)

    def _open_child(self, url: str, named_by: AddressClass, part: tuple[int, int] | None = None) -> Source:
        """What a source in use has named, or one before: segments of that are listed for a while."""
        source = self._ask_for(self._used.get(_host(url), self.attempts.url))
        return self.parts.open_source(source.child(url, named_by, part))

    def _count(self, size: int) -> None:
        self.parts.tally.bytes_in[Kind.VOD] += size

    def _fail(self, reason: str) -> None:
        self.parts.tally.upstream_errors[reason] += 1


def _host(url: str) -> str:
    return parse_url(url).host
