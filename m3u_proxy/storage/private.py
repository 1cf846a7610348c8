"""A small file that only we read, written whole or not at all. All of this blocks: call it off the loop."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

LARGEST = 8 * 2**20
"""Bytes that are read."""
MODE = 0o600


class PrivateFile:
    """One JSON object at ``path``, with the ``version`` of its form.

    A file that is none of ours is moved aside to ``.bad``, where the next such one takes its place.
    """

    def __init__(self, path: Path, version: int) -> None:
        self.path = path
        self._version = version

    def __repr__(self) -> str:
        return f"<PrivateFile {self.path}>"

    def read(self) -> Mapping[str, object]:
        """What is there, ``{}`` if nothing is. What cannot be used is moved aside, and the log told."""
        try:
            return self._parse(_content(self.path))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error) or type(error).__name__
        bad = self.path.with_name(self.path.name + ".bad")
        try:
            self.path.replace(bad)
        except OSError as error:
            log.warning("%s cannot be used (%s) nor moved aside: %s", self.path, why, error.strerror)
        else:
            log.warning("%s cannot be used (%s): begun anew, kept as %s", self.path, why, bad.name)
        return {}

    def _parse(self, content: bytes) -> Mapping[str, object]:
        value: object = json.loads(content)
        if not isinstance(value, dict) or value.get("version") != self._version:
            raise ValueError("another form")
        return value

    def write(self, values: Mapping[str, object]) -> None:
        """Put ``values`` in its place. Whoever reads meanwhile, or after we were killed, finds a whole file.

        Raises OSError.
        """
        content = json.dumps({"version": self._version, **values}).encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.unlink(missing_ok=True)  # that of a killed writer, or no file of ours at all
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, MODE)
        try:
            with os.fdopen(file, "wb") as opened:
                opened.write(content)
            temporary.replace(self.path)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            raise


def _content(path: Path) -> bytes:
    """Of a regular file of bearable size; nothing else is opened for long, or followed."""
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("no regular file")
        if found.st_size > LARGEST:
            raise ValueError("too large")
        with os.fdopen(file, "rb", closefd=False) as opened:
            return opened.read(LARGEST)
    finally:
        os.close(file)
