"""Channels as HLS of a few seconds, as tools start, stop and look at them."""

from __future__ import annotations

from aiohttp import web

from m3u_proxy.errors import NotFound, ProxyError, Unavailable
from m3u_proxy.ffmpeg.hls.writer import HlsWriter
from m3u_proxy.lineup.windows import WindowStatus
from m3u_proxy.model import window_endpoint
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.encode import large_json, whole
from m3u_proxy.web.players.answers import joined
from m3u_proxy.web.schemas.windows import ChannelStarted, ChannelStatus, ChannelStatuses, ChannelStopped


async def start(request: web.Request) -> web.Response:
    """``GET`` and ``POST /api/v1/channels/start-stream/{key}``: waits until there is something to play.

    Held open from now on. Where that takes longer than a joiner waits, it is enough that FFmpeg is at work.
    """
    windows = request.app[CONTEXT].windows
    key = request.match_info["key"]
    if request.method == "HEAD":
        return _unchanged(request)
    was_held, was_running = windows.is_held(key), windows.status(key).process == "running"
    try:
        writer = windows.hold(key)
        await _begun(writer, request.app[CONTEXT].config.join_wait)
    except ProxyError as error:
        if not was_held:
            windows.release(key, error.reason)
        if isinstance(error, NotFound):
            raise
        raise Unavailable(error.detail, reason=error.reason, retry_after=error.retry_after) from None
    status, shape = windows.status(key), windows.shape
    body: ChannelStarted = {
        "message": f"FFmpeg process for '{key}' {'is already running' if was_running else 'started'}.",
        "channel": status.channel.name,
        "hls_url": window_endpoint(key),
        "config": {
            "segment_duration": whole(shape.segment_duration),
            "max_segments": shape.max_segments,
            "cleanup_interval": whole(shape.cleanup_interval),
        },
    }
    return web.json_response(body)


def _unchanged(request: web.Request) -> web.Response:
    """Answer to HEAD, which changes nothing."""
    request.app[CONTEXT].windows.id_of(request.match_info["key"])
    return web.Response(content_type="application/json", charset="utf-8")


async def _begun(writer: HlsWriter, limit: float) -> None:
    try:
        await joined(writer.ready(), limit, f"Nothing that can be played has come within {limit:g} s")
    except Unavailable:
        if writer.error is not None or writer.snapshot().ffmpeg_pid is None:
            raise


async def stop(request: web.Request) -> web.Response:
    """``GET`` and ``POST /api/v1/channels/stop-stream/{key}``: returns when its FFmpeg has ended."""
    windows = request.app[CONTEXT].windows
    key = request.match_info["key"]
    if request.method == "HEAD":
        return _unchanged(request)
    status = windows.status(key)
    await windows.stop(key)
    ended = "stopped" if status.process in ("running", "starting") else "was not running"
    message = f"FFmpeg process for '{key}' {ended}."
    body: ChannelStopped = {"message": message, "channel": status.channel.name}
    return web.json_response(body)


async def show(request: web.Request) -> web.Response:
    """``GET /api/v1/channels/stream-status/{key}``: what its FFmpeg does, and what players find."""
    windows = request.app[CONTEXT].windows
    return web.json_response(_shown(windows.status(request.match_info["key"]), windows.shape.max_segments))


async def show_all(request: web.Request) -> web.Response:
    """``GET /api/v1/channels/streams-status``: of every channel that is not stopped."""
    windows = request.app[CONTEXT].windows
    rows = [_shown(one, windows.shape.max_segments) for one in windows.statuses()]
    body: ChannelStatuses = {"streams": rows, "total": len(rows)}
    return large_json(body)


def _shown(status: WindowStatus, max_segments: int) -> ChannelStatus:
    key = status.channel.key
    row: ChannelStatus = {
        "channel_name": status.channel.name,
        "stream_id": key,
        "process_status": status.process,
        "cleanup_running": status.is_tidied,
        "segment_count": status.segments,
        "max_segments": max_segments,
        "master_playlist_exists": status.is_listed,
        "hls_url": window_endpoint(key),
        "estimated_buffer_seconds": round(status.seconds),
    }
    if status.reason is not None:
        row["reason"] = status.reason
    return row
