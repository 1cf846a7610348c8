"""Is a source playable? For people who set up a lineup, and for their tools."""

from __future__ import annotations

from dataclasses import asdict

from aiohttp import web

from m3u_proxy.model import Kind
from m3u_proxy.pool.checkup import QUEUE, Finding
from m3u_proxy.web.body import read_model
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.definitions import plain_stream
from m3u_proxy.web.schemas.streams import CheckRequest, StreamRequest

_SHARING = {
    Kind.LIVE: "one connection for all viewers",
    Kind.HLS: "one request per playlist and segment for all viewers",
    Kind.VOD: "one connection for each viewer",
}


async def check(request: web.Request) -> web.Response:
    """``POST /check``: open a source as a viewer would, look into it, let go of it."""
    context = request.app[CONTEXT]
    body = await read_model(request, CheckRequest, context.config.body_timeout)
    asked = StreamRequest(url=body.url, headers=body.headers, user_agent=body.user_agent)
    finding = await context.checkup.check(plain_stream(context, asked), queue=QUEUE)
    return web.json_response(finding_json(finding))


def finding_json(found: Finding) -> dict[str, object]:
    """What a check has found; without a URL."""
    first_byte = None if found.first_byte is None else round(found.first_byte * 1000)
    return {
        "playable": found.reason is None,
        "reason": found.reason,
        "detail": found.detail,
        "kind": found.kind,
        "codecs": [track.codec for track in found.tracks],
        "tracks": [asdict(track) for track in found.tracks],
        "bitrate": round(found.bitrate),
        "duration": found.duration,
        "first_byte_ms": first_byte,
        "was_running": found.was_running,
        "pool": {
            "sharing": _SHARING[found.kind],
            "account": found.allowance.host,
            "connections_in_use": found.allowance.held,
            "connections_allowed": found.allowance.limit,
        },
    }
