"""Streams and clients with as few words as a test needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from m3u_proxy.model import Client, Origin, Stream, Transcode, plain_id, transcode_id

URL = "http://provider.example/live/u/p/101.ts"
CREATED = datetime(2026, 5, 1, 10, tzinfo=UTC)


def a_stream(
    url: str = URL,
    *,
    permanent: bool = False,
    metadata: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    created_at: datetime = CREATED,
) -> Stream:
    """An untranscoded definition."""
    return Stream(
        plain_id(url),
        Origin(url, headers or {}),
        "agent",
        created_at,
        metadata=metadata or {},
        permanent=permanent,
    )


def a_transcode(url: str = URL, *, output: str = "hls", template: str = "-c copy") -> Stream:
    """A transcoded definition; ``output`` is ``hls`` or ``pipe``."""
    arguments = ("-i", url, *template.split())
    transcode = Transcode("custom", template, {}, "mpegts", arguments, output, "mpegts", "video/mp2t")
    kind = "hls" if output == "hls" else "direct"
    stream_id = transcode_id(url, "custom", template, {}, kind)
    return Stream(stream_id, Origin(url, {}), "agent", CREATED, transcode=transcode)


def a_client(client_id: str = "one", stream_id: str = plain_id(URL)) -> Client:
    """A player."""
    return Client(client_id, stream_id, "192.0.2.7", "player/1", None, CREATED)
