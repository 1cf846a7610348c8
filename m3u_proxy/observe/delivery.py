"""One webhook at work: what waits for it, and the one task that delivers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

from m3u_proxy.errors import UpstreamError
from m3u_proxy.events import EventType
from m3u_proxy.observe.backlog import Backlog, Letter
from m3u_proxy.observe.subscription import Subscription
from m3u_proxy.upstream.post import Answer
from m3u_proxy.upstream.url import parse

log = logging.getLogger(__name__)

USER_AGENT = "M3U-Proxy-Webhook/1.0"
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds between two attempts; doubled with each."""


class Post(Protocol):
    """Sends a body; raises UpstreamError when there is no answer."""

    async def __call__(
        self, url: str, content: bytes, headers: Mapping[str, str], *, patience: float
    ) -> Answer:
        """The answer, whatever its status."""


class Result(StrEnum):
    """How it ended for one event at one webhook; words of a metric label."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Every attempt was in vain."""
    DROPPED = "dropped"
    """Never sent: too many waited, or the end came first."""


class Hook:
    """Delivers to one webhook, one letter after the other, so that order is kept.

    ``on_end`` is told how it ended for each letter but those that wait when ``aclose`` comes.
    """

    def __init__(
        self, subscription: Subscription, post: Post, on_end: Callable[[Letter, Result], None]
    ) -> None:
        self.subscription = subscription
        """Replaced when it is registered again; applies from the next attempt on."""
        self._post = post
        self._on_end = on_end
        self._backlog = Backlog()
        self._current: Letter | None = None
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._is_failing = False
        name = f"webhook-{parse(subscription.url).host}"
        self._task = asyncio.get_running_loop().create_task(self._run(), name=name)

    @property
    def waiting(self) -> int:
        """Letters not yet delivered."""
        return len(self._backlog) + (self._current is not None)

    def put(self, letter: Letter) -> None:
        """Deliver it when its turn comes. Never blocks, never raises."""
        lost = self._backlog.put(letter)
        if lost is not None:
            self._on_end(lost, Result.DROPPED)
        self._idle.clear()
        self._news.set()

    def hurry(self) -> None:
        """The end is near: of what has been waiting, only what frees slots is still worth its time."""
        for letter in self._backlog.keep_only(EventType.STREAM_STOPPED):
            self._on_end(letter, Result.DROPPED)

    async def idle(self) -> None:
        """Wait until nothing waits."""
        await self._idle.wait()

    async def aclose(self) -> list[Letter]:
        """End the task, whatever it is doing; what was not delivered."""
        await asyncio.sleep(0)  # a task cancelled before its first step would never have run
        self._task.cancel()
        await asyncio.wait([self._task])
        left = [] if self._current is None else [self._current]
        while self._backlog:
            left.append(self._backlog.take())
        return left

    async def send(self, letter: Letter) -> None:
        """One attempt; raises UpstreamError unless it was taken. What the receiver says is not looked at."""
        wanted = self.subscription
        headers = {name: value for name, value in wanted.headers.items() if name.lower() != "content-type"}
        if not any(name.lower() == "user-agent" for name in headers):
            headers["User-Agent"] = USER_AGENT
        answer = await self._post(wanted.url, letter.content, headers, patience=wanted.timeout)
        if answer.status >= 400:
            reason = "http_5xx" if answer.status >= 500 else "http_4xx"
            detail = f"The receiver answered with HTTP status {answer.status}"
            raise UpstreamError(reason, detail, status=answer.status)

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            while self._backlog:
                self._current = letter = self._backlog.take()
                result = await self._deliver(letter)
                self._current = None
                self._on_end(letter, result)
            self._news.clear()
            self._idle.set()

    async def _deliver(self, letter: Letter) -> Result:
        pause, attempt = FIRST_PAUSE, 0
        while True:
            try:
                await self.send(letter)
            except UpstreamError as error:
                self._tell(error)
                if error.reason == "blocked" or attempt >= self.subscription.retry_attempts:
                    return Result.FAILED
            except Exception:
                log.exception("an event could not be sent")
                return Result.FAILED
            else:
                self._tell(None)
                return Result.DELIVERED
            await asyncio.sleep(pause)
            attempt, pause = attempt + 1, min(pause * 2, LONGEST_PAUSE)

    def _tell(self, error: UpstreamError | None) -> None:
        """One line when it stops working and one when it works again. Its path may be a secret."""
        where = parse(self.subscription.url).url.origin()
        if error is not None and not self._is_failing:
            log.warning("webhook at %s does not take events: %s", where, error.detail)
        elif error is None and self._is_failing:
            log.info("webhook at %s takes events again", where)
        self._is_failing = error is not None
