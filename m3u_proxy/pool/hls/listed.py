"""One attempt at something that a playlist names, which has to be what the playlist promised."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from m3u_proxy.errors import UpstreamError
from m3u_proxy.media.playlist import Role
from m3u_proxy.media.sniff import PLAYLIST, TEXT, is_undecided, sniff
from m3u_proxy.upstream.begun import Begun, begin
from m3u_proxy.upstream.source import Head, Source

KEY_SIZE = 16
"""Bytes of an AES-128 key (RFC 8216 §4.3.2.4)."""
RETRY = 0.5
"""Seconds before a segment that is not there is asked for once more: it may only be late."""


class Listed:
    """A `Source` whose ``open()`` has looked at the first bytes: no web page instead of a segment.

    ``is_patient``: a segment that is not found is asked for a second time.
    """

    def __init__(self, open_source: Callable[[], Source], role: Role, *, is_patient: bool) -> None:
        self._open_source = open_source
        self._source = open_source()
        self._role = role
        self._is_patient = is_patient and role is Role.SEGMENT
        self._begun: Begun | None = None

    async def open(self) -> Head:
        """See `Source.open`; ``not_media`` as well."""
        try:
            self._begun = await self._begin()
        except UpstreamError as error:
            if error.reason != "http_404" or not self._is_patient:
                raise
            await self._source.aclose()
            await asyncio.sleep(RETRY)
            self._source = self._open_source()
            self._begun = await self._begin()
        self._judge(self._begun)
        return self._begun.head

    async def _begin(self) -> Begun:
        return await begin(self._source, self._is_enough)

    def _is_enough(self, prefix: bytes) -> bool:
        match self._role:
            case Role.KEY:
                return len(prefix) > KEY_SIZE
            case Role.DATA:
                return True
            case _:
                return not is_undecided(prefix)

    def _judge(self, begun: Begun) -> None:
        if self._role is Role.KEY:
            if len(begun.prefix) != KEY_SIZE:
                raise UpstreamError("not_media", "The key is not 16 bytes long")
        elif self._role is not Role.DATA and sniff(begun.prefix, is_whole=begun.is_whole) in (TEXT, PLAYLIST):
            raise UpstreamError("not_media", "The source sent a text instead of a segment")

    async def read(self) -> bytes:
        """See `Source.read`."""
        assert self._begun is not None
        return await self._begun.read()

    async def aclose(self) -> None:
        """See `Source.aclose`."""
        await self._source.aclose()
