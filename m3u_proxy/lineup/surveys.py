"""Surveys of the lineup: one at a time, their results to be read for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from m3u_proxy.errors import NotFound, Taken
from m3u_proxy.lineup.breath import Breath
from m3u_proxy.lineup.channel import Channel
from m3u_proxy.lineup.channels import Channels
from m3u_proxy.lineup.choice import Choice
from m3u_proxy.lineup.survey import Survey

log = logging.getLogger(__name__)

KEPT = 3600.0
"""Seconds for which the results of one that has ended can be read."""
NAME = 200
"""Characters of a group's name that are told."""
REMEMBERED = 4
"""So many that have ended; the oldest is forgotten first."""


class Surveys:
    """Starts, shows and ends them. ``make`` puts one together for some channels."""

    def __init__(self, channels: Channels, make: Callable[[Sequence[Channel]], Survey]) -> None:
        self._channels = channels
        self._make = make
        self._known: dict[str, Survey] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """Of those that have ended: when they are forgotten."""
        self._running: Survey | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, keys: Sequence[str] | None = None, group: str | None = None) -> Survey:
        """Begin to check channels: those of that keys, of that group, or all that are enabled.

        Raises ``NoSuchChannel`` for a key that is none, ``NotFound`` for a group that is none, and ``Taken``
        while another survey is under way.
        """
        self._check_free()
        named = self._channels.snapshot
        if keys is not None:
            named = tuple(self._channels.get(key) for key in dict.fromkeys(keys))
        choice, breath = Choice(group or "", enabled_only=keys is None), Breath()
        chosen = []
        for channel in named:
            if choice.fits(channel):
                chosen.append(channel)
            if breath.is_due:
                await breath.take()
        if group and not chosen:
            raise NotFound(f"No channel is in the group '{group[:NAME]}'")
        self._check_free()
        survey = self._running = self._make(chosen)
        self._known[survey.id] = survey
        self._task = asyncio.create_task(self._live(survey), name=f"survey-{survey.id}")
        return survey

    def _check_free(self) -> None:
        if self._running is not None:
            raise Taken(f"A check is under way already: {self._running.id}")

    async def _live(self, survey: Survey) -> None:
        try:
            await survey.run()
        except Exception:
            log.exception("survey %s crashed", survey.id)
            self._forget(survey.id)  # whoever waits for the rest of it is told
        finally:
            self._running = None
            self._keep(survey)

    def _keep(self, survey: Survey) -> None:
        if survey.id in self._known:
            loop = asyncio.get_running_loop()
            self._timers[survey.id] = loop.call_later(KEPT, self._forget, survey.id)
            for old in list(self._timers)[:-REMEMBERED]:
                self._forget(old)

    def _forget(self, survey_id: str) -> None:
        self._known.pop(survey_id, None)
        timer = self._timers.pop(survey_id, None)
        if timer is not None:
            timer.cancel()

    def get(self, survey_id: str) -> Survey:
        """The survey of that id; raises ``NotFound``."""
        try:
            return self._known[survey_id]
        except KeyError:
            raise NotFound("No such check") from None

    async def cancel(self, survey_id: str) -> None:
        """End a survey, and forget it; nothing of it goes on. Raises ``NotFound``."""
        survey = self.get(survey_id)
        self._forget(survey_id)
        if survey is self._running:
            await self._end()

    async def _end(self) -> None:
        task = self._task
        if task is not None and not task.done():
            await asyncio.sleep(0)  # a task cancelled before its first step would skip its own clean-up
            task.cancel()
            await asyncio.wait([task])

    async def aclose(self) -> None:
        """End what is under way and forget everything."""
        await self._end()
        for survey_id in list(self._known):
            self._forget(survey_id)
