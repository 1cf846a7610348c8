"""Operators: health and metrics."""

from __future__ import annotations

from aiohttp import web

from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.middleware import Refused, authorize
from m3u_proxy.web.ops.statistics import proxy_stats

WEDGED = 2.0
"""Seconds of loop lag from which the process counts as not ready."""


async def root(request: web.Request) -> web.Response:
    """``GET /``: a word for programs with the token; a browser is sent to the page."""
    context = request.app[CONTEXT]
    if "text/html" in request.headers.get("Accept", ""):
        return web.Response(status=302, headers={"Location": f"{context.config.root_path}/ui"})
    authorize(request)
    return web.json_response(
        {
            "status": "running",
            "message": "m3u proxy is running",
            "version": context.config.version,
            "uptime": int(context.uptime()),
            "stats": proxy_stats(context),
        }
    )


async def health(request: web.Request) -> web.Response:
    """``GET /health``: the short form is open, the long one needs the token; 503 while draining."""
    context = request.app[CONTEXT]
    state = context.health
    full = state.disk_pressure() or state.disk_state() == "critical"
    degraded = full or state.ffmpeg_missing is not None or state.crashing()
    status = "draining" if state.draining else "degraded" if degraded else "healthy"
    code = 503 if state.draining else 200
    headers = {"Retry-After": "3"} if state.draining else {}
    try:
        authorize(request)
    except Refused as refused:
        if refused.status != 401:
            raise
        return web.json_response({"status": status}, status=code, headers=headers)
    statistics = proxy_stats(context)
    body = {
        "status": status,
        "root_path": context.config.root_path,
        "version": context.config.version,
        "uptime_seconds": statistics["uptime_seconds"],
        "active_streams": statistics["active_streams"],
        "active_clients": statistics["active_clients"],
        "total_bytes_served": statistics["total_bytes_served"],
        "stats": statistics,
    }
    return web.json_response(body, status=code, headers=headers)


async def livez(request: web.Request) -> web.Response:
    """``GET /livez``: the process answers, also while it is draining."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """``GET /readyz``: whether new viewers are welcome; 503 says why not."""
    state = request.app[CONTEXT].health
    reasons = []
    if state.draining:
        reasons.append("draining")
    if state.ffmpeg_missing is not None:
        reasons.append(f"ffmpeg: {state.ffmpeg_missing}")
    if state.disk_pressure():
        reasons.append("the segment directory is full")
    if state.loop_lag() > WEDGED:
        reasons.append("the event loop is late")
    if reasons:
        return web.Response(status=503, text="; ".join(reasons) + "\n", headers={"Retry-After": "3"})
    return web.Response(text="ok\n")


async def metrics(request: web.Request) -> web.Response:
    """``GET /metrics``: Prometheus or OpenMetrics text."""
    body, content_type = request.app[CONTEXT].metrics(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})
