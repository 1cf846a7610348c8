"""What is shown of a stream: its definition, its counters and what runs behind it, at one moment."""

from __future__ import annotations

from datetime import datetime

from m3u_proxy.model import SourceSnapshot, StreamSnapshot
from m3u_proxy.pool.audience import Audience
from m3u_proxy.pool.catalog import Record
from m3u_proxy.pool.supply import Supply


def describe(record: Record, audience: Audience) -> StreamSnapshot:
    """One definition now; what its viewers have taken so far counts."""
    pool, stream = audience.pool, record.stream
    watching = audience.viewers.of(stream.id)
    entry, supply = pool.find(stream), pool.supply(stream)
    run = entry.thing.snapshot() if entry else None
    upstream = run if stream.transcode is None else supply.snapshot() if supply else None
    taken, segments, access = record.bytes_served, record.segments_served, record.last_access
    for viewer in watching:
        taken += viewer.bytes_served
        segments += viewer.segments
        access = max(access, viewer.last_access)
    return StreamSnapshot(
        stream=stream,
        kind=pool.kind(stream),
        clients=len(watching),
        bytes_served=taken,
        segments_served=segments,
        errors=record.errors,
        last_access=access,
        failover_at=record.failover_at,
        run=run,
        upstream=upstream,
        source=_source(supply),
        failure=pool.refusal(stream),
    )


def last_access(record: Record, audience: Audience) -> datetime:
    """When a stream was last defined, or read by anybody."""
    times = [viewer.last_access for viewer in audience.viewers.of(record.stream.id)]
    return max([record.last_access, *times])


def is_active(record: Record, audience: Audience) -> bool:
    """Whether it is alive; see `StreamSnapshot.is_active`."""
    return audience.pool.find(record.stream) is not None or audience.pool.refusal(record.stream) is None


def _source(supply: Supply | None) -> SourceSnapshot | None:
    """Which of its sources a stream reads now."""
    if supply is None:
        return None
    failover = supply.workshop.attempts.failover
    return SourceSnapshot(failover.url, failover.index, failover.attempts)
