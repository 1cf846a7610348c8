"""What other runs left behind: start-up recovery, and the periodic collector of empty directories.

Beside the live owner (`directories.Claim`) these are the only two that delete. Recovery empties directories
that carry our marker and that nobody holds. The collector only ever calls ``rmdir``. Neither follows a link,
and neither touches a file that could be somebody else's. `recover` and `sweep` block: call them off the loop,
with ``asyncio.to_thread``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from m3u_proxy.storage.directories import (
    LASTING_KINDS,
    MARKER,
    PREFIX,
    Claim,
    open_directory,
    remove_directory,
    try_lock,
)

log = logging.getLogger(__name__)

MARKER_LIMIT = 4096
"""Bytes; our own markers are below 300."""

Skip = Literal["active", "too_young", "not_empty", "error"]
Fate = Literal["recovered", "foreign", "locked", "lasting", "unmarked", "failed", "empty"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a start found. Numbers of directories; ``foreign`` are the names of those that stay.

    ``foreign`` hold files that are not ours. ``locked`` belong to a living process, ``lasting`` are of a kind
    that outlives restarts, ``unmarked`` are another program's with the same prefix (no marker, or one that we
    never wrote), ``failed`` could not be read or emptied. Empty ones are the collector's, and not counted.
    """

    recovered: int = 0
    foreign: tuple[str, ...] = ()
    locked: int = 0
    lasting: int = 0
    unmarked: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Collection:
    """One sweep: the directories it removed, and why the others of our prefix stay."""

    removed: tuple[str, ...]
    skipped: Mapping[str, Skip]


def recover(root: Path, *, instance: str) -> Recovery:
    """Empty and remove what dead runs left directly under ``root``; once, after the start.

    Nothing waits for it: new claims may be made meanwhile, and killed half-way it leaves a state that the
    next one finishes. ``instance`` is this run's own name: its directories are their owners' business.
    Raises `OSError` when ``root`` cannot be listed.
    """
    fates = {path.name: _recover_one(path, instance) for path in _candidates(root)}
    count = Counter(fates.values())
    foreign = tuple(name for name, fate in fates.items() if fate == "foreign")
    found = Recovery(
        recovered=count["recovered"],
        foreign=foreign,
        locked=count["locked"],
        lasting=count["lasting"],
        unmarked=count["unmarked"],
        failed=count["failed"],
    )
    log.info("start-up recovery under %s: %s", root, dict(count) or "nothing left behind")
    return found


def _recover_one(path: Path, instance: str) -> Fate:
    try:
        claim = Claim(path, open_directory(path))
    except FileNotFoundError:
        return "empty"
    except OSError as error:
        log.warning("leftover %r cannot be opened: %s", path.name, error.strerror)
        return "failed"
    try:
        if claim.read(MARKER, MARKER_LIMIT) is None:
            return _unmarked(claim)
        # Never before the marker was seen: a claim that is just being made has to win its own lock.
        if not try_lock(claim.fd):
            return "locked"
        return _judge(claim, instance) or _emptied(claim)
    except OSError as error:
        log.warning("leftover %r cannot be examined: %s", path.name, error.strerror)
        return "failed"
    finally:
        claim.release()


def _unmarked(claim: Claim) -> Fate:
    with os.scandir(claim.fd) as entries:
        return "empty" if next(entries, None) is None else "unmarked"


def _judge(claim: Claim, instance: str) -> Fate | None:
    """Why a marked directory without an owner stays, or ``None`` for an ordinary leftover.

    An empty marker is ours: its writer was killed, or the power failed, between creating and filling it.
    """
    marker = claim.read(MARKER, MARKER_LIMIT)
    if marker is None:
        return "empty"
    if not marker:
        return None
    try:
        owner = json.loads(marker)
    except (ValueError, RecursionError):
        owner = None
    if not (isinstance(owner, dict) and isinstance(owner.get("instance"), str)):
        return "unmarked"
    if owner["instance"] == instance:
        return "locked"
    return "lasting" if owner.get("kind") in LASTING_KINDS else None


def _emptied(claim: Claim) -> Fate:
    left = claim.clear()
    if not left:
        return "recovered"
    return "failed" if MARKER in left else "foreign"


def sweep(root: Path, *, now_wall: float, age: float) -> Collection:
    """Remove directories of ours that are empty, unlocked and have not changed for ``age`` seconds.

    ``now_wall`` is Unix time, as file time stamps are; one that lies in the future is not old. Never looks
    inside: whether a directory is empty is for ``rmdir`` to say. Raises `OSError` when ``root`` cannot be
    listed.
    """
    removed: list[str] = []
    skipped: dict[str, Skip] = {}
    for path in _candidates(root):
        try:
            reason = _collect_one(path, now_wall - age)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("directory %r cannot be collected: %s", path.name, error.strerror)
            reason = "error"
        if reason is None:
            log.info("removed the empty directory %r", path.name)
            removed.append(path.name)
        else:
            skipped[path.name] = reason
    return Collection(tuple(removed), skipped)


def _collect_one(path: Path, newest: float) -> Skip | None:
    """Remove one directory last changed at ``newest`` or before; the reason when it stays."""
    fd = open_directory(path)
    try:
        if not try_lock(fd):
            return "active"
        if os.fstat(fd).st_mtime > newest:
            return "too_young"
        return None if remove_directory(path, fd) else "not_empty"
    finally:
        os.close(fd)


def _candidates(root: Path) -> list[Path]:
    """Real directories with our prefix directly under ``root``, by name."""
    with os.scandir(root) as entries:
        return sorted(
            Path(entry.path)
            for entry in entries
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
        )


async def collect_periodically(
    root: Path, *, interval: float, age: float, on_result: Callable[[Collection], None]
) -> None:
    """Sweep now and then every ``interval`` seconds, for ever; the caller owns and supervises the task."""
    while True:
        try:
            collection = await asyncio.to_thread(sweep, root, now_wall=time.time(), age=age)
        except OSError as error:
            log.warning("%s cannot be collected: %s", root, error.strerror)
        else:
            if collection.removed or collection.skipped:
                kept = dict(Counter(collection.skipped.values()))
                log.info("collection: %d removed, kept %s", len(collection.removed), kept or "none")
            on_result(collection)
        await asyncio.sleep(interval)
