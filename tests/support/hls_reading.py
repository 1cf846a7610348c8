"""How tests read HLS sources through the daemon: by FFmpeg, and by their addresses."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.support.daemon import Daemon
from tests.support.hls_origin import HlsOrigin
from tests.support.media import ffmpeg

HLS_COPY = "-i {input_url} -c copy -f hls index.m3u8"
TS_COPY = "-i {input_url} -c copy -f mpegts {output_args}"
SPEED = 2.0
"""How much faster than it plays a live edge moves."""
BOUND = 12.0


async def endpoint(daemon: Daemon, url: str, **more: object) -> str:
    """Absolute URL of a new stream, the way a player gets it."""
    return daemon.url + str((await daemon.post("/streams", url=url, **more))["stream_endpoint"])


async def playlist_url(daemon: Daemon, url: str, **more: object) -> str:
    """The same by the address of its playlist."""
    stream = (await daemon.post("/streams", url=url, **more))["stream_id"]
    return f"{daemon.url}/hls/{stream}/playlist.m3u8"


async def transcode(daemon: Daemon, url: str, profile: str) -> str:
    """Absolute URL of a new transcoded stream."""
    return daemon.url + str((await daemon.post("/transcode", url=url, profile=profile))["stream_endpoint"])


async def decode(url: str, seconds: float, within: float = 40.0) -> Counter[str]:
    """Frames that FFmpeg decodes of the first picture and the first sound; it must not complain."""
    command = [ffmpeg(), "-v", "error", "-nostdin", "-i", url, "-map", "0:v:0", "-map", "0:a:0"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("-t", str(seconds), "-f", "framecrc", "-"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, said = await asyncio.wait_for(process.communicate(), within)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()
    assert not said, said.decode()
    lines = [line for line in out.decode().splitlines() if not line.startswith("#")]
    return Counter("video" if line.startswith("0,") else "audio" for line in lines)


async def streams_of(url: str) -> set[str]:
    """Kinds of stream that ffprobe sees."""
    command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_type", "-of", "csv=p=0", url]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await asyncio.wait_for(process.communicate(), 40)
    assert process.returncode == 0, said.decode()
    assert not said, said.decode()
    return {word for line in out.decode().split() for word in line.split(",") if word}


def shows_nothing(texts: list[str], provider: HlsOrigin) -> None:
    """No playlist holds an address of the provider, nor a name it uses."""
    assert texts
    for text in texts:
        for secret in (*provider.hosts, str(provider.port), *provider.streams, "index-", "://"):
            assert secret not in text, f"{secret} in {text}"


def once_each(provider: HlsOrigin, pattern: str) -> None:
    """Every segment was fetched exactly once."""
    counts = provider.counts(pattern)
    assert counts
    assert set(counts.values()) == {1}, counts


# Real players
