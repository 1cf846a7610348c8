"""Every setting: its name, type, default and meaning. Times are seconds, sizes bytes."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from m3u_proxy.settings.types import (
    BaseUrl,
    Bytes,
    Count,
    Directory,
    Flag,
    Fold,
    Host,
    HostLimits,
    LogFormat,
    LogLevel,
    Number,
    PagePath,
    Period,
    Port,
    Real,
    RedisUrl,
    RootPath,
    Seconds,
    Secret,
    Sendfile,
    Text,
    Workers,
    env,
    same_as,
    under,
)

CHUNK_BYTES: Final = 32 * 1024
"""Bytes of each of the CHANGE_BUFFER_CHUNKS."""


class Server(BaseModel):
    """Server"""

    host: Host = env("0.0.0.0", "Address to listen on; localhost includes 127.0.0.1")  # noqa: S104
    port: Port = env(8085, "Port to listen on; 0 takes any free one")
    root_path: RootPath = env("/m3u-proxy", "Prefix that every route answers with, too; / is none")
    public_url: BaseUrl | None = env(None, "Base of the absolute URLs in lineups", "as the request says")
    metrics_port: Port | None = env(None, "Port that serves /metrics without a token", "none")
    workers: Workers = env(1, "Worker processes")
    api_token: Secret | None = env(None, "Token of the API", "no authentication")
    api_token_file: Text | None = env(None, "File to read API_TOKEN from", "none")
    env_file: Text | None = env(None, "File of further settings, NAME=value; the environment wins", "none")
    auth_tries: Count = env(20, "Wrong tokens per minute and address until 429; 0 is no limit")
    state_dir: Directory = env(
        ...,
        "Parent of what is kept",
        "m3u-proxy in $XDG_STATE_HOME, else in /var/lib as root, or ~/.local/state",
    )
    log_level: LogLevel = env("info", "Least level that is logged")
    log_format: LogFormat = env("text", "Form of the lines of the log")
    log_anonymize: Flag = env(True, "Log networks instead of the addresses of viewers")
    app_debug: Flag = env(False, "More detail in answers and log, never secrets")
    docs_url: PagePath = env("/docs", "Page that describes the API")
    redoc_url: PagePath = env("/redoc", "Page that describes the API, for reading")
    openapi_url: PagePath = env("/openapi.json", "Description of the API for programs")
    default_user_agent: Text = env(
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/115.0.0.0 Safari/537.36",
        "User-Agent towards providers",
    )
    header_timeout: Period = env(10, "Longest wait for the header of a request")
    body_timeout: Period = env(15, "Longest wait for the body of a request")
    idle_timeout: Period = env(30, "How long a connection without requests is kept")
    json_body_limit: Bytes = env(262_144, "Largest JSON body of a request")
    drain: Seconds = env(7, "From SIGTERM until the last viewer is let go")


class Streams(BaseModel):
    """Streams: time-outs, retries, failover"""

    client_timeout: Period = env(12, "Silence after which an HLS client is gone")
    stream_timeout: Period = env(15, "How long an idle stream stays listed")
    stream_retention: Seconds = env(86_400, "How long the id of an idle stream can be opened again")
    shared_stream_grace: Seconds = env(3, "How long source and FFmpeg are kept after the last client")
    cleanup_interval: Period = env(30, "Longest time between two sweeps")
    default_connection_timeout: Period = env(5, "Longest wait for name, TCP and TLS of a source")
    default_read_timeout: Period = env(10, "Longest wait for the first byte of a live source")
    live_chunk_timeout_seconds: Seconds = env(10, "Silence after which a live source failed; 0 is never")
    vod_chunk_timeout_seconds: Period = env(5, "Silence after which a VOD source failed")
    vod_probe_timeout: Period = env(8, "Longest time for learning what a VOD is")
    seg_stall: Period = env(10, "Longest time without a new segment from FFmpeg")
    stream_retry_attempts: Count | None = env(
        None, "Tries per URL before the next", "a spare at once, else as paced"
    )
    stream_retry_delay: Seconds = env(1, "Between two tries, and never less than the pace allows")
    stream_retry_exponential_backoff: Flag = env(False, "Wait 1.5 times longer after each try")
    stream_total_timeout: Period = env(30, "Longest time spent on one failure")
    filler: Period = env(30, "How long viewers are kept while no source gives anything")
    max_failover_attempts: Count = env(0, "Spares to try per failure; 0 is all")
    use_sticky_session: Flag = env(False, "Stay on the host that a redirect of a live stream led to")
    connection_idle_alert_threshold: Seconds = env(600, "Idle time of a connection that is worth a warning")
    connection_idle_error_threshold: Seconds = env(1_800, "Idle time of a connection that is worth an error")
    enable_connection_idle_monitoring: Flag = env(True, "Log idle connections")
    session_timeout: Period = env(600, "How long an idle VOD session is kept")
    viewer_stuck: Period = env(20, "Without progress and with a silent peer a viewer is cut")
    viewer_pause: Period = env(600, "Without progress but with a peer that answers it is paused")
    change_buffer_chunks: Number = env(128, "Buffer of one viewer at most, in units of 32 KiB")
    relay_buffer_size: Bytes = env(16 * 2**20, "Memory for the newest bytes of one live stream")
    segment_cache_size: Bytes = env(256 * 2**20, "Memory for segments of all HLS streams together")
    hls_prefetch: Flag = env(False, "Fetch the newest segment of an HLS source before a viewer asks for it")
    max_streams: Count = env(5_000, "Streams at once; 0 is no limit")
    max_viewers: Count = env(10_000, "Viewers at once; 0 is no limit")
    account_limits: HostLimits = env({}, "Connections per account of a provider, by host", "none")
    allow_loopback_targets: Flag | None = env(
        None, "Accept URLs of this machine", "if API_TOKEN or a local HOST"
    )
    allow_private_targets: Flag | None = env(
        None, "Accept URLs of private networks", "from editors, and from private sources"
    )
    upstream_tls_verify: Flag = env(True, "Check the certificates of sources")
    channels_m3u: Text | None = env(None, "Lineup to load and watch, a file or a URL", "none")
    channels_refresh: Period = env(
        3_600, "Between two looks whether a lineup or a guide at a URL has changed"
    )
    channels_fold: Fold = env("off", "Entries of a lineup that become one channel with failovers")


class LiveChecks(BaseModel):
    """Checks of live sources"""

    strict_live_ts: Flag = env(False, "Strict handling of live MPEG-TS for every stream")
    strict_live_ts_prebuffer_size: Bytes = env(262_144, "Strict: bytes to have before a joiner is served")
    strict_live_ts_prebuffer_timeout: Seconds = env(10, "Longest wait for those bytes")
    strict_live_ts_circuit_breaker_timeout: Seconds = env(2, "Strict: silence that marks a source bad")
    strict_live_ts_circuit_breaker_cooldown: Seconds = env(60, "How long, if there is another source")
    strict_live_ts_overlap_trim: Flag = env(True, "Cut off what any live source repeats after a reconnect")
    strict_live_ts_overlap_signature_size: Bytes = env(16_384, "Bytes sent last to look for in the new ones")
    strict_live_ts_overlap_max_search_size: Bytes = env(8 * 2**20, "New bytes to look through at most")
    strict_live_ts_overlap_max_wait: Seconds = env(0.5, "Longest wait where the new bytes may not be old")
    enable_bitrate_monitoring: Flag = env(False, "Fail over from a source that is too slow")
    min_bitrate_threshold: Bytes = env(62_500, "Bytes per second below which a source is too slow")
    bitrate_check_interval: Period = env(5, "Between two checks of the rate")
    bitrate_failover_threshold: Number = env(3, "Slow checks in a row before failing over")
    bitrate_monitoring_grace_period: Seconds = env(10, "Before the rate is measured")
    slow_rate_failover: Flag = env(False, "Fail over from a source below 80 % of its own usual rate")
    enable_silence_detection: Flag = env(False, "Fail over from a source without sound")
    silence_threshold_db: Real = env(-50, "Level in dB below which it is silent")
    silence_duration: Period = env(3, "How long silence lasts until it counts")
    silence_check_interval: Period = env(10, "Between two checks of the sound")
    silence_failover_threshold: Number = env(3, "Silent checks in a row before failing over")
    silence_monitoring_grace_period: Seconds = env(15, "Before the first check of the sound")


class Output(BaseModel):
    """FFmpeg, HLS output, disk"""

    hls_temp_dir: Directory = env(under("hls"), "Parent of HLS directories", "hls in STATE_DIR")
    hls_wait_time: Period = env(10, "Longest wait of a joiner for its first byte or playlist")
    hls_gc_enabled: Flag = env(True, "Remove our own old, empty, unclaimed directories")
    hls_gc_interval: Period = env(600, "Between two looks for old directories")
    hls_gc_age_threshold: Seconds = env(7_200, "Age at which an empty directory is old")
    hls_segment_duration: Period = env(2, "Length of a segment, if the template does not say")
    hls_window: Number = env(6, "Segments in a playlist, if the template does not say")
    sendfile_mode: Sendfile = env("off", "Who sends segments; nginx gets X-Accel-Redirect")
    ffmpeg_path: Text | None = env(None, "The ffmpeg to run", "that of PATH, else the installed wheel's")
    ffprobe_path: Text | None = env(None, "The ffprobe to run", "that of PATH, else PyAV does its work")
    max_ffmpeg: Count = env(32, "FFmpeg processes at once; 0 is no limit")
    term_kill: Seconds = env(2, "From SIGTERM to SIGKILL for a child")
    streamlink_enabled: Flag = env(True, "Resolve pages with Streamlink where it is installed")
    ytdlp_enabled: Flag = env(True, "Resolve pages with yt-dlp where it is installed")
    hw_accel_available: Flag | None = env(None, "Whether hardware encoding works", "found out at start")
    hw_accel_type: Text = env("cpu", "Kind of hardware, if HW_ACCEL_AVAILABLE")
    hw_accel_device: Text | Literal[""] = env("", "Device of that kind", "none")
    channel_segment_duration: Period = env(2, "Length of a segment of a channel")
    channel_max_segments: Number = env(5, "Segments in the playlist of a channel")
    channel_cleanup_interval: Period = env(5, "Between two clearings of a channel's old segments")
    vod_cache_dir: Directory = env(under("vod"), "Cache of transcoded VOD", "vod in STATE_DIR")
    vod_cache_size: Bytes = env(20 * 10**9, "Size of the VOD cache")
    disk_warning_bytes: Bytes = env(2 * 2**30, "Free space that is called low")
    disk_critical_bytes: Bytes = env(512 * 2**20, "Free space that is called critical")


class Broadcast(BaseModel):
    """Broadcasts and recordings"""

    hls_broadcast_dir: Directory = env(under("broadcasts"), "Parent of broadcasts", "broadcasts in STATE_DIR")
    dvr_recording_dir: Directory = env(under("recordings"), "Parent of recordings", "recordings in STATE_DIR")
    broadcast_gc_enabled: Flag = env(True, "Remove old, empty directories of broadcasts")
    broadcast_gc_interval: Period = env(
        same_as("hls_gc_interval"), "Between two looks for old ones", "HLS_GC_INTERVAL"
    )
    broadcast_gc_age_threshold: Seconds = env(
        same_as("hls_gc_age_threshold"), "The same for broadcasts", "HLS_GC_AGE_THRESHOLD"
    )
    broadcast_callback_timeout: Period = env(3, "Longest wait for the editor's answer to a callback")
    broadcast_max_start_retries: Count = env(3, "Failed launches of FFmpeg until it has to wait")
    broadcast_start_retry_window: Period = env(300, "Time in which failed launches are counted")
    broadcast_start_retry_cooldown: Seconds = env(15, "Wait after too many failed launches")
    broadcast_subtitle_sync_offset_seconds: Real = env(1, "Shift of subtitles")
    dvr_restart_window_seconds: Seconds = env(60, "How long a broken recording is taken up again")
    dvr_stall_timeout_seconds: Seconds = env(30, "Silence after which a recording is restarted")


class Redis(BaseModel):
    """Redis, for several processes or machines"""

    redis_enabled: Flag = env(False, "Use Redis, never a condition for anything else")
    redis_host: Host = env("localhost", "Host of Redis")
    redis_server_port: Port | None = env(None, "Port of Redis; wins over REDIS_PORT", "REDIS_PORT")
    redis_port: Port = env(6379, "Port of Redis")
    redis_db: Count = env(0, "Number of the Redis database")
    redis_password: Secret | None = env(same_as("api_token"), "Password of Redis", "API_TOKEN")
    redis_password_file: Text | None = env(None, "File to read REDIS_PASSWORD from", "none")
    redis_url: RedisUrl | None = env(None, "Address of Redis in one; wins over the parts", "none")
    enable_transcoding_pooling: Flag = env(True, "Share FFmpeg between processes")
    worker_id: Text | None = env(None, "Name of this process", "made up")
    heartbeat_interval: Period = env(30, "Between two signs of life of a worker")

    @field_validator("redis_port")
    @classmethod
    def _server_port_wins(cls, port: int, info: ValidationInfo) -> int:
        other = info.data.get("redis_server_port")
        return port if other is None else int(other)


class Compatibility(BaseModel):
    """Accepted from older deployments, without effect"""

    shared_stream_timeout: Seconds = env(30, "Without effect")
    stream_sharing_strategy: Text = env("url_profile", "Shown by /info")
    max_clients_per_shared_stream: Count = env(10, "Shown by /info")
    default_max_retries: Count = env(3, "Shown by /info")
    default_backoff_factor: Real = env(1.5, "Without effect")
    default_health_check_interval: Seconds = env(300, "Without effect")
    default_retry_attempts: Count = env(3, "Without effect")
    default_retry_delay: Seconds = env(5, "Without effect")
    vod_read_timeout: Seconds = env(3_600, "Without effect")
    vod_write_timeout: Seconds = env(3_600, "Without effect")
    live_tv_write_timeout: Seconds = env(1_800, "Without effect")
    broadcast_start_failure_grace: Seconds = env(3, "Without effect")
    temp_dir: Text | None = env(None, "Without effect", "none")
    log_file: Text | None = env(None, "Without effect", "none")
    log_dir: Text = env("logs", "Without effect")
    reload: Flag = env(False, "Without effect")
    live_silent_reconnect_min_chunks: Count = env(10, "Without effect")
    primary_handoff_wait_seconds: Seconds = env(2, "Without effect")
    disable_asgi_disconnect_monitor: Flag = env(False, "Without effect")
    enable_redis_pooling: Text | None = env(None, "Without effect", "none")
    redis_pool_max_connections: Text | None = env(None, "Without effect", "none")


# pydantic collects fields from the last base to the first, and a default may be derived from earlier fields.
class Settings(Compatibility, Redis, Broadcast, Output, LiveChecks, Streams, Server, BaseSettings):
    """All groups in one frozen object; each field is the variable of the same name in upper case."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @property
    def viewer_queue(self) -> int:
        """Bytes that may wait for one viewer (VIEWER_QUEUE)."""
        return self.change_buffer_chunks * CHUNK_BYTES

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Leave reading to ``load``: it is handed its environment, and knows no file by itself."""
        return (init_settings,)


def groups() -> list[type[BaseModel]]:
    """The groups in the order of the papers."""
    bases = (base for base in reversed(Settings.__bases__) if base is not BaseSettings)
    return [base for base in bases if issubclass(base, BaseModel)]
