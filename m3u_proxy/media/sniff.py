"""What a body is, told from its first bytes; its name and its Content-Type are only hints. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from m3u_proxy.media.psi import PACKET

PREFIX = 4096
"""Bytes that are enough to judge."""
TELLING = 16
"""Characters of a text that no format of media begins with by chance."""
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
    (b"RIFF", AVI),
)
_BOXES = {  # ISO/IEC 14496-12 §4.2, and the QuickTime file format
    b"ftyp": MP4,
    b"moov": MP4,
    b"styp": FRAGMENT,
    b"moof": FRAGMENT,
    b"sidx": FRAGMENT,
    b"emsg": FRAGMENT,
    b"free": MP4,
    b"skip": MP4,
    b"wide": MP4,
    b"mdat": MP4,
}
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_NOT_PRINTABLE = bytes(set(range(0x20)) - set(b"\t\r\n\x0c")) + b"\x7f"


def sniff(prefix: bytes, *, is_whole: bool = False) -> Container | None:
    """What ``prefix``, the first bytes of a body, belongs to; ``None`` if that cannot be told.

    ``is_whole``: no byte follows.
    """
    text = prefix.removeprefix(_BOM).lstrip(_BLANK)
    if text.startswith(b"#EXTM3U"):
        return PLAYLIST
    for magic, container in _AT_START:
        if prefix.startswith(magic):
            return _of_magic(container, prefix)
    if _is_text(text):
        return TEXT if len(text) >= TELLING or (is_whole and prefix) else None
    if prefix[4:8] in _BOXES:
        return _BOXES[prefix[4:8]]
    return MPEGTS if _sync_offset(prefix) is not None else _audio(prefix)


def _of_magic(container: Container, prefix: bytes) -> Container | None:
    """The format among those that begin alike: WebM is a Matroska, and RIFF holds other things than AVI."""
    if container is MATROSKA and b"webm" in prefix[:64]:
        return WEBM
    return None if container is AVI and prefix[8:12] != b"AVI " else container


def is_undecided(prefix: bytes) -> bool:
    """Whether a few more bytes tell a playlist from a text: so far it is blank, or may begin either."""
    text = prefix.removeprefix(_BOM).lstrip(_BLANK)
    return len(text) < TELLING and len(prefix) < PREFIX and sniff(prefix) is None and _is_text(text)


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
        if start + 3 > len(prefix):
            return MP3
    if len(prefix) < start + 3 or prefix[start] != 0xFF:
        return None
    head, rates = prefix[start + 1 : start + 3]
    if head & 0xF6 == 0xF0:  # ISO/IEC 13818-7 §6.2: layer is always 0
        return ADTS
    # ISO/IEC 11172-3 §2.4.2.3: a layer, a bit rate and a sampling frequency that exist; stuffing has none
    if head & 0xE0 == 0xE0 and head & 0x06 and rates & 0xF0 != 0xF0 and rates & 0x0C != 0x0C:
        return MP3
    return None


def _is_text(text: bytes) -> bool:
    """Printable UTF-8 as far as it goes, maybe cut within a character; nothing at all is a text, too."""
    start = text[:256]
    if len(start.translate(None, _NOT_PRINTABLE)) < len(start):
        return False
    try:
        start.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True
