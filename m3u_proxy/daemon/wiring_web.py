"""From settings to what HTTP needs of them, and what it tells of them."""

from __future__ import annotations

from m3u_proxy import __version__
from m3u_proxy.daemon import wiring
from m3u_proxy.ffmpeg.binary import Binaries
from m3u_proxy.settings import Settings
from m3u_proxy.web.context import Facts, WebConfig
from m3u_proxy.web.encode import whole


def facts(settings: Settings, binaries: Binaries) -> Facts:
    """What is told of them; a password of Redis is not."""
    return Facts(
        ffmpeg_version=binaries.ffmpeg.banner if binaries.ffmpeg else None,
        redis={
            "enabled": settings.redis_enabled,
            "pooling_enabled": settings.enable_transcoding_pooling,
            "host": settings.redis_host,
            "port": settings.redis_port,
            "db": settings.redis_db,
            "max_clients_per_stream": settings.max_clients_per_shared_stream,
            "stream_timeout": whole(settings.stream_timeout),
            "sharing_strategy": settings.stream_sharing_strategy,
        },
        configuration={
            "default_user_agent": settings.default_user_agent,
            "client_timeout": whole(settings.client_timeout),
            "stream_timeout": whole(settings.stream_timeout),
            "cleanup_interval": whole(settings.cleanup_interval),
            "max_retries": settings.default_max_retries,
        },
        worker={
            "worker_id": settings.worker_id or "single",
            "heartbeat_interval": whole(settings.heartbeat_interval),
            "multi_worker_mode": settings.workers > 1,
        },
    )


def web_config(settings: Settings, pseudonym: str) -> WebConfig:
    """Plain values for HTTP."""
    return WebConfig(
        root_path=settings.root_path,
        api_token=settings.api_token.get_secret_value() if settings.api_token else None,
        user_agent=settings.default_user_agent,
        join_wait=settings.hls_wait_time,
        body_limit=settings.json_body_limit,
        body_timeout=settings.body_timeout,
        version=__version__,
        pseudonym=pseudonym,
        docs_url=settings.docs_url,
        redoc_url=settings.redoc_url,
        openapi_url=settings.openapi_url,
        strict_live_ts=settings.strict_live_ts,
        use_sticky_session=settings.use_sticky_session,
        is_behind_nginx=settings.sendfile_mode == "nginx",
        silence=wiring.silence(settings),
        public_url=settings.public_url,
    )
