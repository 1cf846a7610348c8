"""What the first bytes of a source show it to be."""

from __future__ import annotations

from m3u_proxy.errors import UpstreamError
from m3u_proxy.media.form import Evidence, Unplayable, decide
from m3u_proxy.media.sniff import PREFIX, sniff
from m3u_proxy.model import Kind
from m3u_proxy.upstream.begun import Begun
from m3u_proxy.upstream.outcome import TINY
from m3u_proxy.upstream.text import decoded_start, is_encoded


def is_enough(prefix: bytes) -> bool:
    """Whether it can be told what this is; a live source is not kept waiting for more than that."""
    return len(prefix) >= PREFIX or sniff(prefix) is not None


def kind_of(begun: Begun, guess: Kind, *, strict: bool) -> Kind:
    """What it yields: ``guess`` where the answer leaves that open. Raises UpstreamError if it is no media."""
    if not begun.prefix:
        reason = "eof" if guess is Kind.LIVE else "not_media"  # a live source may be back soon
        raise UpstreamError(reason, "The source sent nothing")
    head = begun.head
    answer = Evidence(
        container=sniff(decoded_start(head, begun.prefix, PREFIX), is_whole=begun.is_whole),
        content_type=head.content_type,
        is_part=head.status == 206,
        length=head.length,
        has_ranges=head.headers.get("Accept-Ranges", "").strip().lower() == "bytes",
        is_encoded=is_encoded(head),
    )
    try:
        return decide(guess, answer, strict=strict)
    except Unplayable as error:
        size = len(begun.prefix) if begun.is_whole or len(begun.prefix) > TINY else answer.length
        raise UpstreamError("not_media", f"The source sent no media but {error}", size=size) from None
