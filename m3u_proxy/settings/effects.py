"""Settings that are accepted and do nothing, so that nobody waits for what they promise."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

WITHOUT_EFFECT: Final = frozenset(
    {
        # Of features that are not there yet.
        *("app_debug", "workers"),
        *("vod_cache_dir", "vod_cache_size", "session_timeout"),
        *("streamlink_enabled", "ytdlp_enabled"),
        *("connection_idle_alert_threshold", "connection_idle_error_threshold"),
        "enable_connection_idle_monitoring",
        *("hls_broadcast_dir", "broadcast_gc_enabled", "broadcast_gc_interval"),
        *("broadcast_gc_age_threshold", "broadcast_callback_timeout", "broadcast_max_start_retries"),
        *("broadcast_start_retry_window", "broadcast_start_retry_cooldown"),
        "broadcast_subtitle_sync_offset_seconds",
        *("dvr_recording_dir", "dvr_restart_window_seconds", "dvr_stall_timeout_seconds"),
        *("redis_enabled", "redis_host", "redis_server_port", "redis_port", "redis_db", "redis_password"),
        *("redis_password_file", "redis_url", "enable_transcoding_pooling"),
        *("worker_id", "heartbeat_interval"),
        # Of older deployments, whose work is done without being asked, or in another way.
        "cleanup_interval",
        *("shared_stream_timeout", "stream_sharing_strategy", "max_clients_per_shared_stream"),
        *("default_max_retries", "default_backoff_factor", "default_health_check_interval"),
        *("default_retry_attempts", "default_retry_delay"),
        *("vod_read_timeout", "vod_write_timeout", "live_tv_write_timeout", "broadcast_start_failure_grace"),
        *("temp_dir", "log_file", "log_dir", "reload"),
        *("live_silent_reconnect_min_chunks", "primary_handoff_wait_seconds"),
        *("disable_asgi_disconnect_monitor", "enable_redis_pooling", "redis_pool_max_connections"),
    }
)
"""Some of them are shown by ``/info``; nothing else looks at any."""


def idle(settings: BaseModel) -> list[str]:
    """Variables that somebody has set to something else than the default, in vain."""
    values, fields = dict(settings), type(settings).model_fields
    given = settings.model_fields_set & WITHOUT_EFFECT
    return sorted(name.upper() for name in given if values[name] != fields[name].default)
