"""What must not be read anywhere, over a whole run with sources that fail (A108, A110, A111, A114, A115)."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.hls_bodies import live, playlist, segments
from tests.support.origin import Answer, Origin

pytestmark = pytest.mark.asyncio(loop_scope="session")

Launch = Callable[..., AbstractAsyncContextManager[Daemon]]
CANARY = "canary7"
ACCOUNT = f"/live/{CANARY}/{CANARY}"
QUERY = f"?username={CANARY}&password={CANARY}&token={CANARY}"
FAILURES = {
    "gone": Answer(status=404),
    "refused": Answer(status=403, body=CANARY),
    "broken": Answer(status=500, body=f"http://u:{CANARY}@provider.example/"),
    "page": Answer(body="<html>" + CANARY * 100, headers={"Content-Type": "text/html"}),
    "away": Answer(redirect=f"http://u:{CANARY}@169.254.169.254{ACCOUNT}/1.ts{QUERY}"),
    "nowhere": Answer(redirect=f"ftp://u:{CANARY}@x/"),
    "ring": Answer(redirect=f"{ACCOUNT}/ring.ts{QUERY}"),
    "empty": Answer(body=""),
}


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_no_credential_of_a_source_is_shown(
    launch: Launch, tmp_path: Path, origin: Origin, log_format: str
) -> None:
    """A108, A110: not in the log at DEBUG, not in metrics, public playlists or errors."""
    for name, answer in FAILURES.items():
        origin.on(f"{ACCOUNT}/{name}.ts", answer)
    origin.on(f"{ACCOUNT}/list.m3u8", playlist(live(*segments(f"{ACCOUNT}/gone.ts{QUERY}"))))
    async with launch(tmp_path, LOG_FORMAT=log_format, MAX_FAILOVER_ATTEMPTS="1") as daemon:
        seen = [await _failures(daemon, origin)]
        made = await daemon.post("/streams", **_body(origin, "list.m3u8"))
        async with daemon.http.get(f"/hls/{made['stream_id']}/playlist.m3u8") as response:
            assert response.status == 200
            listed = await response.text()
        address = next(line for line in listed.splitlines() if line and not line.startswith("#"))
        async with daemon.http.get(address) as response:
            assert response.status in (404, 502, 503)
            seen += [listed, await response.text()]
        for path in ("/metrics", "/health", "/readyz", "/", "/openapi.json"):
            async with daemon.http.get(path) as response:
                seen.append(await response.text())
        bad = {"url": f"http://u:{CANARY}@169.254.169.254{ACCOUNT}/1.ts{QUERY}", "headers": {"X-A": CANARY}}
        async with daemon.http.post("/streams", json=bad) as response:
            assert response.status == 422
            seen.append(await response.text())
    assert not [text for text in seen if CANARY in text]
    assert not [line for line in daemon.log if CANARY in line]
    if log_format == "json":
        assert all({"at", "level", "message"} <= json.loads(line).keys() for line in daemon.log)


def _body(origin: Origin, name: str) -> dict[str, Any]:
    return {
        "url": origin.url(f"{ACCOUNT}/{name}{QUERY}", userinfo=f"{CANARY}:{CANARY}@"),
        "headers": {"X-Api-Key": CANARY, "Cookie": f"id={CANARY}", "Authorization": f"Bearer {CANARY}"},
    }


async def _failures(daemon: Daemon, origin: Origin) -> str:
    told = []
    for name in FAILURES:
        made = await daemon.post("/streams", **_body(origin, f"{name}.ts"))
        for path in (made["stream_endpoint"], f"/hls/{made['stream_id']}/playlist.m3u8"):
            async with daemon.http.get(path) as response:
                assert response.status in (404, 502, 503), (name, response.status)
                told.append(await response.text() + str(response.headers))
    return "\n".join(told)


async def test_what_strangers_write_is_one_line_of_the_log(
    launch: Launch, tmp_path: Path, origin: Origin
) -> None:
    """A115: also in JSON, which stays valid; whatever a viewer, an editor or a provider calls itself."""
    odd = "x\u202e\x1b[31m\x85" + "y" * 10_000
    origin.on("/odd.ts", Answer(raw=b"HTTP/1.1 500 z\x9b[31m\tCANARY\r\n\r\n"))
    async with launch(tmp_path, LOG_FORMAT="json") as daemon:
        made = await daemon.post(
            "/streams", url=origin.url("/odd.ts"), metadata={"title": odd[:900] + "\r\n{"}
        )
        headers = {"User-Agent": ("a\t\x9b31m" + "b" * 5000), "X-Forwarded-For": "c\x9fd"}
        params = {"username": odd[:1500] + "\r\nforged", "client_id": "e\nf"}
        async with daemon.http.get(made["stream_endpoint"], params=params, headers=headers) as response:
            assert response.status in (422, 503)
    for line in daemon.log:
        assert line.isprintable()
        assert len(line) < 5000
        json.loads(line)
