"""Streams as subcommands name and show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from m3u_proxy.client.api import Api, ClientError
from m3u_proxy.client.text import rate, table

Stream = Mapping[str, Any]

COLUMNS = ("STREAM", "TYPE", "STATE", "SOURCE", "VIEWERS", "IN")
SHORTEST_ID = 4
"""Characters of an id that say enough."""


def name_of(stream: Stream) -> str:
    """What a person calls it: a title from its metadata, else the host of its source."""
    metadata = stream.get("metadata") or {}
    for key in ("title", "name"):
        if metadata.get(key):
            return str(metadata[key])
    return str(stream["original_url"]).split("//", 1)[-1].split("/", 1)[0].rpartition("@")[2]


def source_of(stream: Stream) -> str:
    """Which of its sources is read: ``1/3``."""
    return f"{stream['current_failover_index'] + 1}/{len(stream['failover_urls']) + 1}"


def bitrate_of(stream: Stream) -> float:
    """Bits per second of what comes in; 0 if not known."""
    info = stream.get("media_info") or stream.get("output_media_info") or {}
    return float(info.get("bitrate_kbps") or 0) * 1000


def row(stream: Stream) -> tuple[object, ...]:
    """Its cells under `COLUMNS`."""
    kind, state = stream["stream_type"], stream["state"]
    incoming = rate(bitrate_of(stream))
    return name_of(stream), kind, state, source_of(stream), stream["client_count"], incoming


def listing(streams: list[Stream]) -> str:
    """All of them, or what to do when there are none."""
    if not streams:
        return "No streams. Add one:  m3u-proxy add http://provider.example/live.ts --name News\n"
    rows = [(one["stream_id"], *row(one), one["reason"] or "") for one in streams]
    return table(("ID", *COLUMNS, "WHY"), rows, right="    rrr")


def find(api: Api, wanted: str) -> Stream:
    """The stream with this id, a unique beginning of it, or this name; raises `ClientError`."""
    streams: list[Stream] = api.get("/streams")["streams"]
    same = [one for one in streams if one["stream_id"] == wanted]
    found = same or [
        one
        for one in streams
        if name_of(one).casefold() == wanted.casefold()
        or (len(wanted) >= SHORTEST_ID and one["stream_id"].startswith(wanted.lower()))
    ]
    if not found:
        raise ClientError(f"there is no stream {wanted!r}; m3u-proxy ls shows them all")
    if len(found) > 1:
        ids = ", ".join(one["stream_id"][:12] for one in found[:5])
        raise ClientError(f"{wanted!r} means {len(found)} streams ({ids}, …): give more of the id")
    return found[0]
