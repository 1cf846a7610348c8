"""Prometheus: integers kept elsewhere, read when somebody scrapes.

No label holds a URL, an address, an id of a stream or client, or anything else that comes from outside.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from m3u_proxy.observe.families import PREFIX
from m3u_proxy.observe.figures import Figures
from m3u_proxy.observe.scrape import Scrape

_FIRST_BYTE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Metrics:
    """The registry of the process, and the two histograms that are fed as things happen."""

    def __init__(self, figures: Figures) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, of no use here
        self._registry = CollectorRegistry()
        self._registry.register(Scrape(figures))
        self.first_byte = Histogram(
            PREFIX + "time_to_first_byte_seconds",
            "From a joiner's request to its first byte",
            ["kind", "start"],
            buckets=_FIRST_BYTE,
            registry=self._registry,
        )
        self.loop_lag = Histogram(
            PREFIX + "loop_lag_seconds",
            "How late the event loop ran a timer",
            buckets=_LAG,
            registry=self._registry,
        )

    def note_first_byte(self, kind: str, warm: bool, seconds: float) -> None:
        """A joiner was served."""
        self.first_byte.labels(kind, "warm" if warm else "cold").observe(seconds)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """Body and content type for an Accept header."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type
