"""Directories and disk space: recovery once, collection now and then, and an eye on what is free."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from pathlib import Path

from m3u_proxy.daemon.background import Background
from m3u_proxy.observe.figures import Housekeeping
from m3u_proxy.settings import Settings
from m3u_proxy.storage import disk, recovery

log = logging.getLogger(__name__)


class Upkeep:
    """Of the directory with the segments. Its tasks belong to a `Background`.

    ``instance`` is the daemon's own id: what it has written itself is no leftover.
    """

    def __init__(self, settings: Settings, instance: str) -> None:
        self.guard = disk.DiskGuard(settings.hls_temp_dir, on_change=_on_pressure)
        self.counts = Housekeeping(Counter())
        self._settings = settings
        self._instance = instance
        self._recovered = asyncio.Event()

    @property
    def root(self) -> Path:
        """HLS_TEMP_DIR."""
        return self._settings.hls_temp_dir

    @property
    def limits(self) -> dict[str, int]:
        """Bytes of free space below which it is called so."""
        return {"warning": self._settings.disk_warning_bytes, "critical": self._settings.disk_critical_bytes}

    async def look(self) -> None:
        """Look at the free space once, and tell it."""
        await self.guard.refresh()
        state, space = self.space(), self.guard.space
        free = space.free_bytes / 2**30 if space else 0.0
        level = {"ok": logging.INFO, "low": logging.WARNING}.get(state, logging.CRITICAL)
        log.log(level, "segments in %s, %.1f GiB free (%s)", self.root, free, state)

    def begin(self, background: Background) -> None:
        """Hand over the tasks."""
        background.keep("disk-guard", self.guard.run)
        background.keep("recovery", self._recover)
        if self._settings.hls_gc_enabled:
            background.keep("collector", self._collect)

    def space(self) -> str:
        """``ok``, ``low`` or ``critical``, by the thresholds of the settings."""
        settings, space = self._settings, self.guard.space
        if space is None:
            return "ok"
        return disk.report(space, settings.disk_warning_bytes, settings.disk_critical_bytes)

    async def _recover(self) -> None:
        """Empty what a crashed run left; being ready does not wait for it."""
        try:
            result = await asyncio.to_thread(recovery.recover, self.root, instance=self._instance)
            self.counts.recovered += result.recovered
        except OSError as error:  # no such directory, no permission: the next start may have more luck
            log.warning("%s cannot be recovered: %s", self.root, error.strerror)
        finally:
            self._recovered.set()

    async def _collect(self) -> None:
        """Not while recovery is at work: each would take the other's lock for that of a living owner."""
        await self._recovered.wait()
        settings = self._settings
        await recovery.collect_periodically(
            self.root,
            interval=settings.hls_gc_interval,
            age=settings.hls_gc_age_threshold,
            on_result=self._on_collection,
        )

    def _on_collection(self, collection: recovery.Collection) -> None:
        counts = self.counts.collected
        counts["removed"] += len(collection.removed)
        for why in collection.skipped.values():
            counts[why] += 1


def _on_pressure(pressure: bool, space: disk.Space) -> None:
    if pressure:
        log.error("disk pressure: no FFmpeg that writes is started; %s", space)
    else:
        log.info("disk pressure is over; %s", space)
