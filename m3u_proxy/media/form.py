"""What a source yields: a live stream, a playlist or a file. Decided from its answer, not its name. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from m3u_proxy.media.sniff import ADTS, MP3, MPEGTS, PLAYLIST, TEXT, Container
from m3u_proxy.model import Kind


class Unplayable(ValueError):
    """The source sends something nobody can play; the message says what."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known once the first bytes are there."""

    container: Container | None
    """As `m3u_proxy.media.sniff` told it, of the body once decoded."""
    content_type: str
    is_part: bool
    """A byte range was asked for and given (206)."""
    length: int | None
    """Bytes of the body, where announced."""
    has_ranges: bool
    """``Accept-Ranges: bytes``."""
    is_encoded: bool = False
    """It has a content coding (RFC 9110 §8.4), which only a playlist may have."""


def decide(guess: Kind, answer: Evidence, *, strict: bool) -> Kind:
    """``LIVE``, ``HLS`` or ``VOD``. ``guess`` decides where the answer leaves it open.

    ``strict`` makes everything but a playlist a live stream. A transport stream with a length is a file only
    if ranges of it can be had, or its name says so: some providers announce absurd lengths of live streams.
    Raises ``Unplayable``.
    """
    container = answer.container
    if container is PLAYLIST:
        return Kind.HLS
    if container is TEXT or (container is None and answer.content_type.startswith("text/")):
        raise Unplayable("a web page or a text")
    if answer.is_encoded:
        raise Unplayable("a body in an encoding that was not asked for")
    if strict:
        return Kind.LIVE
    if answer.is_part:
        return Kind.VOD
    if container is None or container is MPEGTS:
        is_file = answer.length is not None and answer.has_ranges
        return Kind.VOD if is_file or guess is Kind.VOD else Kind.LIVE
    if container in (ADTS, MP3) and answer.length is None:
        raise Unplayable("endless audio outside a transport stream, which cannot be shared")
    return Kind.VOD
