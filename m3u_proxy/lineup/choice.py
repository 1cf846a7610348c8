"""Which channels are wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from m3u_proxy.lineup.channel import Channel


@dataclass(frozen=True, slots=True)
class Choice:
    """By group and by a text; empty is any."""

    group: str = ""
    """One of the channel's groups, in any case; ``group-title`` may list several with ``;``."""
    search: str = ""
    """Somewhere in its name, its name in guides, or its key, in any case."""
    enabled_only: bool = False

    def fits(self, channel: Channel) -> bool:
        """Whether it is wanted."""
        if self.enabled_only and not channel.enabled:
            return False
        if self.group and not self._in_group(channel.group or ""):
            return False
        if not self.search:
            return True
        wanted = self.search.casefold()
        if wanted in channel.name.casefold() or wanted in channel.key:
            return True
        return wanted in (channel.tvg_name or "").casefold()

    def _in_group(self, groups: str) -> bool:
        wanted = self.group.strip().casefold()
        return any(one.strip().casefold() == wanted for one in (groups, *groups.split(";")))
