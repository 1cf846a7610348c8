"""What a body is, told from its first bytes; its name and its Content-Type are only hints. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = 4096
"""Bytes that are enough to judge."""
PACKET = 188
_SYNCS = 3
"""Sync bytes in a row that make a transport stream."""


@dataclass(frozen=True, slots=True)
class Container:
    """A format: its media type, and the name of FFmpeg's demuxer if FFmpeg may be given it."""

    name: str
    content_type: str
    demuxer: str | None = None


MPEGTS = Container("mpegts", "video/mp2t", "mpegts")
PLAYLIST = Container("playlist", "application/vnd.apple.mpegurl", "hls")
MP4 = Container("mp4", "video/mp4", "mov")
FRAGMENT = Container("fragment", "video/iso.segment", "mov")
MATROSKA = Container("matroska", "video/x-matroska", "matroska")
WEBM = Container("webm", "video/webm", "matroska")
AVI = Container("avi", "video/x-msvideo", "avi")
FLV = Container("flv", "video/x-flv", "flv")
OGG = Container("ogg", "application/ogg", "ogg")
MPEG_PS = Container("mpegps", "video/mpeg", "mpeg")
MP3 = Container("mp3", "audio/mpeg", "mp3")
ADTS = Container("adts", "audio/aac", "aac")
WEBVTT = Container("webvtt", "text/vtt")
TEXT = Container("text", "text/plain")
"""Markup, an error message, JSON: what a provider says instead of sending media."""

_AT_START = (
    (b"\x1a\x45\xdf\xa3", MATROSKA),
    (b"FLV\x01", FLV),
    (b"OggS", OGG),
    (b"\x00\x00\x01\xba", MPEG_PS),
    (b"WEBVTT", WEBVTT),
    (b"\xef\xbb\xbfWEBVTT", WEBVTT),
)
_BOXES = {
    b"ftyp": MP4,
    b"moov": MP4,
    b"styp": FRAGMENT,
    b"moof": FRAGMENT,
    b"sidx": FRAGMENT,
    b"emsg": FRAGMENT,
}
_BLANK = b" \t\r\n"
_PRINTABLE = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\r\n\x0c")


def sniff(prefix: bytes) -> Container | None:
    """What ``prefix``, the first bytes of a body, belongs to; ``None`` if that cannot be told."""
    text = prefix.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
    if text.startswith(b"#EXTM3U"):
        return PLAYLIST
    for magic, container in _AT_START:
        if prefix.startswith(magic):
            return WEBM if container is MATROSKA and b"webm" in prefix[:64] else container
    if prefix[4:8] in _BOXES:
        return _BOXES[prefix[4:8]]
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"AVI ":
        return AVI
    if _sync_offset(prefix) is not None:
        return MPEGTS
    return _audio(prefix) or (TEXT if _is_text(text) else None)


def _sync_offset(prefix: bytes) -> int | None:
    """Where whole packets begin (ISO/IEC 13818-1 §2.4.3.2); a live source may start within one."""
    for offset in range(min(PACKET, len(prefix))):
        count = min(_SYNCS, (len(prefix) - offset + PACKET - 1) // PACKET)
        if prefix[offset::PACKET][:count].count(0x47) == count and (count == _SYNCS or offset == 0):
            return offset
    return None


def _audio(prefix: bytes) -> Container | None:
    """Elementary audio, with or without an ID3 tag in front (RFC 8216 §3.4)."""
    start = 0
    if prefix[:3] == b"ID3" and len(prefix) >= 10:
        size = sum((b & 0x7F) << (7 * (3 - i)) for i, b in enumerate(prefix[6:10]))
        start = 10 + size
        if start + 2 > len(prefix):
            return MP3
    if len(prefix) < start + 2 or prefix[start] != 0xFF:
        return None
    if prefix[start + 1] & 0xF6 == 0xF0:  # ISO/IEC 13818-7 §6.2: layer is always 0
        return ADTS
    if prefix[start + 1] & 0xE0 == 0xE0 and prefix[start + 1] & 0x06:  # ISO/IEC 11172-3 §2.4.2.3
        return MP3
    return None


def _is_text(text: bytes) -> bool:
    return bool(text) and all(byte in _PRINTABLE or byte >= 0x80 for byte in text[:256])
