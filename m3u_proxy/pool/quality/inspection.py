"""Looks at what a live source gives, beside its delivery: no byte of a viewer's passes through here.

A poor source has not failed. It is left for another one only where that was asked for and another one can be
used; otherwise there is a warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from m3u_proxy.ffmpeg.process.run import Feed
from m3u_proxy.model import SilenceCheck
from m3u_proxy.pool.hls.passthrough import Passthrough
from m3u_proxy.pool.live.relay import Relay
from m3u_proxy.pool.quality.checks import BitrateCheck
from m3u_proxy.pool.quality.leaving import Leaving
from m3u_proxy.pool.quality.sound import Listen, Sound
from m3u_proxy.pool.quality.throughput import Throughput
from m3u_proxy.pool.sources.attempts import Attempts
from m3u_proxy.tasks import uncut

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two looks, thus the most by which a decision is late."""


@dataclass(frozen=True, slots=True)
class Inspections:
    """What is looked at, from the settings."""

    bitrate: BitrateCheck | None = None
    leave_slow: bool = False
    """Whether a source is left that gives much less than it used to."""
    listen: Listen | None = None


class Subject(Feed, Protocol):
    """A source with its audience."""

    def is_watched(self) -> bool:
        """Whether anybody watches now."""


class Inspection:
    """All checks of one live source. ``silence`` answers how its sound is checked now, if it is."""

    def __init__(
        self,
        source: Relay | Passthrough,
        subject: Subject,
        attempts: Attempts,
        inspections: Inspections,
        silence: Callable[[], SilenceCheck | None],
    ) -> None:
        self._attempts = attempts
        self._who = source.who
        leaving = Leaving(attempts, self._who)
        self._checks: list[Throughput | Sound] = []
        if isinstance(source, Relay):
            rate = Throughput(source, leaving, inspections.bitrate, leave_slow=inspections.leave_slow)
            self._checks.append(rate)
        if inspections.listen is not None:
            sound = Sound(
                source,
                subject,
                inspections.listen,
                lambda: silence() if subject.is_watched() else None,
                leaving,
                self._who,
            )
            self._checks.append(sound)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look now and then until the end of the context; nothing is left afterwards."""
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._keep(check), name="inspection") for check in self._checks]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await uncut(_ended(tasks))

    async def _keep(self, check: Throughput | Sound) -> None:
        try:
            while True:
                await asyncio.sleep(TICK)
                if not self._attempts.is_pending:
                    await check.look(monotonic())
        except Exception:
            log.exception("the inspection of a source crashed; the stream plays on", extra=self._who)
        finally:
            await check.aclose()


async def _ended(tasks: Collection[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)
