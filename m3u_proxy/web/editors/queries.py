"""Editors: streams by what is in their metadata, counted, listed and ended.

An editor takes an error or a late answer for zero and oversubscribes the provider: everything here is read
from memory in one step, and only an ending waits.
"""

from __future__ import annotations

from collections import Counter
from time import monotonic

from aiohttp import web

from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.catalog import Record
from m3u_proxy.pool.snapshots import is_active, last_access
from m3u_proxy.web.body import read_query
from m3u_proxy.web.context import CONTEXT
from m3u_proxy.web.encode import large_json
from m3u_proxy.web.schemas.answers import DeletedByMetadata, DeletedOldest, MatchingStream, SkippedStream
from m3u_proxy.web.schemas.queries import (
    CountsByMetadataQuery,
    DeleteByMetadataQuery,
    DeleteOldestByMetadataQuery,
    StreamsByMetadataQuery,
)
from m3u_proxy.web.schemas.streams import STREAM_TYPES, moment


async def streams_by_metadata(request: web.Request) -> web.Response:
    """``GET /streams/by-metadata``: watched ones first, then the oldest: editors take the first fit."""
    query = read_query(request, StreamsByMetadataQuery)
    audience = request.app[CONTEXT].audience
    found = _first_fit(audience, _matching(audience, query.field, query.value))
    rows = [
        _row(audience, one) for one in found if not query.active_only or audience.viewers.count(one.stream.id)
    ]
    body = {
        "filter": {"field": query.field, "value": query.value},
        "active_only": query.active_only,
        "matching_streams": rows,
        "total_matching": len(rows),
        "total_clients": sum(row["client_count"] for row in rows),
    }
    return large_json(body)


async def counts_by_metadata(request: web.Request) -> web.Response:
    """``GET /streams/counts-by-metadata``: streams, not clients, for each value that was asked for."""
    query = read_query(request, CountsByMetadataQuery)
    audience = request.app[CONTEXT].audience
    found = Counter(
        record.stream.metadata.get(query.field)
        for record in audience.catalog.listed()
        if not query.active_only or audience.viewers.count(record.stream.id)
    )
    return web.json_response(
        {"field": query.field, "counts": {value: found[value] for value in query.wanted}}
    )


async def delete_by_metadata(request: web.Request) -> web.Response:
    """``DELETE /streams/by-metadata``: answered when everything has ended; nothing found is no error."""
    query = read_query(request, DeleteByMetadataQuery)
    audience = request.app[CONTEXT].audience
    reason = "metadata_filter_deletion"
    doomed: list[Record] = []
    skipped: list[SkippedStream] = []
    for record in _matching(audience, query.field, query.value):
        stream_id = record.stream.id
        if _is_excluded(record, query.exclude_channel_id):
            skipped.append({"stream_id": stream_id, "reason": "excluded_by_channel_id"})
            continue
        if not query.force and query.client_id is not None:
            drop(audience, stream_id, query.client_id, reason)
        others = audience.viewers.count(stream_id)
        if others and not query.force:
            skipped.append({"stream_id": stream_id, "reason": "has_active_clients", "active_clients": others})
        else:
            doomed.append(record)
    await audience.delete_all(doomed, reason, filter_field=query.field, filter_value=query.value)
    answer: DeletedByMetadata = {
        "message": f"Deleted {len(doomed)} streams, skipped {len(skipped)}",
        "deleted_streams": [record.stream.id for record in doomed],
        "skipped_streams": skipped,
        "deleted_count": len(doomed),
    }
    return web.json_response(answer)


async def delete_oldest_by_metadata(request: web.Request) -> web.Response:
    """``DELETE /streams/oldest-by-metadata``: one that is watched, else an idle one."""
    query = read_query(request, DeleteOldestByMetadataQuery)
    audience = request.app[CONTEXT].audience
    matching = _first_fit(audience, _matching(audience, query.field, query.value))
    oldest = next((one for one in matching if not _is_excluded(one, query.exclude_channel_id)), None)
    if oldest is None:
        nothing: DeletedOldest = {
            "message": "No stream matches",
            "deleted_stream": None,
            "deleted_count": 0,
        }
        return web.json_response(nothing)
    age = round(monotonic() - oldest.defined_at, 3)
    await audience.delete_all(
        [oldest],
        "oldest_stream_deletion",
        filter_field=query.field,
        filter_value=query.value,
        stream_age_seconds=age,
    )
    answer: DeletedOldest = {
        "message": f"Deleted the oldest stream, {oldest.stream.id}",
        "deleted_stream": oldest.stream.id,
        "stream_age_seconds": age,
        "deleted_count": 1,
    }
    return web.json_response(answer)


async def disconnect_client(request: web.Request) -> web.Response:
    """``DELETE /hls/{id}/clients/{client}``: ends it on that stream only; unknown ones are gone."""
    client_id = request.match_info["client"]
    drop(request.app[CONTEXT].audience, request.match_info["id"], client_id, "manual_disconnect")
    return web.json_response({"message": f"Client {client_id} disconnected"})


def drop(audience: Audience, stream_id: str, client_id: str, reason: str) -> None:
    """Cut one client of one stream, if it is there."""
    viewer = audience.viewers.get(stream_id, client_id)
    if viewer is not None:
        audience.cut(viewer, reason)


def _matching(audience: Audience, field: str, value: str) -> list[Record]:
    """Listed streams whose metadata say so; one without the key never matches. Oldest first."""
    return [one for one in audience.catalog.listed() if one.stream.metadata.get(field) == value]


def _first_fit(audience: Audience, records: list[Record]) -> list[Record]:
    """Watched ones first, each part by age."""
    return sorted(
        records,
        key=lambda one: (not audience.viewers.count(one.stream.id), one.defined_at),
    )


def _is_excluded(record: Record, channel_id: str | None) -> bool:
    return channel_id is not None and record.stream.metadata.get("id") == channel_id


def _row(audience: Audience, record: Record) -> MatchingStream:
    stream = record.stream
    return {
        "stream_id": stream.id,
        "client_count": audience.viewers.count(stream.id),
        "metadata": dict(stream.metadata),
        "last_access": moment(last_access(record, audience)),
        "is_active": is_active(record, audience),
        "url": stream.origin.url,
        "stream_type": STREAM_TYPES[audience.pool.kind(stream)],
    }
