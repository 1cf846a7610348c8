"""Tells the outside what happens: every event to every webhook that wants it, each at its own pace."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from time import monotonic

from m3u_proxy.errors import NotFound, Unavailable
from m3u_proxy.events import Event, EventType
from m3u_proxy.observe.backlog import Letter
from m3u_proxy.observe.delivery import Hook, Post, Result
from m3u_proxy.observe.subscription import Subscription, key_of
from m3u_proxy.tasks import uncut

LIMIT = 32
"""Webhooks; each has a task and a queue."""
FLAT = ("playlist_uuid", "type", "id")
"""Metadata that editors look for beside the metadata."""


class Webhooks:
    """All webhooks, by what the spellings of their URL have in common. ``hear`` is a listener of the bus."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._hooks: dict[str, Hook] = {}
        self._open: Counter[str] = Counter()
        """By id of an event, how many webhooks have yet to get it."""
        self._deadline: float | None = None
        self.results: Counter[Result] = Counter()
        self.on_change: Callable[[str, Subscription | None], None] = lambda _, __: None
        """Told the key of what was registered, or of what was removed."""
        self.on_settled: Callable[[str], None] = lambda _: None
        """Told the id of an event about which nothing is left to do."""

    def __iter__(self) -> Iterator[Subscription]:
        return (hook.subscription for hook in self._hooks.values())

    def __len__(self) -> int:
        return len(self._hooks)

    @property
    def waiting(self) -> int:
        """Events that wait, each counted once for every webhook that has yet to get it."""
        return sum(hook.waiting for hook in self._hooks.values())

    @property
    def lost(self) -> int:
        """Events that a webhook never got."""
        return self.results[Result.FAILED] + self.results[Result.DROPPED]

    def register(self, subscription: Subscription) -> None:
        """Tell it of every later event; one of the same URL is replaced, and what waits for it stays."""
        key = subscription.key
        known = self._hooks.get(key)
        if known is not None:
            known.subscription = subscription
        elif len(self._hooks) >= LIMIT:
            raise Unavailable(f"Limit of {LIMIT} webhooks reached", reason="max_webhooks", retry_after=60.0)
        else:
            self._hooks[key] = Hook(subscription, self._post, self._ended)
        self.on_change(key, subscription)

    async def remove(self, url: str) -> None:
        """Forget a webhook and what waits for it; raises ``NotFound``."""
        key = key_of(url)
        hook = self._hooks.pop(key, None)
        if hook is None:
            raise NotFound("Webhook not found")
        self.on_change(key, None)
        await uncut(self._end(hook))

    async def _end(self, hook: Hook) -> None:
        for letter in await hook.aclose():
            self._ended(letter, Result.DROPPED)

    async def test(self, url: str) -> str:
        """Send one event now, beside what waits; its id. Raises ``NotFound``, or UpstreamError."""
        hook = self._hooks.get(key_of(url))
        if hook is None:
            raise NotFound("Webhook not found")
        event = Event(EventType.STREAM_STARTED, "test", {"test": True})
        await hook.send(letter_of(event))
        return event.id

    def hear(self, event: Event) -> None:
        """Queue an event for everybody who wants it."""
        wanted = [hook for hook in self._hooks.values() if event.type in hook.subscription.events]
        if not wanted:
            self.on_settled(event.id)
            return
        letter = letter_of(event)
        self._open[event.id] = len(wanted)
        for hook in wanted:
            hook.put(letter)

    def hurry(self, within: float) -> None:
        """The end is near: ``aclose`` waits for deliveries at most so many seconds from now."""
        self._deadline = monotonic() + within
        for hook in self._hooks.values():
            hook.hurry()

    async def aclose(self) -> None:
        """Deliver what still can be, then end every task. What is left is counted, but not settled."""
        hooks = list(self._hooks.values())
        if hooks and self._deadline is not None:
            idle = [asyncio.create_task(hook.idle(), name="webhook-idle") for hook in hooks]
            _, late = await asyncio.wait(idle, timeout=max(0.0, self._deadline - monotonic()))
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        for hook in hooks:
            self.results[Result.DROPPED] += len(await hook.aclose())

    def _ended(self, letter: Letter, result: Result) -> None:
        self.results[result] += 1
        self._open[letter.event_id] -= 1
        if self._open[letter.event_id] <= 0:
            del self._open[letter.event_id]
            self.on_settled(letter.event_id)


def letter_of(event: Event) -> Letter:
    """The body that is posted for an event."""
    metadata = event.data.get("metadata")
    metadata = dict(metadata) if isinstance(metadata, Mapping) else {}
    flat = {name: metadata[name] for name in FLAT if name in metadata}
    body = {
        "event_id": event.id,
        "event_type": event.type,
        "stream_id": event.stream_id,
        "timestamp": event.at.isoformat(timespec="microseconds"),
        "data": {**event.data, "metadata": metadata, **flat},
    }
    return Letter(event.id, event.type, json.dumps(body).encode())
