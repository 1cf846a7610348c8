"""Sources of one HLS stream that take each other's place, played by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from m3u_proxy.errors import ProxyError
from m3u_proxy.model import StreamKey
from m3u_proxy.pool.budget import Budget
from m3u_proxy.pool.hls.listing import Page
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.hls.resources import Resource, Resources
from m3u_proxy.pool.sources.attempts import Attempts, Switch
from m3u_proxy.pool.sources.history import History
from m3u_proxy.pool.sources.sticky import Settled
from m3u_proxy.pool.tally import Tally
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.decision import AskResolver
from m3u_proxy.upstream.failover import Failover, FailoverLimits
from m3u_proxy.upstream.pacing import Pacer
from m3u_proxy.upstream.source import Source
from tests.support.answer import null_packets
from tests.support.house import Clock
from tests.support.provider import Provider, Reply, text
from tests.support.stepped import settle, until

ONE, TWO, THREE = (f"http://{name}.example/live.m3u8" for name in ("one", "two", "three"))
TS = null_packets(10)
BREAK = "#EXT-X-DISCONTINUITY\n"


def live(name: str, first: int, count: int = 4, *, target: int = 4, end: bool = False) -> Reply:
    """A playlist whose segments are ``{name}{number}.ts``."""
    lines = [f"#EXTM3U\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{first}\n"]
    lines += [f"#EXTINF:{target},\n{name}{number}.ts\n" for number in range(first, first + count)]
    return text("".join(lines) + ("#EXT-X-ENDLIST\n" if end else ""))


def master(*rows: str, more: str = "") -> Reply:
    """A multivariant playlist: ``"900 high.m3u8"`` …"""
    lines = [row.split() for row in rows]
    return text(
        "#EXTM3U\n"
        + more
        + "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={bandwidth}\n{uri}\n" for bandwidth, uri in lines)
    )


class Rig:
    """Sources of one stream, and their provider; ``clock`` moves by hand."""

    def __init__(self, clock: Clock, *urls: str) -> None:
        self.clock = clock
        self.provider = Provider()
        self.resources = Resources(b"secret")
        self.tally = Tally()
        self.budget = Budget(10**6)
        self.pacer = Pacer(lambda: 0.5)
        self.history = History()
        self.switches: list[Switch] = []
        self.answers: list[str | None] | None = None
        """What a resolver says, if there is one."""
        self.urls = urls

    def _make(self) -> Passthrough:
        has_resolver = self.answers is not None
        failover = Failover(self.urls, FailoverLimits(), self.pacer, has_resolver=has_resolver)
        self.attempts = Attempts(
            failover,
            lambda url: self.provider(Ask(url, {})),
            resolver=self._resolve if has_resolver else None,
            history=self.history,
            tally=self.tally,
            on_switch=self.switches.append,
        )
        return Passthrough(
            StreamKey.of(self.urls[0]),
            self._open_root,
            self.provider.child,
            attempts=self.attempts,
            resources=self.resources,
            budget=self.budget,
            tally=self.tally,
            prefetch=False,
        )

    async def _resolve(self, question: AskResolver) -> str | None:
        assert self.answers is not None
        return self.answers.pop(0)

    def _open_root(self, settled: Settled | None) -> Source:
        return self.provider.child(*settled) if settled else self.provider(Ask(self.attempts.url, {}))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Passthrough]:
        """Alive from its first playlist on; nothing is left at the end."""
        source = self._make()
        task = asyncio.create_task(source.run(await self.attempts.next()))
        await settle()
        try:
            yield source
        finally:
            task.cancel()
            await asyncio.wait([task])
            assert (self.provider.open, self.budget.used) == (0, 0)

    def count(self, url: str) -> int:
        return self.provider.counts()[url]

    def told(self) -> list[tuple[str, str | None]]:
        return [(str(moment.what), moment.reason) for moment in self.history.moments()]


def urls(page: Page) -> list[str]:
    """Where what is listed is fetched, without the scheme."""
    found = [page.resources[reference] for reference in page.playlist.references]
    return [resource.url.removeprefix("http://") for resource in found if resource is not None]


def shown(page: Page) -> str:
    return page.render(lambda resource: resource.name)


def named(page: Page, number: int = 0) -> Resource:
    resource = page.resources[page.playlist.references[number]]
    assert resource is not None
    return resource


async def reason(source: Passthrough, name: str | None = None) -> str:
    with pytest.raises(ProxyError) as caught:
        await source.page(name)
    return caught.value.reason


async def fetched(source: Passthrough, resource: Resource) -> str:
    """How the fetch of a segment ended."""
    download = source.downloads.fetch(resource)
    try:
        await download.whole()
    except ProxyError as error:
        return error.reason
    finally:
        await until(lambda: not len(source.downloads))
    return "got"
