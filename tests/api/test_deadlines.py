"""A client that does not finish what it began."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def _closed_after(port: int, first: bytes, within: float) -> tuple[float, bytes]:
    """Seconds until the server closes after ``first`` was sent, and what it said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        writer.write(first)
        async with asyncio.timeout(within):
            said = await reader.read()
        return loop.time() - began, said
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("sent", [b"", b"GET /livez HT", b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_half_a_header_is_closed(tmp_path: Path, sent: bytes) -> None:
    """A88, A91."""
    async with Daemon(tmp_path, HEADER_TIMEOUT="1") as daemon:
        waited, said = await _closed_after(daemon.port, sent, 5.0)
    assert waited >= 0.9
    assert said == b""


async def test_half_a_second_header_is_closed_too(tmp_path: Path) -> None:
    async with Daemon(tmp_path, HEADER_TIMEOUT="1") as daemon:
        reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\nok\n")).startswith(b"HTTP/1.1 200")
        writer.write(b"GET /liv")
        async with asyncio.timeout(5.0):
            assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_an_idle_connection_is_closed(tmp_path: Path) -> None:
    async with Daemon(tmp_path, IDLE_TIMEOUT="1") as daemon:
        _, said = await _closed_after(daemon.port, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 5.0)
    assert b"200 OK" in said


async def test_half_a_body_is_answered_408(tmp_path: Path) -> None:
    head = (
        b"POST /streams HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n"
    )
    async with Daemon(tmp_path, BODY_TIMEOUT="1") as daemon:
        waited, said = await _closed_after(daemon.port, head + b'{"url"', 8.0)
    assert waited >= 0.9
    assert said.startswith(b"HTTP/1.1 408")
