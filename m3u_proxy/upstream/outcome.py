"""How an attempt at a source ended, what that says about the next one, and the word for it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from m3u_proxy.errors import ProxyError, UpstreamError

TINY = 4096
"""Bytes of a body that is no media but the words of a provider."""
PACKET = 188
"""Bytes; no live source that has given less has given any media."""
_CROWDED = frozenset({429, 456, 458, 509})
"""What providers answer when an account has too many connections."""

_WORDS = {
    "manual": "manual",
    "stall": "chunk_timeout_after_retries",
    "circuit_breaker": "circuit_breaker_timeout",
    "circuit_open": "circuit_breaker_bad_upstream",
    "eof": "live_stream_silent_close",
    "short": "live_stream_silent_close",
    "low_bitrate": "low_bitrate",
    "silence": "silence_detected",
    **dict.fromkeys(
        (
            *("refused", "addr_in_use", "dns", "tls", "connect_timeout", "first_byte_timeout", "reset"),
            "account_limit",
            *("http_404", "http_416", "http_4xx", "http_429", "http_5xx"),
        ),
        "connection_error_after_retries",
    ),
    "protocol": "stream_error_Protocol_after_retries",
    "redirects": "stream_error_TooManyRedirects_after_retries",
    "blocked": "stream_error_Blocked_after_retries",
    "not_media": "stream_error_NotMedia_after_retries",
    "too_large": "stream_error_TooLarge_after_retries",
    "playlist_freeze": "playlist_fetch_error_Stale",
    "segments": "segment_fetch_error",
    "spawn": "transcode_start_error",
    "ffmpeg_missing": "transcode_start_error",
    "ffmpeg_eof": "transcode_process_exited",
    "ffmpeg_error": "transcode_process_exited",
    "ffmpeg_signal": "transcode_process_exited",
    "ffmpeg_oom": "transcode_process_exited",
}


REASONS = (*_WORDS, "variant", "write_error")
"""Why sources are left, as far as that is foreseen; metrics name each of them before it happens."""


def word_of(reason: str) -> str:
    """Our ``reason`` in the words that events and resolvers know (those of m3u-proxy 0.4.5)."""
    name = "".join(part.capitalize() for part in reason.split("_"))
    return _WORDS.get(reason) or f"unknown_error_{name}_after_retries"


def judged(error: UpstreamError, received: int) -> UpstreamError:
    """``error`` at the end of a live source that had given so many bytes: a few words are no media."""
    if error.reason == "eof" and 0 < received < PACKET:
        return UpstreamError("not_media", "The source sent a few words and no media", size=received)
    return error.again()


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended."""

    reason: str
    """That of the exception."""
    status: int | None = None
    """The provider's HTTP status, if any."""
    retry_after: float | None = None
    """Seconds the provider asked for."""
    size: int | None = None
    """Bytes of the body, at least, where it is no media and that is known."""

    @classmethod
    def of(cls, error: ProxyError) -> Outcome:
        """From what a source raised; only a provider can ask for time."""
        if not isinstance(error, UpstreamError):
            return cls(error.reason)
        return cls(
            error.reason, error.status, error.retry_after if error.status is not None else None, error.size
        )

    @property
    def is_crowded(self) -> bool:
        """Whether it may mean that the account has too many connections."""
        is_tiny = self.reason == "not_media" and (self.size is None or self.size <= TINY)
        return is_tiny or self.status in _CROWDED

    @property
    def is_final(self) -> bool:
        """Whether another attempt at the same URL would end the same way."""
        is_refusal = self.status is not None and 400 <= self.status < 500
        return self.reason == "blocked" or (is_refusal and not self.is_crowded)
