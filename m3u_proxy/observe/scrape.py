"""What is read when somebody scrapes: integers that others add to, and sizes of what there is."""

from __future__ import annotations

import asyncio
import platform
import resource
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from m3u_proxy.ffmpeg.process.child import Ending
from m3u_proxy.model import Kind, RunSnapshot, State
from m3u_proxy.observe.delivery import Result
from m3u_proxy.observe.families import PREFIX, counter, counters, gauge, gauges, histogram
from m3u_proxy.observe.figures import Figures
from m3u_proxy.upstream.outcome import REASONS

IDLE = "idle"
"""State of a listed stream behind which nothing runs."""
_CLASSES = ("loopback", "never", "port", "private", "self", "url")
_SIGNALS = ("SIGKILL", "SIGTERM")
_TRANSCODED = tuple(kind for kind in Kind if kind.is_transcoded)


class Scrape(Collector):
    """Reads everything at one moment."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        runs = self._figures.audience.pool.running()
        yield from self._streams(runs)
        yield from self._viewers()
        yield from self._upstream(runs)
        yield from self._ffmpeg()
        yield from self._house()

    def _streams(self, runs: Sequence[RunSnapshot]) -> Iterator[Metric]:
        """What runs, and what could."""
        audience = self._figures.audience
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
        yield gauge("stream_definitions", "Streams that can be opened", len(audience.catalog))

    def _viewers(self) -> Iterator[Metric]:
        """Who watches, who has left, and who was not let in."""
        audience = self._figures.audience
        tally = audience.tally
        viewers: Counter[str] = Counter()
        sent = Counter(tally.bytes_out)
        for viewer in audience.viewers:
            record = audience.catalog.get(viewer.client.stream_id)
            if record is not None:
                kind = audience.pool.kind(record.stream)
                viewers[kind] += 1
                sent[kind] += viewer.bytes_served
        yield gauges("viewers", "Connected viewers", "kind", {kind: viewers[kind] for kind in Kind})
        yield counters("sent_bytes", "Bytes handed to viewers", "kind", _kinds(sent))
        yield counter("viewer_skips", "Jumps of viewers that were too slow", tally.skips)
        yield counters("viewer_disconnects", "Viewers that left", "reason", tally.left)
        rejected = tally.rejected + self._figures.refused
        yield counters("rejected", "Joiners and connections refused at a limit", "reason", rejected)
        blocked = self._figures.blocked
        yield counters(
            "ssrf_blocked", "Targets refused by the address policy", "class", _from_zero(_CLASSES, blocked)
        )
        yield counters("responses", "Requests answered", "code", self._figures.responses)

    def _upstream(self, runs: Sequence[RunSnapshot]) -> Iterator[Metric]:
        """What providers are asked for and give."""
        connected = sum(run.upstream_connections for run in runs if not run.kind.is_transcoded)
        yield gauge("upstream_connections", "Open connections to providers", connected)
        tally = self._figures.audience.tally
        yield counters("upstream_bytes", "Bytes received from sources", "kind", _received(tally.bytes_in))
        yield counters("upstream_errors", "Failed attempts at sources", "reason", tally.upstream_errors)
        yield counters("hls_fetches", "Asked of HLS sources", "what", tally.fetches)
        yield counter("hls_hits", "Requests for a segment answered from memory", tally.segment_hits)
        yield counter(
            "playlist_lines_dropped", "Lines left out that could carry an address", tally.dropped_lines
        )
        failovers = _from_zero(REASONS, tally.failovers)
        yield counters("failovers", "Other sources that took over", "reason", failovers)
        yield histogram(
            "failover_gap_seconds", "From a source's last media to the next one's first", tally.failover_gaps
        )
        yield counter("reconnects", "Sources opened again after a loss", tally.reconnects)

    def _ffmpeg(self) -> Iterator[Metric]:
        ledger, segments = self._figures.ledger, self._figures.segments
        held = self._figures.audience.pool.parts.budget.used
        yield gauges("ffmpeg_processes", "FFmpeg processes alive", "kind", ledger.running)
        yield counters("ffmpeg_starts", "FFmpeg processes started", "kind", ledger.starts)
        exits, slow = _from_zero(get_args(Ending), ledger.exits), _from_zero(_TRANSCODED, ledger.slow)
        yield counters("ffmpeg_exits", "FFmpeg processes ended", "reason", exits)
        yield counters(
            "ffmpeg_kills", "FFmpeg processes ended by us", "signal", _from_zero(_SIGNALS, ledger.kills)
        )
        yield counters("ffmpeg_slow", "Spans of 30 s in which FFmpeg fell behind", "kind", slow)
        yield counters("ffmpeg_restarts", "FFmpeg replaced under its playlist", "kind", ledger.restarts)
        yield counters("write_errors", "Write errors FFmpeg spoke of", "pattern", ledger.write_errors)
        yield gauge("segment_cache_bytes", "Segments held in memory", held)
        yield counter("segment_fetches", "Segments read from disk", segments.fetches)
        yield counter("segment_hits", "Segment requests answered from memory", segments.hits)

    def _house(self) -> Iterator[Metric]:
        figures = self._figures
        house, space = figures.housekeeping, figures.disk.space
        yield counters("gc_directories", "Directories looked at by the collector", "result", house.collected)
        yield counter("recovered_directories", "Leftovers emptied at start", house.recovered)
        free = {"hls": space.free_bytes} if space and space.total_bytes else {}
        yield gauges("free_bytes", "Free space of a directory of ours", "path", free)
        limits = figures.disk_limits
        yield gauges("disk_limit_bytes", "Free space below which it is called so", "level", limits)
        yield gauge("disk_pressure", "1 while no new writer may start", int(figures.disk.pressure))
        yield counters("task_crashes", "Background tasks that crashed", "task", figures.crashes)
        failures = _from_zero(("missing", "wrong"), figures.auth_failures)
        yield counter("accept_errors", "Connections that could not be accepted", figures.accept_errors())
        yield counters("auth_failures", "Requests without the right token", "reason", failures)
        webhooks = figures.webhooks
        yield counter("events_dropped", "Events that a webhook never got", webhooks.lost)
        results: dict[str, int] = {result: webhooks.results[result] for result in Result}
        yield counters("webhook_deliveries", "Events sent to webhooks", "result", results)
        yield gauge("webhook_queue", "Events that wait for webhooks", webhooks.waiting)
        yield counter("log_dropped", "Log records dropped", figures.log_dropped())
        yield from self._process()
        info = GaugeMetricFamily(PREFIX + "build_info", "Version", labels=["version", "python"])
        info.add_metric([figures.version, platform.python_version()], 1)
        yield info

    def _process(self) -> Iterator[Metric]:
        """This process; the last three under the names that every Prometheus client uses."""
        census = self._figures.census()
        yield gauge("processes", "Living processes that this daemon has started", census.processes)
        yield gauge("tasks", "Tasks of the event loop", len(asyncio.all_tasks()))
        yield gauge("fds", "Open file descriptors", census.fds)
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        yield gauge("fds_limit", "File descriptors that may be open", limit)
        yield CounterMetricFamily(
            "process_cpu_seconds", "CPU time, user and system", value=time.process_time()
        )
        for name, text, value in (
            ("process_resident_memory_bytes", "Resident memory", census.resident_bytes),
            ("process_start_time_seconds", "Start, in seconds since the epoch", self._figures.started_at),
        ):
            yield GaugeMetricFamily(name, text, value=value)


def _kinds(counts: Counter[str]) -> dict[str, int]:
    return {kind: counts[kind] for kind in Kind}


def _from_zero(keys: Iterable[str], counts: Mapping[str, int]) -> dict[str, int]:
    """With a 0 for what has not happened yet: a rate sees the first time only where there was one."""
    return {**dict.fromkeys(keys, 0), **counts}


def _received(counts: Counter[str]) -> dict[str, int]:
    """Of the kinds that providers send."""
    return {kind: counts[kind] for kind in Kind if not kind.is_transcoded}
