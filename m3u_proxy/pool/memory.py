"""What is remembered of a running thing after it has ended, for its successor. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from m3u_proxy.media.timeline import Mark
from m3u_proxy.model import Kind, StreamKey
from m3u_proxy.pool.hls.resources import Resources
from m3u_proxy.pool.sources.history import History
from m3u_proxy.pool.vod.about import About

LIMIT = 5000
"""Things that are remembered; those used longest ago are forgotten first."""
ADDRESSES = 300_000
"""Addresses that playlists have named, over all of them: some 100 MB."""


@dataclass(slots=True)
class Trace:
    """Of one key."""

    kind: Kind | None = None
    """What its source turned out to yield."""
    about: About | None = None
    """Of a file."""
    resources: Resources | None = None
    """What its playlists named: a player may come back to a film after a pause."""
    history: History = field(default_factory=History)
    """What happened to its source."""
    mark: Mark | None = None
    """Where its own playlist has to go on: a media sequence never goes back."""


class Memory:
    """Traces by key. ``secret`` keys the names that resources are given."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._traces: dict[StreamKey, Trace] = {}

    def get(self, key: StreamKey) -> Trace | None:
        """What is remembered, if anything."""
        return self._traces.get(key)

    def of(self, key: StreamKey) -> Trace:
        """The trace to write to; it is now the one used last."""
        trace = self._traces.pop(key, None) or Trace()
        self._traces[key] = trace
        if len(self._traces) > LIMIT:
            del self._traces[next(iter(self._traces))]
        return trace

    def resources(self, key: StreamKey) -> Resources:
        """Names for what the playlists of that key list, kept from an earlier run if there was one."""
        trace = self.of(key)
        if trace.resources is None:
            trace.resources = Resources(self._secret)
            self._make_room()
        return trace.resources

    def _make_room(self) -> None:
        """Let go of addresses, but not of those of the thing used last."""
        held = [(trace, trace.resources) for trace in self._traces.values() if trace.resources is not None]
        total = sum(len(resources) for _, resources in held)
        for trace, resources in held[:-1]:
            if total <= ADDRESSES:
                return
            total -= len(resources)
            trace.resources = None

    def forget(self, key: StreamKey) -> None:
        """As if it had never run. Idempotent."""
        self._traces.pop(key, None)
