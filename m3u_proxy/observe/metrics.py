"""Prometheus: integers kept elsewhere, read when somebody scrapes.

No label holds a URL, an address, an id of a stream or client, or anything else that comes from outside.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from m3u_proxy.ffmpeg.run import Ledger
from m3u_proxy.model import Kind, State
from m3u_proxy.observe.delivery import Result
from m3u_proxy.observe.webhooks import Webhooks
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.hls.segments import SegmentCache
from m3u_proxy.storage.disk import Guard

PREFIX = "m3u_proxy_"
IDLE = "idle"
"""State of a listed stream behind which nothing runs."""
_FIRST_BYTE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LAG = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


@dataclass
class Housekeeping:
    """What collection and recovery of directories have done so far."""

    collected: Counter[str]
    """Directories the collector removed or skipped, by result."""
    recovered: int = 0


@dataclass(frozen=True)
class Sources:
    """Where the numbers are kept."""

    audience: Audience
    ledger: Ledger
    segments: SegmentCache
    webhooks: Webhooks
    disk: Guard
    housekeeping: Housekeeping
    crashes: Counter[str]
    """Of background tasks, by task."""
    auth_failures: Counter[str]
    log_dropped: Callable[[], int]
    version: str


class Metrics:
    """The registry of the process, and the two histograms that are fed as things happen."""

    def __init__(self, sources: Sources) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Snapshot(sources))
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


class _Snapshot(Collector):
    """Reads everything at one moment."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        yield from self._pool()
        yield from self._ffmpeg()
        yield from self._house()

    def _pool(self) -> Iterator[Metric]:
        audience = self._sources.audience
        runs = audience.pool.running()
        states: Counter[tuple[str, str]] = Counter((run.state, run.kind) for run in runs)
        for stream in (listed.stream for listed in audience.catalog.listed()):
            if audience.pool.find(stream) is None:
                state = State.FAILED if audience.pool.refusal(stream) else IDLE
                states[state, audience.pool.kind(stream)] += 1
        streams = GaugeMetricFamily(
            PREFIX + "streams", "What runs, and what is listed", labels=["state", "kind"]
        )
        for (state, kind), count in sorted(states.items()):
            streams.add_metric([state, kind], count)
        yield streams
        yield _gauge("stream_definitions", "Streams that can be opened", len(audience.catalog))
        viewers: Counter[str] = Counter()
        sent = Counter(audience.tally.bytes_out)
        for viewer in audience.viewers:
            record = audience.catalog.get(viewer.client.stream_id)
            if record is not None:
                kind = audience.pool.kind(record.stream)
                viewers[kind] += 1
                sent[kind] += viewer.bytes_served
        yield _gauges("viewers", "Connected viewers", "kind", {kind: viewers[kind] for kind in Kind})
        connected = sum(run.upstream_connections for run in runs if not run.kind.is_transcoded)
        yield _gauge("upstream_connections", "Open connections to providers", connected)
        tally = audience.tally
        yield _counters("upstream_bytes", "Bytes received from sources", "kind", _received(tally.bytes_in))
        yield _counters("sent_bytes", "Bytes handed to viewers", "kind", _kinds(sent))
        yield _counters("upstream_errors", "Failed attempts at sources", "reason", tally.upstream_errors)
        yield _counters("hls_fetches", "Asked of HLS sources", "what", tally.fetches)
        yield _counter("hls_hits", "Requests for a segment answered from memory", tally.segment_hits)
        yield _counter(
            "playlist_lines_dropped", "Lines left out that could carry an address", tally.dropped_lines
        )
        yield _counters("failovers", "Other sources that took over", "reason", tally.failovers)
        yield _counter("reconnects", "Sources opened again after a loss", tally.reconnects)
        yield _counter("viewer_skips", "Jumps of viewers that were too slow", tally.skips)
        yield _counters("viewer_disconnects", "Viewers that left", "reason", tally.left)
        yield _counters("rejected", "Joiners refused at a limit", "reason", tally.rejected)

    def _ffmpeg(self) -> Iterator[Metric]:
        ledger, segments = self._sources.ledger, self._sources.segments
        held = self._sources.audience.pool.parts.budget.used
        yield _gauges("ffmpeg_processes", "FFmpeg processes alive", "kind", ledger.running)
        yield _counters("ffmpeg_starts", "FFmpeg processes started", "kind", ledger.starts)
        yield _counters("ffmpeg_exits", "FFmpeg processes ended", "reason", ledger.exits)
        yield _counters("ffmpeg_restarts", "FFmpeg replaced under its playlist", "kind", ledger.restarts)
        yield _counters("write_errors", "Write errors FFmpeg spoke of", "pattern", ledger.write_errors)
        yield _gauge("segment_cache_bytes", "Segments held in memory", held)
        yield _counter("segment_fetches", "Segments read from disk", segments.fetches)
        yield _counter("segment_hits", "Segment requests answered from memory", segments.hits)

    def _house(self) -> Iterator[Metric]:
        sources = self._sources
        house, space = sources.housekeeping, sources.disk.space
        yield _counters("gc_directories", "Directories looked at by the collector", "result", house.collected)
        yield _counter("recovered_directories", "Leftovers emptied at start", house.recovered)
        free = {"hls": space.free_bytes} if space else {}
        yield _gauges("free_bytes", "Free space of a directory of ours", "path", free)
        yield _gauge("disk_pressure", "1 while no new writer may start", int(sources.disk.pressure))
        yield _counters("task_crashes", "Background tasks that crashed", "task", sources.crashes)
        yield _counters("auth_failures", "Requests without the right token", "reason", sources.auth_failures)
        webhooks = sources.webhooks
        yield _counter("events_dropped", "Events that a webhook never got", webhooks.lost)
        results: dict[str, int] = {result: webhooks.results[result] for result in Result}
        yield _counters("webhook_deliveries", "Events sent to webhooks", "result", results)
        yield _gauge("webhook_queue", "Events that wait for webhooks", webhooks.waiting)
        yield _counter("log_dropped", "Log records dropped", sources.log_dropped())
        info = GaugeMetricFamily(PREFIX + "build_info", "Version", labels=["version", "python"])
        info.add_metric([sources.version, platform.python_version()], 1)
        yield info


def _kinds(counts: Counter[str]) -> dict[str, int]:
    return {kind: counts[kind] for kind in Kind}


def _received(counts: Counter[str]) -> dict[str, int]:
    """Of the kinds that providers send."""
    return {kind: counts[kind] for kind in Kind if not kind.is_transcoded}


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _gauges(name: str, text: str, label: str, values: dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family


def _counter(name: str, text: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, value=value)


def _counters(name: str, text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=[label])
    for key, value in sorted(values.items()):
        family.add_metric([key], value)
    return family
