"""From the entries of a lineup to the table that is to be in force: which entry is which channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from m3u_proxy.lineup.breath import Breath
from m3u_proxy.lineup.channel import Channel, flat
from m3u_proxy.lineup.channels import Lineup
from m3u_proxy.media.lineup.reader import Entry
from m3u_proxy.media.lineup.writer import Keys

FAILOVERS = 64
"""Further sources of one channel."""


class Mode(StrEnum):
    """What becomes of channels that the lineup does not have."""

    REPLACE = "replace"
    """They go."""
    MERGE = "merge"
    """They stay."""
    RELOAD = "reload"
    """They go, but for those made by hand."""


class Fold(StrEnum):
    """Which entries are sources of one channel."""

    OFF = "off"
    NAME = "name"
    TVG_ID = "tvg_id"

    def of(self, entry: Entry) -> str:
        """What entries of one channel have in common; empty where that is nothing."""
        if self is Fold.NAME:
            return entry.name.casefold()
        return entry.attributes.get("tvg-id", "").casefold() if self is Fold.TVG_ID else ""


@dataclass(slots=True)
class Gathered:
    """The entries of a lineup, those of one channel folded."""

    fold: Fold = Fold.OFF
    entries: list[Entry] = field(default_factory=list)
    failovers: dict[int, list[str]] = field(default_factory=dict)
    """Further sources by the place of their entry."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """One more entry, or one more source of an earlier one."""
        same = self.fold.of(entry)
        place = self._places.setdefault(same, len(self.entries)) if same else len(self.entries)
        if place == len(self.entries):
            self.entries.append(entry)
            return
        urls = self.failovers.setdefault(place, [])
        if entry.url != self.entries[place].url and entry.url not in urls and len(urls) < FAILOVERS:
            urls.append(entry.url)


@dataclass(slots=True)
class Plan:
    """What an import will change."""

    lineup: Lineup
    changes: dict[str, Channel | None] = field(default_factory=dict)
    updated: int = 0
    """Channels that were there and are others now."""
    removed: int = 0


async def make_plan(old: Lineup, gathered: Gathered, mode: Mode) -> Plan:
    """The table after the import. ``old`` is not changed, and must not be meanwhile.

    A channel keeps its key while its name and URL are the same, wherever it stands; of the others the first
    one with a name gets the key of that name.
    """
    keys = await _keys(old, gathered.entries, mode)
    plan = Plan(Lineup(attributes=gathered.attributes))
    breath = Breath()
    made: dict[str, Channel] = {}
    for place, entry in enumerate(gathered.entries):
        key = keys[place]
        made[key] = _channel(key, entry, gathered.failovers.get(place, ()), old.channels.get(key))
        if breath.is_due:
            await breath.take()
    if mode is Mode.MERGE:
        plan.lineup.attributes = dict(old.attributes) | dict(gathered.attributes)
        for channel in list(old.channels.values()):
            plan.lineup.add(made.get(channel.key, channel))
            if breath.is_due:
                await breath.take()
    for channel in made.values():
        if channel.key not in plan.lineup.channels:
            plan.lineup.add(channel)
        if breath.is_due:
            await breath.take()
    await _compare(old, plan, mode)
    return plan


async def _keys(old: Lineup, entries: Sequence[Entry], mode: Mode) -> list[str]:
    """A key for each entry."""
    breath = Breath()
    known: dict[tuple[str, str], str] = {}
    keys = Keys()
    for channel in list(old.channels.values()):
        known.setdefault((channel.name, channel.url), channel.key)
        if breath.is_due:
            await breath.take()
    found = ["" for _ in entries]
    for place, entry in enumerate(entries):
        found[place] = known.pop((entry.name, entry.url), "")
        if found[place]:
            keys.hold(found[place])
        if breath.is_due:
            await breath.take()
    if mode is Mode.RELOAD:
        for channel in list(old.channels.values()):
            if channel.by_hand:
                keys.hold(channel.key)
    for place, entry in enumerate(entries):
        found[place] = found[place] or keys.take(entry.name)
        if breath.is_due:
            await breath.take()
    return found


def _channel(key: str, entry: Entry, failovers: Sequence[str], old: Channel | None) -> Channel:
    channel = Channel(
        key=key,
        name=entry.name,
        url=entry.url,
        failover_urls=tuple(failovers),
        flat_attributes=flat(entry.attributes),
        flat_headers=flat(entry.headers),
        enabled=old.enabled if old else True,
        by_hand=old.by_hand if old else False,
    )
    return old if old == channel else channel


async def _compare(old: Lineup, plan: Plan, mode: Mode) -> None:
    """What is gone, new or different; what must stay is put back."""
    breath = Breath()
    channels = plan.lineup.channels
    for channel in list(old.channels.values()):
        if channel.key not in channels:
            if mode is Mode.RELOAD and channel.by_hand:
                plan.lineup.add(channel)
            else:
                plan.changes[channel.key] = None
                plan.removed += 1
        if breath.is_due:
            await breath.take()
    for key, now in channels.items():
        before = old.channels.get(key)
        if before is not now:
            plan.changes[key] = now
            plan.updated += before is not None
        if breath.is_due:
            await breath.take()
