"""Bodies of requests about streams, and the JSON that is shown of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from m3u_proxy.model import Kind, RunSnapshot, State, Stream, StreamSnapshot, endpoint_of
from m3u_proxy.pool.sources.history import Moment
from m3u_proxy.pool.viewers import Viewer
from m3u_proxy.web.schemas.answers import ClientShown
from m3u_proxy.web.schemas.fields import Body, Flag, Headers, HeaderText, Metadata, Text, Variables, null_is
from m3u_proxy.web.schemas.silence import SilenceFields

TEMPLATE_LIMIT = 4096
"""Characters."""
FAILOVER_LIMIT = 64

STREAM_TYPES = {
    Kind.LIVE: "Live Continuous",
    Kind.HLS: "HLS",
    Kind.VOD: "VOD",
    Kind.TRANSCODE_TS: "Transcoding",
    Kind.TRANSCODE_PIPE: "Transcoding",
    Kind.TRANSCODE_HLS: "Transcoding",
}


class StreamRequest(SilenceFields):
    """Body of ``POST /streams``. Unknown fields are ignored, ``null`` means the default."""

    url: Text
    """Of the source; http or https."""
    failover_urls: Annotated[list[Text], null_is([], list[str] | None), Field(max_length=FAILOVER_LIMIT)] = []
    """Other sources of the same, taken in this order when one fails."""
    failover_resolver_url: Text | None = None
    """Who is asked for the next source instead."""
    user_agent: HeaderText | None = None
    """Towards the provider; otherwise DEFAULT_USER_AGENT."""
    metadata: Metadata | None = None
    """Kept and returned as strings; found again by ``/streams/by-metadata``."""
    headers: Headers = {}
    """Sent to the provider over the usual ones."""
    permanent: Flag = False
    """Listed until it is deleted, however long nobody watches."""
    strict_live_ts: Flag = False
    """Endless, whatever the provider says of lengths and ranges."""
    use_sticky_session: bool | None = None
    """Stay where a redirect led while that works; otherwise USE_STICKY_SESSION."""


class CheckRequest(Body):
    """Body of ``POST /check``: a source, and how it is asked."""

    url: Text
    """Of the source; http or https."""
    user_agent: HeaderText | None = None
    """Towards the provider; otherwise DEFAULT_USER_AGENT."""
    headers: Headers = {}
    """Sent to the provider over the usual ones."""


class ConnectionTestRequest(Body):
    """Body of ``POST /test-connection``. What is no http URL is told in the answer, not refused."""

    url: Text


class TranscodeRequest(StreamRequest):
    """Body of ``POST /transcode``."""

    profile: Annotated[Text, Field(max_length=TEMPLATE_LIMIT)] | None = None
    profile_variables: Variables = {}
    output_format: Text | None = None
    resolver: Literal["streamlink", "ytdlp"] | None = None


def moment(at: datetime) -> str:
    """ISO 8601 in UTC, with its offset."""
    return at.isoformat()


def created(stream: Stream, metadata: Mapping[str, str] | None) -> dict[str, object]:
    """Answer to ``POST /streams``; ``metadata`` is what the caller sent, if anything."""
    body: dict[str, object] = {
        "stream_id": stream.id,
        "primary_url": stream.origin.url,
        "failover_urls": list(stream.failover_urls),
        "user_agent": stream.user_agent,
    }
    transcode = stream.transcode
    if transcode is None:
        kind = "hls" if stream.kind.is_hls else "direct"
        endpoint = endpoint_of(stream.id, stream.kind)
        body |= {"stream_type": kind, "stream_endpoint": endpoint, "playlist_url": endpoint}
        body |= {"direct_url": endpoint, "message": f"Stream created successfully ({kind})"}
    else:
        is_hls, endpoint = stream.kind.is_hls, endpoint_of(stream.id, stream.kind)
        form = "HLS output" if is_hls else f"direct {transcode.container.upper()} pipe"
        body |= {
            "stream_type": "transcoded",
            "stream_endpoint": endpoint,
            "playlist_url": endpoint if is_hls else None,
            "direct_url": endpoint,
            "format": transcode.container,
            "profile": transcode.profile,
            "profile_variables": dict(transcode.variables),
            "ffmpeg_args": list(transcode.arguments),
            "message": f"Transcoded stream created successfully ({form})",
        }
    if metadata is not None:
        body["metadata"] = dict(metadata)
    return body


def stream_json(snapshot: StreamSnapshot) -> dict[str, object]:
    """One row of ``GET /streams``."""
    stream, run, source = snapshot.stream, snapshot.run, snapshot.source
    return {
        "stream_id": stream.id,
        "original_url": stream.origin.url,
        "current_url": source.url if source else stream.origin.url,
        "user_agent": stream.user_agent,
        "client_count": snapshot.clients,
        "total_bytes_served": snapshot.bytes_served,
        "total_segments_served": snapshot.segments_served,
        "error_count": snapshot.errors,
        "is_active": snapshot.is_active,
        "has_failover": bool(stream.failover_urls or stream.failover_resolver_url),
        "failover_urls": list(stream.failover_urls),
        "failover_resolver_url": stream.failover_resolver_url,
        "current_failover_index": source.index if source else 0,
        "failover_attempts": source.attempts if source else 0,
        "last_failover_time": moment(snapshot.failover_at) if snapshot.failover_at else None,
        "stream_type": STREAM_TYPES[snapshot.kind],
        "created_at": moment(stream.created_at),
        "last_access": moment(snapshot.last_access),
        "metadata": dict(stream.metadata),
        "headers": dict(stream.headers),
        "media_info": _media_info(snapshot.upstream),
        "output_media_info": _media_info(run) if stream.transcode is not None else {},
        "state": run.state if run else State.FAILED if snapshot.failure else State.CLOSED,
        "reason": snapshot.failure.detail if snapshot.failure else None,
        "endpoint": endpoint_of(stream.id, snapshot.kind),
        "permanent": stream.permanent,
    }


def _media_info(run: RunSnapshot | None) -> dict[str, object]:
    """As far as it is known; empty for what does not run."""
    if run is None:
        return {}
    rate = {"bitrate_kbps": round(run.bitrate / 1000)} if run.bitrate else {}
    return {**run.media_info, **rate}


def client_json(viewer: Viewer) -> ClientShown:
    """One client of a stream."""
    client = viewer.client
    return {
        "client_id": client.id,
        "stream_id": client.stream_id,
        "user_agent": client.user_agent,
        "ip_address": client.ip_address,
        "username": client.username,
        "bytes_served": viewer.bytes_served,
        "segments_served": viewer.segments,
        "created_at": client.since,
        "last_access": moment(viewer.last_access),
        "is_connected": True,
    }


def moment_json(one: Moment) -> dict[str, object]:
    """One row of a timeline; nothing in it names a credential."""
    return {
        "at": moment(one.at),
        "kind": one.what,
        "reason": one.reason,
        "source": one.source,
        "detail": one.detail,
    }
