"""Attempts at the scriptable origin: short limits, and how an attempt ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.address import Judge, NamedBy
from m3u_proxy.upstream.headers import request_headers
from m3u_proxy.upstream.source import Head, HttpSource, Limits

PATIENT = Limits(connect=8.0, first_byte=8.0, stall=8.0)
"""Limits that no answer reaches, however busy the machine."""
QUICK = Limits(connect=8.0, first_byte=1.0, stall=0.5)
"""Limits for answers that are to reach them."""
JUDGE = Judge(allow_loopback=True)
CLOSED_WITHIN = 3.0
"""Seconds in which the other side must see the end of a connection that we closed."""


def at(
    url: str,
    limits: Limits = PATIENT,
    *,
    judge: Judge = JUDGE,
    named_by: NamedBy = "operator",
    tls_verify: bool = True,
    headers: dict[str, str] | None = None,
) -> HttpSource:
    """An attempt at ``url`` with custom ``headers``."""
    sent = request_headers(url, "agent/1", headers or {})
    return HttpSource(url, sent, judge=judge, limits=limits, tls_verify=tls_verify, named_by=named_by)


@asynccontextmanager
async def opened(source: HttpSource) -> AsyncIterator[Head]:
    """The head of an opened source; closed at the end."""
    try:
        yield await source.open()
    finally:
        await source.aclose()


async def ending(source: HttpSource) -> tuple[UpstreamError, bytes]:
    """How the attempt ended, and what it gave before."""
    data = b""
    try:
        async with opened(source):
            while piece := await source.read():
                data += piece
    except UpstreamError as error:
        return error, data
    pytest.fail("read() returned nothing")
