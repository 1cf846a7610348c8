"""Editors: make, list and end streams."""

from __future__ import annotations

from aiohttp import web

from m3u_proxy.ffmpeg.command.profiles import DEFAULT_VARIABLES
from m3u_proxy.pool.snapshots import describe
from m3u_proxy.web.body import read_model
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.definitions import plain_stream, transcoded_stream
from m3u_proxy.web.encode import large_json
from m3u_proxy.web.ops.statistics import streams_shown
from m3u_proxy.web.schemas.streams import (
    STREAM_TYPES,
    StreamRequest,
    TranscodeRequest,
    client_json,
    created,
    moment_json,
    stream_json,
)


async def create_stream(request: web.Request) -> web.Response:
    """``POST /streams``: a definition; contacts nobody."""
    context = request.app[CONTEXT]
    body = await read_model(request, StreamRequest, context.config.body_timeout)
    stream = context.audience.define(plain_stream(context, body))
    return web.json_response(created(stream, body.metadata))


async def create_transcode(request: web.Request) -> web.Response:
    """``POST /transcode``: a definition with an FFmpeg behind it; starts nothing."""
    context = request.app[CONTEXT]
    body = await read_model(request, TranscodeRequest, context.config.body_timeout)
    stream = context.audience.define(transcoded_stream(context, body))
    return web.json_response(created(stream, body.metadata))


async def list_streams(request: web.Request) -> web.Response:
    """``GET /streams``: what is watched, or was a moment ago."""
    rows = streams_shown(request.app[CONTEXT])
    return large_json({"streams": rows, "total": len(rows)})


async def show_stream(request: web.Request) -> web.Response:
    """``GET /streams/{id}``: one stream and its clients."""
    audience = request.app[CONTEXT].audience
    record = audience.catalog.find(request.match_info["id"])
    clients = [client_json(viewer) for viewer in audience.viewers.of(record.stream.id)]
    body = {
        "stream": stream_json(describe(record, audience)),
        "clients": clients,
        "client_count": len(clients),
    }
    return web.json_response(body)


async def delete_stream(request: web.Request) -> web.Response:
    """``DELETE /streams/{id}``: returns when its viewers are cut and its upstream socket is closed."""
    stream_id = request.match_info["id"]
    await request.app[CONTEXT].audience.delete(stream_id, "manual_deletion")
    return web.json_response({"message": f"Stream {stream_id} deleted"})


async def fail_over(request: web.Request) -> web.Response:
    """``POST /streams/{id}/failover``: take the next source now; the body is ignored."""
    audience = request.app[CONTEXT].audience
    stream_id = request.match_info["id"]
    failover = await audience.fail_over(stream_id)
    kind = audience.kind(stream_id)
    return web.json_response(
        {
            "message": "Failover triggered",
            "new_url": failover.url,
            "failover_index": failover.index,
            "failover_attempts": failover.attempts,
            "active_clients": audience.viewers.count(stream_id),
            "stream_type": "Transcoded" if kind.is_transcoded else STREAM_TYPES[kind],
        }
    )


async def show_timeline(request: web.Request) -> web.Response:
    """``GET /streams/{id}/timeline``: what happened to it and why, oldest first."""
    audience = request.app[CONTEXT].audience
    stream = audience.catalog.find(request.match_info["id"]).stream
    rows = [moment_json(one) for one in audience.pool.history(stream)]
    return web.json_response({"stream_id": stream.id, "events": rows})


async def list_profiles(request: web.Request) -> web.Response:
    """``GET /transcode/profiles``: the built-in ones."""
    context = request.app[CONTEXT]
    rows = [
        {"name": one.name, "description": one.description, "parameters": dict(one.parameters)}
        for one in context.profiles.values()
    ]
    return web.json_response(
        {
            "profiles": rows,
            "hardware_acceleration": {
                "available": context.hardware.is_available,
                "type": context.hardware.type,
            },
            "default_variables": dict(DEFAULT_VARIABLES),
        }
    )
