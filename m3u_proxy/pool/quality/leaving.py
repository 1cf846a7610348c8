"""What follows when a source is found poor, though it has not failed."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from m3u_proxy.errors import Unusable, UpstreamError
from m3u_proxy.pool.quality.checks import Strikes
from m3u_proxy.pool.sources.attempts import Attempts

log = logging.getLogger(__name__)


class Leaving:
    """Another source where that is wanted and one can be used, else a warning, at most once a minute.

    The source is never given up: see `Attempts.switch`. ``who`` are the fields of log lines.
    """

    def __init__(self, attempts: Attempts, who: Mapping[str, str]) -> None:
        self._attempts = attempts
        self._who = who

    @property
    def url(self) -> str:
        """Of the source in use, or about to be."""
        return self._attempts.url

    async def poor(self, error: UpstreamError, strikes: Strikes, now: float, *, leave: bool) -> None:
        """The source in use has failed enough checks in a row; ``error`` says which."""
        attempts = self._attempts
        url = attempts.url
        if leave and attempts.failover.has_others and strikes.may_leave(url):
            try:
                await attempts.switch(error.reason)
            except Unusable:
                log.debug("no other source can be used", extra=self._who)
            else:
                strikes.leave(url)
                return
        if strikes.may_warn(now):
            log.warning("poor source: %s", error.detail, extra=self._who)
            attempts.warned(error)
