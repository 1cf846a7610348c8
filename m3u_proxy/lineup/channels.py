"""The lineup in force: channels by key, in their order. Synchronous; only imports need time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice

from m3u_proxy.errors import NoSuchChannel, Taken
from m3u_proxy.lineup.channel import Channel

NEAREST = 3
"""Names that are told with one that does not exist."""
CANDIDATES = 100
"""Keys that are compared with it."""

Changes = Mapping[str, Channel | None]
"""By key what is there now; ``None`` is gone."""


@dataclass(slots=True)
class Lineup:
    """Channels as one table, ready to be put in force; nobody changes it before."""

    channels: dict[str, Channel] = field(default_factory=dict)
    by_stream: dict[bytes, str] = field(default_factory=dict)
    """Key of the first channel with a stream id, of the enabled ones where there is one."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Of the lineup as a whole: ``url-tvg`` and the like."""

    def add(self, channel: Channel) -> None:
        """At the end, or in the place of the one with its key."""
        self.channels[channel.key] = channel
        at = bytes.fromhex(channel.stream_id)
        first = self.by_stream.setdefault(at, channel.key)
        if channel.enabled and not self.channels[first].enabled:
            self.by_stream[at] = channel.key


class Channels:
    """Every channel; idle ones are no streams and cost nothing but their place here."""

    def __init__(self) -> None:
        self._lineup = Lineup()
        self._snapshot: tuple[Channel, ...] | None = None
        self._listeners: list[Callable[[Changes], None]] = []
        self.version = 0
        """Changes with every change."""
        self.installs = 0
        """How often another table was put in force."""

    def __len__(self) -> int:
        return len(self._lineup.channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._lineup.channels.values())

    def __contains__(self, key: object) -> bool:
        return key in self._lineup.channels

    @property
    def snapshot(self) -> tuple[Channel, ...]:
        """All of them as they are now; one copy for everybody until something changes."""
        if self._snapshot is None:
            self._snapshot = tuple(self)
        return self._snapshot

    @property
    def lineup(self) -> Lineup:
        """The table in force; to be read only, and not kept over an ``await``."""
        return self._lineup

    @property
    def attributes(self) -> Mapping[str, str]:
        """Of the lineup as a whole, names in lower case: ``url-tvg`` and the like."""
        return self._lineup.attributes

    def subscribe(self, listener: Callable[[Changes], None]) -> None:
        """``listener`` is told of every change, after it was made and before anybody else runs."""
        self._listeners.append(listener)

    def get(self, key: str) -> Channel:
        """The channel of that key; raises ``NoSuchChannel`` with those that have a similar one."""
        channel = self._lineup.channels.get(key)
        if channel is None:
            raise NoSuchChannel(self.nearest(key))
        return channel

    def of_stream(self, stream_id: str) -> Channel | None:
        """The first channel whose stream has this id; one that is enabled before all others."""
        try:
            key = self._lineup.by_stream.get(bytes.fromhex(stream_id))
        except ValueError:
            return None
        return self._lineup.channels[key] if key is not None else None

    def nearest(self, key: str) -> list[str]:
        """Keys that somebody who wrote ``key`` may have meant, best first.

        Looked at are those that hold all of it, and those that begin or end with a half of it: where one
        thing is wrong, the other half is right.
        """
        wanted = "_".join(re.findall("[a-z0-9]+", key[:64].lower()))
        if not wanted:
            return []
        half = len(wanted) // 2
        keys = self._lineup.channels
        halves = (one for one in keys if one.startswith(wanted[: half + 1]) or one.endswith(wanted[half:]))
        similar = get_close_matches(wanted, list(islice(halves, CANDIDATES)), n=NEAREST, cutoff=0.5)
        whole = sorted(islice((one for one in keys if wanted in one), CANDIDATES), key=len)
        return list(dict.fromkeys([*whole, *similar]))[:NEAREST]

    def add(self, channel: Channel) -> None:
        """One more at the end; raises ``Taken`` if there is one with its key."""
        if channel.key in self._lineup.channels:
            raise Taken(f"There is a channel with the key '{channel.key}'")
        self.put(channel)

    def put(self, channel: Channel) -> None:
        """In the place of the one with its key, or at the end."""
        old = self._lineup.channels.get(channel.key)
        if old is not None and (old.url, old.enabled) != (channel.url, channel.enabled):
            self._forget_stream(old)
        self._lineup.add(channel)
        self._changed({channel.key: channel})

    def delete(self, key: str) -> Channel:
        """Take a channel out; raises ``NoSuchChannel``."""
        channel = self.get(key)
        self._forget_stream(channel)
        del self._lineup.channels[key]
        self._changed({key: None})
        return channel

    def install(self, lineup: Lineup, changes: Changes) -> Lineup:
        """Put another table in force, in one step; the old one, for its owner to take apart."""
        old, self._lineup = self._lineup, lineup
        self.installs += 1
        self._changed(changes)
        return old

    def _forget_stream(self, channel: Channel) -> None:
        """Its stream id stands for another channel with the same URL from now on, if there is one."""
        at = bytes.fromhex(channel.stream_id)
        if self._lineup.by_stream.get(at) != channel.key:
            return
        del self._lineup.by_stream[at]
        others = [one for one in self if one.url == channel.url and one.key != channel.key]
        if others:
            self._lineup.by_stream[at] = next((one for one in others if one.enabled), others[0]).key

    def _changed(self, changes: Changes) -> None:
        self.version += 1
        self._snapshot = None
        for listener in self._listeners:
            listener(changes)
