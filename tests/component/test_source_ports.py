"""A machine that has no local port left for another connection."""

from __future__ import annotations

import pytest

from tests.support.netns import Machine

FULL = """
import asyncio, socket, struct, subprocess
from m3u_proxy.errors import UpstreamError
from m3u_proxy.upstream.address import Judge
from m3u_proxy.upstream.source import HttpSource, Limits
from m3u_proxy.upstream.headers import request_headers

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with open("/proc/sys/net/ipv4/ip_local_port_range", "w") as ports:
    ports.write("40000 40003")
listener = socket.create_server(("127.0.0.1", 5000))
url = "http://127.0.0.1:5000/1.ts"


async def attempt():
    source = HttpSource(
        url,
        request_headers(url, "agent/1", {}),
        judge=Judge(allow_loopback=True),
        limits=Limits(connect=2.0, first_byte=0.2, stall=0.2),
        tls_verify=True,
        named_by="operator",
    )
    try:
        await source.open()
    except UpstreamError as error:
        print(error.reason, flush=True)
    finally:
        await source.aclose()


held = [socket.create_connection(("127.0.0.1", 5000)) for _ in range(4)]
asyncio.run(attempt())
last = held.pop()
last.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME-WAIT keeps its port
last.close()
asyncio.run(attempt())
"""


@pytest.mark.needs("netns")
@pytest.mark.may_block
def test_no_port_left_is_said_as_such() -> None:
    """F84: the next attempt, paced like every other, succeeds once a port is free."""
    with Machine() as machine:
        child = machine.run(FULL)
        out, _ = child.communicate(timeout=20)
    assert out.decode().split() == ["addr_in_use", "first_byte_timeout"]
