"""Every metric family and its labels: what an exposition, dashboard, alerts and docs are held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COUNTERS: Final[Mapping[str, set[str]]] = {
    "m3u_proxy_upstream_bytes": {"kind"},
    "m3u_proxy_sent_bytes": {"kind"},
    "m3u_proxy_viewer_skips": set(),
    "m3u_proxy_viewer_disconnects": {"reason"},
    "m3u_proxy_upstream_errors": {"reason"},
    "m3u_proxy_failovers": {"reason"},
    "m3u_proxy_reconnects": set(),
    "m3u_proxy_rejected": {"reason"},
    "m3u_proxy_ssrf_blocked": {"class"},
    "m3u_proxy_accept_errors": set(),
    "m3u_proxy_auth_failures": {"reason"},
    "m3u_proxy_responses": {"code"},
    "m3u_proxy_hls_fetches": {"what"},
    "m3u_proxy_hls_hits": set(),
    "m3u_proxy_playlist_lines_dropped": set(),
    "m3u_proxy_segment_fetches": set(),
    "m3u_proxy_segment_hits": set(),
    "m3u_proxy_ffmpeg_starts": {"kind"},
    "m3u_proxy_ffmpeg_exits": {"reason"},
    "m3u_proxy_ffmpeg_kills": {"signal"},
    "m3u_proxy_ffmpeg_restarts": {"kind"},
    "m3u_proxy_ffmpeg_slow": {"kind"},
    "m3u_proxy_write_errors": {"pattern"},
    "m3u_proxy_gc_directories": {"result"},
    "m3u_proxy_recovered_directories": set(),
    "m3u_proxy_events_dropped": set(),
    "m3u_proxy_webhook_deliveries": {"result"},
    "m3u_proxy_log_dropped": set(),
    "m3u_proxy_task_crashes": {"task"},
    "process_cpu_seconds": set(),
}
"""Without the ``_total`` that their samples end in."""
GAUGES: Final[Mapping[str, set[str]]] = {
    "m3u_proxy_build_info": {"python", "version"},
    "m3u_proxy_streams": {"kind", "state"},
    "m3u_proxy_stream_definitions": set(),
    "m3u_proxy_viewers": {"kind"},
    "m3u_proxy_upstream_connections": set(),
    "m3u_proxy_segment_cache_bytes": set(),
    "m3u_proxy_ffmpeg_processes": {"kind"},
    "m3u_proxy_free_bytes": {"path"},
    "m3u_proxy_disk_limit_bytes": {"level"},
    "m3u_proxy_disk_pressure": set(),
    "m3u_proxy_webhook_queue": set(),
    "m3u_proxy_processes": set(),
    "m3u_proxy_tasks": set(),
    "m3u_proxy_fds": set(),
    "m3u_proxy_fds_limit": set(),
    "process_resident_memory_bytes": set(),
    "process_start_time_seconds": set(),
}
HISTOGRAMS: Final[Mapping[str, set[str]]] = {
    "m3u_proxy_time_to_first_byte_seconds": {"kind", "start"},
    "m3u_proxy_failover_gap_seconds": set(),
    "m3u_proxy_loop_lag_seconds": set(),
}

TYPES: Final = {
    **dict.fromkeys(COUNTERS, "counter"),
    **dict.fromkeys(GAUGES, "gauge"),
    **dict.fromkeys(HISTOGRAMS, "histogram"),
}
LABELS: Final = {**COUNTERS, **GAUGES, **HISTOGRAMS}
SAMPLES: Final = {
    **{f"{name}_total": labels for name, labels in COUNTERS.items()},
    **GAUGES,
    **{f"{name}_bucket": labels | {"le"} for name, labels in HISTOGRAMS.items()},
    **{f"{name}_{part}": labels for name, labels in HISTOGRAMS.items() for part in ("sum", "count")},
}
"""What a query can name."""
