"""Which URLs an editor may name. What is refused here is refused before anything is contacted."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

EMPTY = "Value error, URL cannot be empty"
SCHEME = "Value error, URL must use HTTP or HTTPS protocol"
DOMAIN = "Value error, URL must have a valid domain"
CONTROL = "Value error, URL must not contain control characters"
NEVER = "Value error, The target's address is reserved and is never contacted"
PORT = "Value error, The target's port is not allowed"
SELF = "Value error, The target is this proxy itself"

VECTORS = [
    ("", EMPTY),
    ("   ", EMPTY),
    *((f"{scheme}:canary", SCHEME) for scheme in ("data", "javascript", "concat", "tee", "lavfi", "pipe")),
    *(
        (f"{scheme}://{{canary}}/x.ts", SCHEME)
        for scheme in ("file", "ftp", "gopher", "unix", "crypto+file", "rtmp", "rtsp", "udp", "subfile,,0")
    ),
    ("/etc/passwd", SCHEME),
    ("//{canary}/x.ts", SCHEME),
    ("-version", SCHEME),
    (" -i x", SCHEME),
    ("{canary}/x.ts", SCHEME),
    ("http:///x.ts", DOMAIN),
    ("http:/{canary}/x.ts", DOMAIN),
    ("http:{canary}/x.ts", DOMAIN),
    ("http:\\\\{canary}\\x.ts", DOMAIN),
    ("http://provider.example\\@{canary}/x.ts", DOMAIN),
    ("http://a@b@{canary}/x.ts", DOMAIN),
    ("http://{canary}#@provider.example/", DOMAIN),
    ("http://{canary}?@provider.example/", DOMAIN),
    ("http://%00{canary}/x.ts", DOMAIN),
    ("http://provider%2eexample/", DOMAIN),
    ("http://provider example/x.ts", DOMAIN),
    ("http://[fe80::1%lo]/x.ts", DOMAIN),
    ("http://[fe80::1%25lo]/x.ts", DOMAIN),
    ("http://[::1/x.ts", DOMAIN),
    ("http://1.2.3.4.5/x.ts", DOMAIN),
    ("http://provider.example/a\tb", CONTROL),
    ("http://{canary}/a\r\nHost: evil", CONTROL),
    ("http://{canary}/a\nb", CONTROL),
    ("http://{canary}/\x00", CONTROL),
    *(
        (f"http://{host}/x.ts", NEVER)
        for host in (
            *("0", "0.0.0.0", "[::]", "255.255.255.255", "224.0.0.1", "239.1.2.3", "[ff02::1]"),
            *("169.254.169.254", "169.254.1.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376"),
            *("[::ffff:169.254.169.254]", "[::a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]"),
            *("[fe80::1]", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
            *("metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data"),
        )
    ),
    *((f"http://provider.example:{port}/", PORT) for port in (22, 25, 6379, 11211)),
    *(
        (f"http://{host}:{{own}}/stream/x", SELF)
        for host in ("127.0.0.1", "127.1", "2130706433", "0x7f.1", "localhost", "LOCALHOST.", "a.localhost")
    ),
    ("http://[::ffff:127.0.0.1]:{own}/", SELF),
    ("http://[::ffff:7f00:1]:{own}/", SELF),
    ("http://ok@127.0.0.1:{own}/", SELF),
]

FIELDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "url": lambda url: {"url": url},
    "failover_urls": lambda url: {
        "url": "http://provider.example/",
        "failover_urls": ["http://b.example/", url],
    },
    "failover_resolver_url": lambda url: {"url": "http://provider.example/", "failover_resolver_url": url},
}
WHERE: dict[str, list[str | int]] = {
    "url": ["url"],
    "failover_urls": ["failover_urls", 1],
    "failover_resolver_url": ["failover_resolver_url"],
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("path", ["/streams", "/transcode"])
async def test_a_forbidden_target_is_422_and_contacts_nobody(
    daemon: Daemon, origin: Origin, path: str, field: str
) -> None:
    """A21, A22, A23, A24, A26, A27, A28, A29, A31, A32, A34, A39, A53, A54."""
    before = await daemon.stream_ids()
    wrong = []
    for text, message in VECTORS:
        if field == "failover_resolver_url" and not text:
            continue  # an empty one is none
        url = text.replace("{canary}", f"127.0.0.1:{origin.port}").replace("{own}", str(daemon.port))
        async with daemon.http.post(path, json=FIELDS[field](url)) as response:
            answer = await response.json()
        if response.status != 422:
            wrong.append((url, response.status, answer))
            continue
        (row,) = answer["detail"]
        if (row["type"], row["loc"], row["msg"]) != ("value_error", ["body", *WHERE[field]], message):
            wrong.append((url, 422, row))
    assert not wrong
    assert not origin.connections
    assert await daemon.stream_ids() <= before


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/a.ts",
        "https://192.168.1.9:8443/a.ts",
        "http://172.17.0.1/a",
        "http://[2001:db8::1]/a.ts",
        "http://user:p%40ss@provider.example/a.ts",
        "http://provider.example?u=1",
        "http://127.0.0.1:1/a.ts",
        "http://127.0.1/a.ts",
    ],
)
async def test_private_and_here_loopback_targets_are_legitimate(daemon: Daemon, url: str) -> None:
    assert (await daemon.post("/streams", url=url))["primary_url"] == url


async def test_loopback_needs_a_token_or_a_local_listener(
    launch: Callable[..., AbstractAsyncContextManager[Daemon]], tmp_path: Path, origin: Origin
) -> None:
    """A9, A23, A24, A27."""
    async with launch(tmp_path, HOST="0.0.0.0") as daemon:
        for host in ("127.0.0.1", "localhost", "[::1]", "127.1", "[::ffff:127.0.0.1]"):
            url = origin.url("/live.ts", host=host)
            async with daemon.http.post("/streams", json={"url": url}) as response:
                assert response.status == 422, url
                assert "ALLOW_LOOPBACK_TARGETS" in (await response.json())["detail"][0]["msg"]
        assert sum("no API_TOKEN" in line for line in daemon.log) == 1
    assert not origin.connections


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/x",
        "http://metadata.google.internal/",
        "file:///etc/passwd",
        "http://127.0.0.1:{own}/",
    ],
)
async def test_a_redirect_to_a_forbidden_target_is_502(daemon: Daemon, origin: Origin, location: str) -> None:
    """A37."""
    origin.on("/hop.ts", Answer(redirect=location.replace("{own}", str(daemon.port))))
    made = await daemon.post("/streams", url=origin.url(f"/hop.ts?{len(location)}"))
    async with daemon.http.get(made["stream_endpoint"]) as response:
        answer = await response.json()
        assert response.status == 502, answer
    assert "http" not in answer["detail"]
