"""Imports: bytes that arrive in pieces become the lineup in force, in one step or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from m3u_proxy.errors import BadLineup, InvalidField, Unavailable
from m3u_proxy.lineup.breath import Breath
from m3u_proxy.lineup.channels import Channels, Lineup
from m3u_proxy.lineup.plan import Fold, Gathered, Mode, make_plan
from m3u_proxy.media.lineup.reader import NotALineup, Reader, Skipped
from m3u_proxy.upstream.url import MAX_URL, parse

LINEUP_BYTES = 128 * 2**20
"""Bytes of one lineup."""
TRIES = 3
"""Plans that are made when channels are edited meanwhile."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import has done."""

    imported: int
    """Channels that the lineup has."""
    updated: int
    """Of them, those that were there before and are others now."""
    removed: int
    skipped: tuple[Skipped, ...]
    """Lines that made no entry, the first of them."""
    skips: int
    """How many there were."""


class Addresses:
    """Which addresses of a lineup can be asked at all; what they have in common is looked at once."""

    def __init__(self) -> None:
        self._known: dict[str, str | None] = {}
        """By scheme and authority why not."""

    def refusal(self, url: str) -> str | None:
        """Why nobody can be asked there; ``None`` where somebody can."""
        if len(url) > MAX_URL:
            return _refusal(url)
        end = url.find("/", url.find("://") + 3)
        place = url if end < 0 else url[:end]
        if place not in self._known:
            self._known[place] = _refusal(place)
        return self._known[place]


def _refusal(url: str) -> str | None:
    try:
        parse(url)
    except InvalidField as error:
        return error.detail
    return None


class Importer:
    """Takes lineups, one after the other."""

    def __init__(self, channels: Channels, *, fold: Fold = Fold.OFF) -> None:
        self._channels = channels
        self._fold = fold
        self._busy = asyncio.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether an import is at work."""
        return self._busy.locked()

    async def take(self, pieces: AsyncGenerator[bytes], mode: Mode) -> ImportReport:
        """Read a lineup and put it in force.

        Raises ``BadLineup`` where it is none, with the line that shows it, and whatever ``pieces`` raises;
        the lineup in force is then what it was.
        """
        async with self._busy, aclosing(pieces):
            reader, gathered = await self._gather(pieces)
            if not gathered.entries:
                raise _of_no_use(reader)
            return await self._install(reader, gathered, mode)

    async def _gather(self, pieces: AsyncGenerator[bytes]) -> tuple[Reader, Gathered]:
        reader, gathered, breath = Reader(Addresses().refusal), Gathered(self._fold), Breath()
        try:
            async for piece in pieces:
                for entry in reader.feed(piece):
                    gathered.add(entry)
                    if breath.is_due:
                        await breath.take()
            for entry in reader.finish():
                gathered.add(entry)
        except NotALineup as error:
            raise BadLineup(f"{error} (line {error.line})") from None
        gathered.attributes = reader.attributes
        return reader, gathered

    async def _install(self, reader: Reader, gathered: Gathered, mode: Mode) -> ImportReport:
        for _ in range(TRIES):
            version = self._channels.version
            plan = await make_plan(self._channels.lineup, gathered, mode)
            if version == self._channels.version:
                break
        else:
            raise Unavailable("Channels are edited all the time", reason="lineup_busy")
        old = self._channels.install(plan.lineup, plan.changes)
        report = ImportReport(
            imported=len(gathered.entries),
            updated=plan.updated,
            removed=plan.removed,
            skipped=tuple(reader.skipped),
            skips=reader.skips,
        )
        del plan
        await _take_apart(old, gathered)
        return report


async def _take_apart(old: Lineup, gathered: Gathered) -> None:
    """Let go of what is not needed any more: as a whole it would hold up the loop."""
    breath = Breath()
    while gathered.entries:
        gathered.entries.pop()
        if breath.is_due:
            await breath.take()
    while old.channels:
        old.channels.popitem()
        if breath.is_due:
            await breath.take()


def _of_no_use(reader: Reader) -> BadLineup:
    if not reader.skipped:
        return BadLineup("There is no channel in it")
    first = reader.skipped[0]
    return BadLineup(f"No channel in it can be used; line {first.line}: {first.reason}")
