"""How much of the machine we and our FFmpegs may take: descriptors, viewers, memory, files."""

from __future__ import annotations

import logging
import os
import resource

from m3u_proxy.ffmpeg.process.confine import Confinement
from m3u_proxy.web.door import descriptors_for_clients

log = logging.getLogger(__name__)

LARGEST_FILE = 2**30
ADDRESS_SPACE = 8 * 2**30
ADDRESS_SPACE_PER_CPU = 2**29
"""Bytes for one FFmpeg, far above what it needs, which grows with its threads: a runaway then ends itself and
not the machine."""
SEGMENTS_UMASK = 0o022
"""A reverse proxy running as another user reads what FFmpeg writes."""


def raise_descriptor_limit() -> None:
    """Take as many file descriptors as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    log.info("file descriptors: %d", hard)


def viewer_limit(setting: int) -> int:
    """MAX_VIEWERS, or fewer: some of the descriptors are kept for sources, pipes and files."""
    room = descriptors_for_clients()
    return min(setting or room, room)


def confinement(instance: str) -> Confinement:
    """What an FFmpeg of ours may have; ``instance`` is the daemon's own id."""
    return Confinement(
        marker=instance,
        umask=SEGMENTS_UMASK,
        address_space=ADDRESS_SPACE + (os.cpu_count() or 1) * ADDRESS_SPACE_PER_CPU,
        file_size=LARGEST_FILE,
    )
