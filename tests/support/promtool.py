"""Prometheus' own tool, from Debian's package, and time series as its unit tests of rules read them."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE, STDOUT

HERE = 'job="m3u_proxy",instance="tv"'
"""What Prometheus puts on everything that it scrapes."""


async def promtool(*arguments: str, given: bytes = b"") -> tuple[int, str]:
    """Exit code, and everything it said."""
    process = await asyncio.create_subprocess_exec(
        "promtool", *arguments, stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    said, _ = await process.communicate(given)
    return process.returncode or 0, said.decode()


def series(name: str, values: str) -> dict[str, str]:
    """Samples of one series: ``1 2 2`` one after the other, ``0+5x3`` rising, ``stale`` no longer there."""
    before, brace, more = name.partition("{")
    labels = f"{HERE},{more}" if brace else f"{HERE}}}"
    return {"series": f"{before}{{{labels}", "values": values}
