"""Editors and operators: who is connected, and how much was served. Read in one step, from memory."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from m3u_proxy.pool.snapshots import describe
from m3u_proxy.web.context import CONTEXT, Context
from m3u_proxy.web.encode import large_json
from m3u_proxy.web.schemas.answers import ClientShown, ProxyStats
from m3u_proxy.web.schemas.streams import client_json, moment, stream_json


def proxy_stats(context: Context) -> ProxyStats:
    """Totals over the listed streams and their viewers; builds nothing that it does not show."""
    audience = context.audience
    listed = audience.catalog.listed()
    viewers = list(audience.viewers)
    return {
        "total_streams": len(listed),
        "active_streams": sum(audience.viewers.count(record.stream.id) > 0 for record in listed),
        "total_clients": len(viewers),
        "active_clients": len(viewers),
        "total_bytes_served": sum(record.bytes_served for record in listed)
        + sum(viewer.bytes_served for viewer in viewers),
        "total_segments_served": sum(record.segments_served for record in listed)
        + sum(viewer.segments for viewer in viewers),
        "uptime_seconds": int(context.uptime()),
    }


def streams_shown(context: Context) -> list[dict[str, object]]:
    """Every listed stream, oldest first."""
    audience = context.audience
    return [stream_json(describe(record, audience)) for record in audience.catalog.listed()]


def clients_shown(context: Context) -> list[ClientShown]:
    """Every connected client."""
    return [client_json(viewer) for viewer in context.audience.viewers]


async def list_clients(request: web.Request) -> web.Response:
    """``GET /clients`` and ``GET /stats/clients``: who is connected now."""
    clients = clients_shown(request.app[CONTEXT])
    return large_json({"total_clients": len(clients), "clients": clients})


async def show_everything(request: web.Request) -> web.Response:
    """``GET /stats``: totals, streams and clients in one."""
    context = request.app[CONTEXT]
    body = {**proxy_stats(context), "streams": streams_shown(context), "clients": clients_shown(context)}
    return large_json(body)


async def show_streams(request: web.Request) -> web.Response:
    """``GET /stats/streams``: what ``GET /streams`` lists, under another name."""
    streams = streams_shown(request.app[CONTEXT])
    return large_json({"total_streams": len(streams), "streams": streams})


async def show_detailed(request: web.Request) -> web.Response:
    """``GET /stats/detailed``: totals, and what has gone wrong with sources."""
    context = request.app[CONTEXT]
    stats = proxy_stats(context)
    body = {
        "proxy_stats": stats,
        **_counters(context),
        "stream_count": stats["total_streams"],
        "client_count": stats["total_clients"],
    }
    return web.json_response(body)


async def show_performance(request: web.Request) -> web.Response:
    """``GET /stats/performance``: what has gone wrong with sources, and when this was."""
    shown = _counters(request.app[CONTEXT])
    pool = shown.pop("connection_pool_stats")
    body = {"connection_pool": pool, **shown, "timestamp": moment(datetime.now(UTC))}
    return web.json_response(body)


def _counters(context: Context) -> dict[str, dict[str, int]]:
    """Counters by their name or reason."""
    tally = context.audience.tally
    running = context.audience.pool.running()
    connections = sum(run.upstream_connections for run in running if not run.kind.is_transcoded)
    return {
        "connection_pool_stats": {"running": len(running), "upstream_connections": connections},
        "failover_stats": dict(tally.failovers),
        "performance_metrics": {
            "bytes_received": sum(tally.bytes_in.values()),
            "segment_hits": tally.segment_hits,
        },
        "error_stats": dict(tally.upstream_errors),
    }
