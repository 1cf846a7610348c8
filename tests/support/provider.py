"""A provider that is played by hand: what each address answers, what was asked, and what is open still."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from multidict import CIMultiDict

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.ask import Ask
from m3u_proxy.upstream.policy import AddressClass
from m3u_proxy.upstream.source import Head

HOST = "http://provider.example"
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"


def open_event() -> asyncio.Event:
    """One that keeps nobody waiting."""
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Reply:
    """One answer. Clear ``may_begin`` or ``may_end``, and it hangs before its head or after its pieces."""

    pieces: tuple[bytes, ...] = ()
    status: int = 200
    content_type: str = "video/mp2t"
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    """Where redirects led, if they did."""
    address_class: AddressClass = AddressClass.PUBLIC
    refusal: UpstreamError | None = None
    ending: str = "eof"
    may_begin: asyncio.Event = field(default_factory=open_event)
    may_end: asyncio.Event = field(default_factory=open_event)

    def held(self) -> Reply:
        """The same, hanging before its head."""
        self.may_begin.clear()
        return self

    def endless(self) -> Reply:
        """The same, hanging after its pieces."""
        self.may_end.clear()
        return self


def refusal(reason: str = "http_5xx", *, retry_after: float | None = None) -> Reply:
    """An answer that is none."""
    return Reply(refusal=UpstreamError(reason, f"refused: {reason}", retry_after=retry_after))


def text(body: str | bytes, **fields: str) -> Reply:
    """A playlist; ``fields`` are header fields, with an underscore for each hyphen."""
    data = body.encode() if isinstance(body, str) else body
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Reply((data,), content_type=PLAYLIST_TYPE, headers=headers)


def media(first: int = 0, count: int = 3, *, target: int = 4, end: bool = False, more: str = "") -> str:
    """A media playlist with ``count`` segments from ``first`` on."""
    lines = [f"#EXTM3U\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{first}\n{more}"]
    lines += [f"#EXTINF:{target},\ns{number}.ts\n" for number in range(first, first + count)]
    return "".join(lines) + ("#EXT-X-ENDLIST\n" if end else "")


class Provider:
    """All answers by URL, one each; the last one stays. Nobody answers elsewhere: http_404."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.asks: list[Ask] = []
        self.open = 0
        self.most_open = 0
        self.made = 0

    def on(self, path: str, *replies: Reply) -> None:
        """What ``path``, or another host's URL, answers from now on."""
        self.replies[path if "://" in path else HOST + path] = list(replies)

    def count(self, path: str) -> int:
        """How often it was asked for."""
        return self.counts()[HOST + path]

    def counts(self) -> Counter[str]:
        """How often each URL was asked for."""
        return Counter(ask.url for ask in self.asks)

    def __call__(self, ask: Ask) -> HandMade:
        self.made += 1
        return HandMade(self, ask)

    def root(self, path: str = "/live.m3u8", **headers: str) -> Callable[[], HandMade]:
        """Opens what an operator named."""
        return lambda: self(Ask(HOST + path, headers))

    def child(self, url: str, named_by: AddressClass, part: tuple[int, int] | None = None) -> HandMade:
        """Opens what a playlist named: see `OpenChild`."""
        return self(Ask(HOST + "/", {}).child(url, named_by, part))

    def next(self, url: str) -> Reply:
        """Takes the next answer."""
        replies = self.replies.get(url) or [refusal("http_404")]
        return replies.pop(0) if len(replies) > 1 else replies[0]


class HandMade:
    """A `Source` of a provider."""

    def __init__(self, provider: Provider, ask: Ask) -> None:
        self._provider = provider
        self._ask = ask
        self._reply = Reply()
        self._unread: list[bytes] = []
        self._is_open = False

    async def open(self) -> Head:
        assert not self._is_open
        provider = self._provider
        provider.asks.append(self._ask)
        self._reply = provider.next(self._ask.url)
        self._unread = list(self._reply.pieces)
        self._is_open = True
        provider.open += 1
        provider.most_open = max(provider.most_open, provider.open)
        reply = self._reply
        await reply.may_begin.wait()
        if reply.refusal is not None:
            raise reply.refusal.again()
        headers = CIMultiDict(reply.headers)
        return Head(
            reply.status, reply.content_type, reply.url or self._ask.url, headers, reply.address_class
        )

    async def read(self) -> bytes:
        assert self._is_open
        if self._unread:
            await asyncio.sleep(0)
            return self._unread.pop(0)
        await self._reply.may_end.wait()
        raise UpstreamError(self._reply.ending, f"ended: {self._reply.ending}")

    async def aclose(self) -> None:
        if self._is_open:
            await asyncio.sleep(0)  # closing takes a moment, and is not to be cut short
            self._is_open = False
            self._provider.open -= 1


async def cancelled(task: asyncio.Task[object]) -> None:
    """End a task."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
