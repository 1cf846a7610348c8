"""A channel of the lineup, and as a row of the registry. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from m3u_proxy.model import plain_id


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel. There may be 100,000: what is a mapping is kept flat, as names and values in turn."""

    key: str
    """Its place in paths: lower-case ASCII, digits and ``_``."""
    name: str
    url: str
    failover_urls: tuple[str, ...] = ()
    """Other sources of the same, taken in this order when one fails."""
    flat_attributes: tuple[str, ...] = ()
    """Of its ``#EXTINF``, names in lower case."""
    flat_headers: tuple[str, ...] = ()
    """For its source, over the usual ones."""
    enabled: bool = True
    """Whether it is in the lineups that are given out, and can be opened."""
    by_hand: bool = False
    """Made over the API: reading CHANNELS_M3U again does not remove it."""

    @property
    def attributes(self) -> dict[str, str]:
        """Of its ``#EXTINF``, by name."""
        return _mapping(self.flat_attributes)

    @property
    def headers(self) -> dict[str, str]:
        """For its source, by name."""
        return _mapping(self.flat_headers)

    @property
    def stream_id(self) -> str:
        """Id of its stream, the same as ``POST /streams`` gives for its URL."""
        return plain_id(self.url)

    @property
    def tvg_id(self) -> str | None:
        """By which guides know it."""
        return self._get("tvg-id")

    @property
    def tvg_name(self) -> str | None:
        """How guides call it."""
        return self._get("tvg-name")

    @property
    def logo(self) -> str | None:
        """Address of its picture."""
        return self._get("tvg-logo")

    @property
    def group(self) -> str | None:
        """Where players list it."""
        return self._get("group-title")

    @property
    def number(self) -> int | float | None:
        """Its place on a remote control: ``7``, or ``7.1`` for a subchannel."""
        text = self._get("tvg-chno") or ""
        whole, dot, part = text.partition(".")
        if not (whole.isdecimal() and whole.isascii() and len(text) <= 12):
            return None
        if not dot:
            return int(whole)
        return float(text) if part.isdecimal() and part.isascii() else None

    def _get(self, name: str) -> str | None:
        flat = self.flat_attributes
        return next((flat[at + 1] or None for at in range(0, len(flat), 2) if flat[at] == name), None)


def flat(mapping: Mapping[str, str]) -> tuple[str, ...]:
    """Names and values in turn."""
    return tuple(text for pair in mapping.items() for text in pair)


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(pairs[::2], pairs[1::2], strict=True))


def row_of(channel: Channel) -> dict[str, object]:
    """What the registry keeps of it, without its key."""
    row: dict[str, object] = {"name": channel.name, "url": channel.url}
    if channel.failover_urls:
        row["failover_urls"] = channel.failover_urls
    if channel.flat_attributes:
        row["attributes"] = channel.flat_attributes
    if channel.flat_headers:
        row["headers"] = channel.flat_headers
    if not channel.enabled:
        row["enabled"] = False
    if channel.by_hand:
        row["by_hand"] = True
    return row


def channel_of(key: str, row: Mapping[str, object]) -> Channel:
    """The channel that ``row`` holds; ValueError where it holds none."""
    name, url = row.get("name"), row.get("url")
    if not isinstance(name, str) or not isinstance(url, str):
        raise ValueError("the row is no channel")
    attributes, headers = _texts(row.get("attributes")), _texts(row.get("headers"))
    if len(attributes) % 2 or len(headers) % 2:
        raise ValueError("a name without a value")
    return Channel(
        key=key,
        name=name,
        url=url,
        failover_urls=_texts(row.get("failover_urls")),
        flat_attributes=attributes,
        flat_headers=headers,
        enabled=row.get("enabled") is not False,
        by_hand=row.get("by_hand") is True,
    )


def _texts(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("no list of texts")
    return tuple(value)
