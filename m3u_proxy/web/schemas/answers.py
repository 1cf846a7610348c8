"""Shapes of the answers that editors read without a fallback: every key of them is there, always."""

from __future__ import annotations

from typing import (
    Literal,
    NotRequired,  # pydantic reads those of 3.12 and later only
)

from typing_extensions import TypedDict


class ProxyStats(TypedDict):
    """Totals over everything that is listed."""

    total_streams: int
    active_streams: int
    """With at least one client."""
    total_clients: int
    active_clients: int
    total_bytes_served: int
    total_segments_served: int
    uptime_seconds: int


class ClientShown(TypedDict):
    """A connected client of a stream."""

    client_id: str
    stream_id: str
    user_agent: str
    ip_address: str
    username: str | None
    bytes_served: int
    segments_served: int
    created_at: str
    last_access: str
    is_connected: Literal[True]


class MatchingStream(TypedDict):
    """An item of ``GET /streams/by-metadata``."""

    stream_id: str
    client_count: int
    metadata: dict[str, str]
    last_access: str
    is_active: bool
    url: str
    stream_type: str


class SkippedStream(TypedDict):
    """A stream that a deletion by metadata left alone."""

    stream_id: str
    reason: Literal["excluded_by_channel_id", "has_active_clients"]
    active_clients: NotRequired[int]


class DeletedByMetadata(TypedDict):
    """Answer to ``DELETE /streams/by-metadata``."""

    message: str
    deleted_streams: list[str]
    skipped_streams: list[SkippedStream]
    deleted_count: int


class DeletedOldest(TypedDict):
    """Answer to ``DELETE /streams/oldest-by-metadata``."""

    message: str
    deleted_stream: str | None
    stream_age_seconds: NotRequired[float]
    deleted_count: int


class ConnectionTested(TypedDict):
    """Answer to ``POST /test-connection``."""

    success: bool
    message: str
    url_tested: str
    status_code: NotRequired[int]
    error: NotRequired[str]


class FileValidated(TypedDict):
    """Answer to ``GET /validate-cookies-file``."""

    valid: bool
    message: str


class HardwareShown(TypedDict):
    """What encodes."""

    enabled: bool
    type: str
    device: str
    ffmpeg_args: list[str]


class RedisShown(TypedDict):
    """How Redis is set up; without its password."""

    enabled: bool
    pooling_enabled: bool
    host: str
    port: int
    db: int
    max_clients_per_stream: int
    stream_timeout: float
    sharing_strategy: str


class TranscodingShown(TypedDict):
    """Whether there is an FFmpeg, and the built-in profiles: name and template."""

    enabled: bool
    profiles: dict[str, str]


class ConfigurationShown(TypedDict):
    """Settings that editors show; durations in seconds."""

    default_user_agent: str
    client_timeout: float
    stream_timeout: float
    cleanup_interval: float
    max_retries: int


class WorkerShown(TypedDict):
    """Which of several processes this is."""

    worker_id: str
    heartbeat_interval: float
    multi_worker_mode: bool


class Info(TypedDict):
    """Answer to ``GET /info``."""

    version: str
    ffmpeg_version: str | None
    streamlink_version: str | None
    ytdlp_version: str | None
    hardware_acceleration: HardwareShown
    redis: RedisShown
    transcoding: TranscodingShown
    configuration: ConfigurationShown
    worker: WorkerShown
