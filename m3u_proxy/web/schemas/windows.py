"""Answers about the HLS of channels."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict


class WindowConfig(TypedDict):
    """What is on disk of every channel that runs."""

    segment_duration: float
    """Seconds."""
    max_segments: int
    """In a playlist."""
    cleanup_interval: float
    """Seconds within which a segment goes that has left the playlist."""


class ChannelStarted(TypedDict):
    """Answer of ``start-stream``."""

    message: str
    channel: str
    """Its name."""
    hls_url: str
    config: WindowConfig


class ChannelStopped(TypedDict):
    """Answer of ``stop-stream``."""

    message: str
    channel: str


class ChannelStatus(TypedDict):
    """The HLS of one channel."""

    channel_name: str
    stream_id: str
    """Its key."""
    process_status: Literal["running", "starting", "stopped", "failed"]
    cleanup_running: bool
    segment_count: int
    """In the playlist."""
    max_segments: int
    master_playlist_exists: bool
    hls_url: str
    estimated_buffer_seconds: int
    """Length of the segments in the playlist."""
    reason: NotRequired[str]
    """Why it has failed."""


class ChannelStatuses(TypedDict):
    """Every channel whose HLS is not stopped."""

    streams: list[ChannelStatus]
    total: int
