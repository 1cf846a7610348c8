"""CHANNELS_M3U: a lineup that is read at the start, and again whenever it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from time import monotonic

from m3u_proxy.errors import ProxyError, Unavailable
from m3u_proxy.lineup.importer import LINEUP_BYTES, Importer, ImportReport
from m3u_proxy.lineup.place import OpenSource, Validators, opened, read_file, stamp_of
from m3u_proxy.lineup.plan import Mode
from m3u_proxy.redact import redact

log = logging.getLogger(__name__)

FILE_LOOK = 2.0
"""Seconds between two looks at a file."""
RETRY = 60.0
"""Seconds until an address that failed is asked again, unless that is due earlier."""
TOLD = 5
"""Skipped lines that are logged."""


class Watch:
    """``run()`` reads, waits and looks again; what fails is said once, and the lineup stays as it was."""

    def __init__(self, place: str, importer: Importer, open_source: OpenSource, *, refresh: float) -> None:
        """``refresh``: seconds between two questions to an address."""
        self._is_url = place.lower().startswith(("http://", "https://"))
        self._place = place
        self._shown = redact(place)
        self._importer = importer
        self._open_source = open_source
        self._refresh = refresh
        self._validators = Validators()
        self._stamp: object = None
        """Of the file as it was read for the last time, successfully or not."""
        self._seen: object = None
        """Of the file at the last look."""
        self._failure = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            succeeded = await self.look()
            if not self._is_url:
                await asyncio.sleep(FILE_LOOK)
            else:
                await asyncio.sleep(self._refresh if succeeded else min(RETRY, self._refresh))

    async def look(self) -> bool:
        """Read it if it is another one than before; whether that did not fail."""
        try:
            began = monotonic()
            report = await (self._ask() if self._is_url else self._look_at_file())
        except ProxyError as error:
            self._say(error.detail)
            return False
        except OSError as error:
            self._say(error.strerror or "cannot be read")
            return False
        if report is not None:
            self._failure = ""
            self._tell(report, monotonic() - began)
        return True

    async def _ask(self) -> ImportReport | None:
        source = self._open_source(self._place, self._validators.fields)
        async with opened(source, limit=LINEUP_BYTES) as document:
            if document is None:
                return None
            head, pieces = document
            report = await self._importer.take(pieces, Mode.RELOAD)
            self._validators = Validators.of(head)
            return report

    async def _look_at_file(self) -> ImportReport | None:
        """Read it, unless somebody is still writing: at the start at once, later after a look at rest."""
        path = Path(self._place)
        seen, self._seen = self._seen, None
        stamp = self._seen = await stamp_of(path)
        if stamp == self._stamp or (self._stamp is not None and stamp != seen):
            return None
        before, self._stamp = self._stamp, stamp
        try:
            return await self._importer.take(read_file(path, LINEUP_BYTES), Mode.RELOAD)
        except (OSError, Unavailable):  # not the fault of what is in it: the next look may be luckier
            self._stamp = before
            raise

    def _say(self, why: str) -> None:
        if why != self._failure:
            self._failure = why
            log.warning("lineup %s is not taken, the old one stays: %s", self._shown, why)

    def _tell(self, report: ImportReport, seconds: float) -> None:
        log.info(
            "lineup %s: %d channels, %d of them changed, %d removed, %d lines skipped, in %.1f s",
            *(self._shown, report.imported, report.updated, report.removed, report.skips, seconds),
        )
        for one in report.skipped[:TOLD]:
            log.warning("lineup %s, line %d is skipped: %s", self._shown, one.line, one.reason)
