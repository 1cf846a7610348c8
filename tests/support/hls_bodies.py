"""A small provider of HLS: bodies that are just recognised, playlists as text, and what a player reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.answer import Answer, null_packets
from tests.support.daemon import Daemon
from tests.support.origin import Origin

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"


def _box(kind: bytes, payload: bytes = b"") -> bytes:
    return (8 + len(payload)).to_bytes(4, "big") + kind + payload


TS = null_packets(64)
INIT = _box(b"ftyp", b"iso6" + bytes(4) + b"iso6mp41") + _box(b"moov", bytes(64))
FRAGMENT = _box(b"styp", b"msdh" + bytes(4)) + _box(b"moof", bytes(80)) + _box(b"mdat", bytes(range(256)) * 8)
ADTS_FRAME = bytes([0xFF, 0xF1, 0x50, 0x80, 0x02, 0x1F, 0xFC]) + bytes(9)
AAC = ADTS_FRAME * 40
VTT = b"WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:126000,LOCAL:00:00:00.000\n\n00:00:00.000 --> 00:00:01.000\nHello\n"
KEY = bytes(range(16))


def body(data: bytes | str, content_type: str = "binary/octet-stream") -> Answer:
    """A body with a length, under a type that says nothing."""
    return Answer(headers={"Content-Type": content_type}, body=data, length=True)


def live(*lines: str, target: int = 2, sequence: int = 0) -> str:
    """A live media playlist."""
    head = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target}"]
    return "\n".join([*head, f"#EXT-X-MEDIA-SEQUENCE:{sequence}", *lines, ""])


def ended(*lines: str, target: int = 2) -> str:
    """A media playlist of a film."""
    return live(*lines, target=target) + "#EXT-X-ENDLIST\n"


def segments(*uris: str) -> list[str]:
    """Lines that list these."""
    return [line for uri in uris for line in ("#EXTINF:2.000,", uri)]


def playlist(text: str | bytes) -> Answer:
    """An answer with a playlist."""
    return body(text, PLAYLIST_TYPE)


def urls(text: str) -> list[str]:
    """Every URL in a playlist, in order."""
    found = re.findall(r'URI="([^"]*)"|^([^#\n][^\n]*)$', text, re.MULTILINE)
    return [quoted or line for quoted, line in found]


def token(url: str) -> str:
    """Its token."""
    return dict(parse_qsl(urlsplit(url).query))["t"]


PREFIX = "/m3u-proxy"
NO_CACHE = {"cache-control": "no-cache, no-store, must-revalidate", "pragma": "no-cache", "expires": "0"}
CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, HEAD, OPTIONS",
    "access-control-allow-headers": "*",
    "access-control-expose-headers": "*",
}
MASTER = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="en",URI="audio.m3u8"
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="frames.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=900000,AUDIO="a"
high.m3u8
"""
MIXED = live(
    '#EXT-X-KEY:METHOD=AES-128,URI="one.key"',
    '#EXT-X-MAP:URI="init.mp4"',
    *segments("a.m4s", "b.aac", "c.vtt", "d.ts", "e"),
)
MIME = {
    "init.mp4": (INIT, "video/mp4"),
    "a.m4s": (FRAGMENT, "video/iso.segment"),
    "b.aac": (AAC, "audio/aac"),
    "c.vtt": (VTT, "text/vtt"),
    "d.ts": (TS, "video/mp2t"),
    "one.key": (KEY, "application/octet-stream"),
}


def fill(origin: Origin) -> None:
    """A multivariant stream, one with a segment of each kind, and a film."""
    origin.on("/master.m3u8", playlist(MASTER))
    origin.on("/high.m3u8", playlist(live(*segments("d.ts"))))
    origin.on("/mixed.m3u8", playlist(MIXED))
    origin.on("/film.m3u8", playlist(ended(*segments("d.ts"))))
    for name, (data, _) in MIME.items():
        origin.on(f"/{name}", body(data))


async def made(daemon: Daemon, url: str) -> str:
    """Id of a new stream."""
    stream_id = (await daemon.post("/streams", url=url))["stream_id"]
    assert isinstance(stream_id, str)
    return stream_id


async def fetch(daemon: Daemon, path: str, status: int = 200, method: str = "GET", **fields: str) -> bytes:
    """The body of an answer, which must have this status."""
    async with daemon.http.request(method, path, headers=fields) as response:
        data = await response.read()
        assert response.status == status, (path, data)
        return data


async def listed(daemon: Daemon, stream_id: str, client: str = "tv", t: str = "") -> list[str]:
    """URLs in a playlist of a stream."""
    query = f"client_id={client}" + (f"&t={t}" if t else "")
    return urls((await fetch(daemon, f"/hls/{stream_id}/playlist.m3u8?{query}")).decode())


async def row(daemon: Daemon, stream_id: str) -> dict[str, Any]:
    """What the listing says of a stream."""
    rows = (await daemon.get("/streams"))["streams"]
    [found] = [one for one in rows if one["stream_id"] == stream_id]
    assert isinstance(found, dict)
    return found


def lower(headers: Mapping[str, str]) -> dict[str, str]:
    """Header fields by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}
