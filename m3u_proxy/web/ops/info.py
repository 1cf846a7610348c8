"""Editors: what this program is and how it is set up. No secret is among it."""

from __future__ import annotations

from aiohttp import web

from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.schemas.answers import Info


async def info(request: web.Request) -> web.Response:
    """``GET /info``: versions, as they were found at the start, and settings."""
    context = request.app[CONTEXT]
    facts, hardware, tools = context.facts, context.hardware, context.tools()
    answer: Info = {
        "version": context.config.version,
        "ffmpeg_version": facts.ffmpeg_version,
        "streamlink_version": tools.streamlink,
        "ytdlp_version": tools.ytdlp,
        "hardware_acceleration": {
            "enabled": hardware.is_available,
            "type": hardware.type,
            "device": hardware.device,
            "ffmpeg_args": hardware.arguments,
        },
        "redis": facts.redis,
        "transcoding": {
            "enabled": context.health.ffmpeg_missing is None,
            "profiles": {name: profile.template for name, profile in context.profiles.items()},
        },
        "configuration": facts.configuration,
        "worker": facts.worker,
    }
    return web.json_response(answer)
