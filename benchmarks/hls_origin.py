"""A provider of live HLS: the clip in segments, under any number of names, with a count of the requests.

``python -m benchmarks.hls_origin FOLDER`` prints its port and serves until it is ended:

* ``GET /live/NAME/index.m3u8`` is a window that moves in real time from the first request on;
* ``GET /drip/NAME/index.m3u8`` is the same, but every segment takes as long to send as to play;
* ``GET /stats`` is JSON, ``KIND/NAME`` -> ``Channel``.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from time import monotonic

from benchmarks.clip import GOP, segments
from benchmarks.origin import TICK, Provider

WINDOW = 6
"""Segments that a playlist lists."""
GRACE = 3
"""Segments kept after the playlist has left them out (RFC 8216 §6.2.2)."""
HALF_TARGET = GOP / 2
"""Seconds a player waits after a playlist that has not changed (RFC 8216 §6.3.4)."""


@dataclass
class Channel:
    """What was asked of one name. Every request counts, whatever its method and its answer."""

    began: float = field(default_factory=monotonic)
    segments: dict[str, int] = field(default_factory=dict)
    """How often each was asked for."""
    playlist: list[float] = field(default_factory=list)
    """Monotonic times at which the playlist was asked for."""

    @property
    def fetches(self) -> int:
        """How often the segment was asked for that was asked for most."""
        return max(self.segments.values(), default=0)

    @property
    def playlist_rate(self) -> float:
        """Times the playlist was asked for per half target duration."""
        gaps = len(self.playlist) - 1
        return gaps * HALF_TARGET / (self.playlist[-1] - self.playlist[0]) if gaps > 0 else 0.0

    @property
    def playlist_gap(self) -> float:
        """Seconds between the two neighbouring requests for the playlist that lie closest together."""
        return min((b - a for a, b in pairwise(self.playlist)), default=0.0)


class _Server:
    def __init__(self, bodies: list[bytes]) -> None:
        self._bodies = bodies
        self._channels: defaultdict[str, Channel] = defaultdict(Channel)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, request after request."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                method, path, _ = head.decode("latin-1").split(" ", 2)
                await self._answer(writer, path.partition("?")[0].strip("/"), with_body=method == "GET")
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side hung up
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, path: str, *, with_body: bool) -> None:
        kind, _, rest = path.partition("/")
        name, _, file = rest.partition("/")
        body = self._body(f"{kind}/{name}", file) if file else self._stats()
        writer.write(_head(200 if body else 404, file, len(body)))
        if with_body and kind == "drip" and file.endswith(".ts"):
            await _drip(writer, body)
        elif with_body:
            writer.write(body)
        await writer.drain()

    def _body(self, name: str, file: str) -> bytes:
        """What is there under that name now, which may be nothing; the request is counted."""
        channel, now = self._channels[name], monotonic()
        newest = WINDOW - 1 + int((now - channel.began) / GOP)
        if file == "index.m3u8":
            channel.playlist.append(now)
            return self._playlist(newest - WINDOW + 1)
        channel.segments[file] = channel.segments.get(file, 0) + 1
        number = int(file.removesuffix(".ts"))
        return self._bodies[number % len(self._bodies)] if 0 <= newest - number < WINDOW + GRACE else b""

    def _playlist(self, first: int) -> bytes:
        count = len(self._bodies)
        lines = ["#EXTM3U", "#EXT-X-VERSION:3", f"#EXT-X-TARGETDURATION:{GOP:.0f}"]
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{max(0, first - 1) // count}")
        for number in range(first, first + WINDOW):
            if number and number % count == 0:
                lines.append("#EXT-X-DISCONTINUITY")
            lines += [f"#EXTINF:{GOP:.3f},", f"{number}.ts"]
        return "\n".join([*lines, ""]).encode()

    def _stats(self) -> bytes:
        return json.dumps({name: asdict(channel) for name, channel in self._channels.items()}).encode()


async def _drip(writer: asyncio.StreamWriter, body: bytes) -> None:
    """Send evenly over the duration of a segment."""
    began, sent = monotonic(), 0
    while sent < len(body):
        await asyncio.sleep(TICK)
        due = int((monotonic() - began) / GOP * len(body))
        writer.write(body[sent:due])
        sent = due
        await writer.drain()


def _head(status: int, file: str, size: int) -> bytes:
    kinds = {".ts": "video/mp2t", ".m3u8": "application/vnd.apple.mpegurl"}
    kind = kinds.get(Path(file).suffix, "application/json")
    # RFC 9112 §4: the reason phrase may be empty
    return f"HTTP/1.1 {status} \r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode()


async def _serve(folder: Path) -> None:
    bodies = [path.read_bytes() for path in sorted(folder.glob("*.ts"), key=lambda path: int(path.stem))]
    server = await asyncio.start_server(_Server(bodies).serve, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class HlsOrigin(Provider):
    """The provider of live HLS."""

    def __init__(self) -> None:
        super().__init__("benchmarks.hls_origin", segments())

    def path(self, name: str, kind: str = "live") -> str:
        """Path of a channel's playlist; ``kind`` is ``live`` or ``drip``."""
        return f"/{kind}/{name}/index.m3u8"

    def url(self, name: str, kind: str = "live") -> str:
        """Address of the same."""
        return self._base + self.path(name, kind)

    def channel(self, name: str, kind: str = "live") -> Channel:
        """What was asked of this name so far."""
        return Channel(**self._stats()[f"{kind}/{name}"])


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
