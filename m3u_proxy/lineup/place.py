"""Where lineups are read: a file, or an address that is asked whether they have changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.source import Head, Source
from m3u_proxy.upstream.text import pieces_of

PIECE = 64 * 1024
PATIENCE = 300.0
"""Seconds for a whole document."""

OpenSource = Callable[[str, Mapping[str, str]], Source]
"""Makes a source for a URL; the header fields go over the usual ones."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one version of a document from another (RFC 9110 §8.8)."""

    etag: str = ""
    modified: str = ""

    @classmethod
    def of(cls, head: Head) -> Validators:
        """Those of an answer."""
        return cls(head.headers.get("ETag", ""), head.headers.get("Last-Modified", ""))

    @property
    def fields(self) -> dict[str, str]:
        """Header fields that ask for another version only."""
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.modified}
        return {name: value for name, value in named.items() if value}


@asynccontextmanager
async def opened(
    source: Source, *, limit: int, patience: float = PATIENCE
) -> AsyncIterator[tuple[Head, AsyncGenerator[bytes]] | None]:
    """Head and body of a document as it arrives; ``None`` where the provider says that it is the old one.

    Raises UpstreamError: what `Source` does, ``too_large`` beyond ``limit`` bytes, ``stall`` when all of it
    took more than ``patience`` seconds.
    """
    try:
        async with asyncio.timeout(patience):
            try:
                head = await source.open()
            except UpstreamError as error:
                if error.status != 304:
                    raise
                yield None
                return
            yield head, pieces_of(source, head, limit=limit)
    except TimeoutError:
        raise UpstreamError("stall", f"The document did not arrive within {patience:g} s") from None
    finally:
        await source.aclose()


async def read_file(path: Path, limit: int) -> AsyncGenerator[bytes]:
    """The bytes of a file, read beside the loop. Raises OSError, and UpstreamError ``too_large``."""
    file = await asyncio.to_thread(path.open, "rb")
    try:
        taken = 0
        while piece := await asyncio.to_thread(file.read, PIECE):
            taken += len(piece)
            if taken > limit:
                raise UpstreamError("too_large", f"The document is larger than {limit} bytes")
            yield piece
    finally:
        await asyncio.to_thread(file.close)


async def stamp_of(path: Path) -> tuple[int, int, int]:
    """What changes when somebody writes a file, or puts another one in its place. Raises OSError."""
    status: os.stat_result = await asyncio.to_thread(path.stat)
    return status.st_mtime_ns, status.st_size, status.st_ino
