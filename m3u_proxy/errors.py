"""Exception families. Each carries a closed ``reason`` word and a ``detail`` a person can act on.

Nothing here knows HTTP: ``web/middleware.py`` alone turns a family into a status code. ``reason`` is what
events, metrics labels and snapshots show, ``detail`` is what a viewer or an editor reads. A ``detail`` never
holds a URL, a header value or a local path.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class ProxyError(Exception):
    """Root of everything this program raises on purpose."""

    def __init__(self, detail: str, *, reason: str, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.reason = reason
        self.retry_after = retry_after
        """Seconds after which asking again makes sense; ``None`` when it never does by itself."""

    def again(self) -> Self:
        """A copy to raise for another waiter: one that was raised keeps the frames it passed alive."""
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        return twin


class StartError(ProxyError):
    """The daemon cannot start: a port is taken, a directory cannot be written."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="start")


class InvalidField(ProxyError):
    """A field of a request breaks a rule."""

    def __init__(self, field: str, detail: str, *, place: str = "body") -> None:
        super().__init__(detail, reason="invalid")
        self.field = field
        """Dotted path of the field, list positions as numbers."""
        self.place = place
        """``body`` or ``query``."""


class BadTemplate(ProxyError):
    """An FFmpeg template asks for something outside the allow-list."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="template")


class NotFound(ProxyError):
    """No such stream, segment or route."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="not_found")


class NoSuchChannel(NotFound):
    """No channel has this key."""

    def __init__(self, nearest: Sequence[str] = ()) -> None:
        super().__init__("Channel not found")
        self.args = (nearest,)  # what `again` makes a copy with
        self.nearest = list(nearest)
        """Keys that may have been meant."""


class Taken(ProxyError):
    """What was to be made is there already."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="taken")


class BadLineup(ProxyError):
    """What was to be imported is no lineup, or nothing in it is of use."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="lineup")


class Forged(ProxyError):
    """A token that this proxy did not mint, or not for this stream."""

    def __init__(self, detail: str = "Invalid segment token") -> None:
        super().__init__(detail, reason="forged")


class NotPossible(ProxyError):
    """What was asked for makes no sense for this stream: a failover where there is no other source."""


class Unusable(ProxyError):
    """None of the other sources can be used now."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="no_failover_available")


class Unavailable(ProxyError):
    """Not now: a limit is reached, nothing is ready yet, the disk is full, FFmpeg is missing."""

    def __init__(self, detail: str, *, reason: str, retry_after: float | None = 2.0) -> None:
        super().__init__(detail, reason=reason, retry_after=retry_after)


class Closed(ProxyError):
    """The shared thing a viewer held has ended."""

    def __init__(self, detail: str, *, reason: str) -> None:
        super().__init__(detail, reason=reason, retry_after=2.0)


class FormChanged(Closed):
    """Another source has taken over, and it yields something else: a playlist instead of a live stream."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, reason="form_changed")


class UpstreamError(ProxyError):
    """One attempt to read a source has failed.

    ``reason`` is one of: refused, addr_in_use, dns, tls, connect_timeout, first_byte_timeout, stall, reset,
    eof, short, protocol, redirects, blocked, not_media, too_large, low_bitrate, silence, circuit_breaker,
    http_404, http_416, http_4xx, http_429, http_5xx; of an FFmpeg that is read like a source also those of
    its run, and ``completed``.
    ``status`` is the provider's HTTP status where one was received, ``size`` the least number of bytes of
    its body where that is no media.
    """

    def __init__(
        self,
        reason: str,
        detail: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        size: int | None = None,
    ) -> None:
        super().__init__(detail, reason=reason, retry_after=retry_after)
        self.status = status
        self.size = size
