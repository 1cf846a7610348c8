"""Every channel tried once, a few at a time, for whoever wants to know which of them can be played."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from time import monotonic

from m3u_proxy.errors import ProxyError
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.model import Kind, Stream, guess_kind
from m3u_proxy.pool.accounts import Accounts
from m3u_proxy.pool.checkup import AT_ONCE, Checkup, Finding
from m3u_proxy.upstream.pacing import Account

LOOK = 0.1
"""Seconds between two looks whether a viewer waits for the connection that a check has."""
CROWDED = 30.0
"""Seconds for which a full account is waited for; then its channels are told to be out of reach."""
BREATH = 500
"""Channels that are sorted by account at a time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has been found out about one channel."""

    key: str
    kind: Kind
    reason: str | None = None
    """Why it cannot be played; ``None`` if it can."""
    codecs: tuple[str, ...] = ()
    bitrate: int = 0
    """Bits per second; 0 if not known."""
    first_byte_ms: int | None = None


class Survey:
    """One look at some channels; ``results`` come in the order in which they are found.

    An account has as many checks at a time as it allows connections, and one where nothing is known of it.
    Only connections that nobody holds are used, and a viewer who needs one gets it from a check, which is
    then made again. A channel that is watched is checked where it is open.
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        define: Callable[[Channel], Stream],
        checkup: Checkup,
        accounts: Accounts,
    ) -> None:
        self.id = token_hex(8)
        self.total = len(channels)
        self.results: list[Verdict] = []
        self._channels = channels
        self._define = define
        self._checkup = checkup
        self._accounts = accounts
        self._queues: dict[Account, deque[Channel]] = {}
        """What is still to be checked."""
        self._busy: Counter[Account] = Counter()
        self._full_since: dict[Account, float] = {}
        """Accounts that had no free connection when they were looked at last."""

    async def run(self) -> None:
        """Check them all; cancelled, nothing of it goes on."""
        await self._sort()
        running: dict[asyncio.Task[Verdict | None], tuple[Account, Channel]] = {}
        try:
            while self._queues or running:
                while len(running) < AT_ONCE and (found := self._next()) is not None:
                    running[asyncio.create_task(self._check(*found), name="survey-check")] = found
                if running:
                    await asyncio.wait(running, timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
                else:
                    await asyncio.sleep(LOOK)
                for task in [one for one in running if one.done()]:
                    self._take(task.result(), *running.pop(task))
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)

    async def _sort(self) -> None:
        for at, channel in enumerate(self._channels):
            account = self._accounts.account(channel.url)
            self._queues.setdefault(account, deque()).append(channel)
            if at % BREATH == 0:
                await asyncio.sleep(0)
        self._channels = ()

    def _next(self) -> tuple[Account, Channel] | None:
        """The next channel whose account has room, which is taken."""
        for account, queue in self._queues.items():
            if self._has_room(account, queue[0]):
                channel = queue.popleft()
                if not queue:
                    del self._queues[account]
                self._busy[account] += 1
                return account, channel
        return None

    def _has_room(self, account: Account, channel: Channel) -> bool:
        allowed = self._accounts.allowance(channel.url)
        if self._busy[account] >= (allowed.limit or 1):
            return False
        if allowed.limit is None or allowed.held < allowed.limit:
            self._full_since.pop(account, None)
            return True
        since = self._full_since.setdefault(account, monotonic())
        return monotonic() - since >= CROWDED or self._is_open(channel)

    def _is_open(self, channel: Channel) -> bool:
        try:
            return self._checkup.is_open(self._define(channel))
        except ProxyError:
            return True  # nobody will be asked

    async def _check(self, account: Account, channel: Channel) -> Verdict | None:
        """What is found; ``None`` if somebody else needs the connection."""
        try:
            stream = self._define(channel)
        except ProxyError as error:
            return Verdict(channel.key, guess_kind(channel.url), error.reason)
        task = asyncio.create_task(self._checkup.check(stream), name="checkup")
        try:
            while True:
                await asyncio.wait([task], timeout=LOOK)
                if task.done():
                    return _verdict(channel, task.result())
                if account not in self._full_since and self._accounts.is_wanted(account):
                    return None
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _take(self, verdict: Verdict | None, account: Account, channel: Channel) -> None:
        self._busy[account] -= 1
        if not self._busy[account]:
            del self._busy[account]
        if verdict is None:
            self._queues.setdefault(account, deque()).appendleft(channel)
        else:
            self.results.append(verdict)


def _verdict(channel: Channel, found: Finding) -> Verdict:
    wait = found.first_byte
    return Verdict(
        channel.key,
        found.kind,
        found.reason,
        tuple(track.codec for track in found.tracks),
        round(found.bitrate),
        None if wait is None else round(wait * 1000),
    )
