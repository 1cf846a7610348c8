"""The lineup over a restart: rows of the registry, and back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from m3u_proxy.lineup import channel
from m3u_proxy.lineup.channels import Changes, Channels, Lineup

WHOLE = ""
"""Key of the row about the lineup as a whole; no channel has it."""

Row = Mapping[str, object]
Noted = channel.Channel | Row | None
"""What a row is made of; ``None`` for one that is to go."""


class Rows:
    """What of a change is to be written."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._installs = channels.installs

    def of(self, changes: Changes) -> Mapping[str, Noted]:
        """By key what `row_of` makes a row of.

        Rows keep the order in which they were written first; after another table was put in force its order
        is written too.
        """
        if self._installs == self._channels.installs:
            return changes
        self._installs = self._channels.installs
        order = list(self._channels.lineup.channels)
        whole = {"attributes": dict(self._channels.attributes), "order": order}
        return {**changes, WHOLE: whole}


def row_of(noted: Noted) -> Row | None:
    """The row of a channel; ``None`` of one that is gone."""
    return channel.row_of(noted) if isinstance(noted, channel.Channel) else noted


def lineup_of(rows: Iterable[tuple[str, Row]]) -> tuple[Lineup, list[str]]:
    """The lineup that was written, and the keys of rows that hold no channel."""
    by_key = dict(rows)
    whole = by_key.pop(WHOLE, {})
    attributes, order = whole.get("attributes"), whole.get("order")
    lineup, unreadable = Lineup(), []
    if isinstance(attributes, Mapping):
        lineup.attributes = {str(name): str(value) for name, value in attributes.items()}
    first = [key for key in order if key in by_key] if isinstance(order, list) else []
    for key in dict.fromkeys([*first, *by_key]):
        try:
            lineup.add(channel.channel_of(key, by_key[key]))
        except ValueError:
            unreadable.append(key)
    return lineup, unreadable
